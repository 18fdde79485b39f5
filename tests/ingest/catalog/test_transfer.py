"""The catalog as documents: what is exported is imported elsewhere, and says the same there."""

import asyncio
import json
import random
import urllib.parse
from typing import Any, cast

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.webhook.v1 import access_pb2, access_pb2_grpc
from protos.webhook.v1 import catalog_pb2 as pb
from services.domain.catalog import bounds
from services.ingest.catalog import transfer
from services.ingest.catalog.compatibility import Comparisons
from services.ingest.catalog.documents import entries, references
from services.ingest.catalog.documents.references import RefusedError, followed
from services.ingest.catalog.store import CatalogStore
from services.platform import errors, ids
from tests.ingest.catalog.conftest import ORDER, Catalog
from tests.ingest.conftest import CALL_SECONDS, fields, refused

OPENAPI, ASYNCAPI = pb.CATALOG_FORMAT_OPENAPI, pb.CATALOG_FORMAT_ASYNCAPI
NAMES = ("a", "b.c", "with space", "sl/ash", "til~de", "per%25cent", "ümlaut", "q?=#", "", "type", "$ref", "properties")


class Documents:
    """Calls about the catalog of a tenant as a document."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def export(self, form: Any = OPENAPI, *event_types: str) -> dict[str, Any]:
        request = pb.ExportCatalogRequest(
            tenant_id=self._catalog.ingest.tenant_id, format=form, event_types=event_types
        )
        answer = await self._catalog.stub.ExportCatalog(request, timeout=CALL_SECONDS)
        found: dict[str, Any] = json.loads(answer.document)
        return found

    async def load(self, document: Any, *, dry_run: bool = False) -> list[pb.ImportedEventType]:
        text = document if isinstance(document, str) else json.dumps(document)
        request = pb.ImportCatalogRequest(tenant_id=self._catalog.ingest.tenant_id, document=text, dry_run=dry_run)
        return list((await self._catalog.stub.ImportCatalog(request, timeout=CALL_SECONDS)).event_types)


@pytest.fixture
def documents(catalog: Catalog) -> Documents:
    return Documents(catalog)


async def elsewhere(catalog: Catalog) -> Documents:
    """Return the documents of another tenant, whose catalog is empty."""
    return Documents(Catalog(await catalog.ingest.of(f"test-{ids.new()}")))


def outcomes(done: list[pb.ImportedEventType]) -> list[tuple[str, str, int]]:
    return [(one.name, transfer.Outcome(pb.ImportOutcome.Name(one.outcome)[15:].lower()), one.version) for one in done]


def webhook(schema: Any, **operation: Any) -> dict[str, Any]:
    return {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}, **operation}}


def document(components: Any = None, **webhooks: Any) -> dict[str, Any]:
    schemas = {"components": {"schemas": components}} if components else {}
    return {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "webhooks": webhooks, **schemas}


def made_up(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    """Return a schema with references to places within it."""
    names = chance.sample(NAMES, 3)
    definitions: dict[str, Any] = {name: {"type": chance.choice(("string", "integer", "object"))} for name in names}
    quoted = [urllib.parse.quote(name.replace("~", "~0").replace("/", "~1"), safe="~") for name in names]

    def part(left: int) -> Any:
        kinds = ["$ref", "leaf", "anchor"] + (["object", "array", "allOf"] if left else [])
        match chance.choice(kinds):
            case "$ref":
                return {"$ref": f"#/$defs/{chance.choice(quoted)}", "description": "a reference"}
            case "anchor":
                return {"$ref": "#here"}
            case "object":
                keys = chance.sample(NAMES, 2)
                return {"properties": {key: part(left - 1) for key in keys}, "required": [keys[0]]}
            case "array":
                return {"prefixItems": [part(left - 1)], "items": part(left - 1), "maxItems": chance.randrange(9)}
            case "allOf":
                return {"allOf": [part(left - 1), {"not": {"const": {"$ref": "#/no/reference"}}}]}
        return {"enum": [1, 1.5, True, None, "é", {"$ref": "#/nor/this"}], "default": {"$anchor": "nor that"}}

    definitions["anchored"] = {"$anchor": "here", "minimum": chance.randrange(10**12)}
    return {"type": "object", "properties": {"all": part(depth)}, "$defs": definitions}


@pytest.mark.parametrize("form", [OPENAPI, ASYNCAPI])
async def test_what_is_exported_is_the_same_after_it_was_imported_elsewhere(
    catalog: Catalog, documents: Documents, form: Any
) -> None:
    chance = random.Random(f"catalogs {form}")
    for number in range(8):
        deprecated = {"status": pb.EVENT_TYPE_STATUS_DEPRECATED} if number % 3 == 0 else {}
        made = await catalog.create(
            f"made-up/{number}:{chance.choice('abc')}", made_up(chance), description="D" * (number % 2), **deprecated
        )
        if number % 2:
            await catalog.add(made.id, made_up(chance), description="The next.", example='{"é": [1, 2.0, null]}')
    await catalog.create("made-up_1_a", {"$id": "urn:mine", "$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}})
    await catalog.create("draft", status=pb.EVENT_TYPE_STATUS_DRAFT)
    other = await elsewhere(catalog)

    exported = await documents.export(form)
    tried = await other.load(exported, dry_run=True)
    assert not (await other.export(form)).get("webhooks")
    done = await other.load(exported)

    assert [one for _, one, _ in outcomes(done)] == ["created"] * 9 == [one for _, one, _ in outcomes(tried)]
    assert await other.export(form) == exported
    for one in (documents, other):
        assert {outcome for _, outcome, _ in outcomes(await one.load(exported))} == {"unchanged"}
    # A format is as good as the other.
    third = await elsewhere(catalog)
    await third.load(await documents.export(ASYNCAPI if form == OPENAPI else OPENAPI))
    assert await third.export(form) == exported


async def test_an_import_adds_a_version_updates_one_or_leaves_it(catalog: Catalog, documents: Documents) -> None:
    for name in ("same", "described", "changed"):
        await catalog.create(name)
    wider = {"type": "object"}
    offered = document(
        same=webhook(ORDER),
        described=webhook(ORDER, description="Now described.", deprecated=True),
        changed=webhook(wider),
        new=webhook(schema=True),
    )
    offered["webhooks"]["same"]["post"]["summary"] = "same"

    tried = await documents.load(offered, dry_run=True)
    assert [one.current_version for one in (await catalog.page()).event_types] == [1, 1, 1]
    done = await documents.load(offered)

    assert outcomes(done) == outcomes(tried)
    assert outcomes(done) == [
        ("same", "unchanged", 1),
        ("described", "updated", 1),
        ("changed", "new_version", 2),
        ("new", "created", 1),
    ]
    assert [change.path for change in done[2].breaking] == ["/properties/amount", "/properties/id", "/required"]
    (described,) = (await catalog.page(name="described")).event_types
    assert (described.description, described.latest.spec.status) == ("Now described.", pb.EVENT_TYPE_STATUS_DEPRECATED)
    assert {outcome for _, outcome, _ in outcomes(await documents.load(offered))} == {"unchanged"}


async def test_what_is_refused_says_why_and_where_and_keeps_nothing_else_back(
    catalog: Catalog, documents: Documents
) -> None:
    await catalog.create("live")
    money = {"type": "object", "properties": {"cents": {"type": "integer", "unevaluatedProperties": False}}}
    offered = document(
        {
            "Money": money,
            "Loop": {"$ref": "#/components/schemas/Loop"},
            "Remote": {"$ref": "https://example.com/a.json"},
        },
        **{
            "no body": webhook({}),
            "postless": {"get": {}},
            "bodiless": {"post": {}},
            "xml": {"post": {"requestBody": {"content": {"application/xml": {"schema": {}}}}}},
            "schemaless": {"post": {"requestBody": {"content": {"application/json": {}}}}},
            "remote": webhook({"properties": {"a": {"$ref": "#/components/schemas/Remote"}}}),
            "relative": webhook({"$ref": "./components/schemas/Fine"}),
            "missing": webhook({"$ref": "#/components/schemas/Nothing"}),
            "loop": webhook({"$ref": "#/components/schemas/Loop"}),
            "within": webhook({"items": {"$ref": "#/components/schemas/Money"}}),
            "sunset": webhook({}, **{"x-sunset-at": "soon", "deprecated": True}),
            "live": webhook({"type": "array"}, deprecated=True),
            "fine": webhook({"items": {"$ref": "#/components/schemas/Fine"}}),
        },
    )
    offered["components"]["schemas"]["Fine"] = {"type": "string"}
    done = await documents.load(offered)

    assert {one.name: (one.problems[0].path if one.problems else "") for one in done} == {
        "no body": "/webhooks/no body",
        "postless": "/webhooks/postless",
        "bodiless": "/webhooks/bodiless/post",
        "xml": "/webhooks/xml/post/requestBody",
        "schemaless": "/webhooks/schemaless/post/requestBody/content/application~1json",
        "remote": "/components/schemas/Remote",
        "relative": "/webhooks/relative/post/requestBody/content/application~1json/schema/$ref",
        "missing": "/webhooks/missing/post/requestBody/content/application~1json/schema/$ref",
        "loop": "/components/schemas/Loop/$ref",
        "within": "/components/schemas/Money/properties/cents/unevaluatedProperties",
        "sunset": "/webhooks/sunset/post/x-sunset-at",
        "live": "/webhooks/live",
        "fine": "",
    }
    assert all(one.problems[0].description for one in done[:-1])
    (fine,) = (await catalog.page(name="fine")).event_types
    assert json.loads(fine.latest.spec.schema) == {
        "items": {"$ref": "#/$defs/Fine"},
        "$defs": {"Fine": {"type": "string"}},
    }


async def test_an_import_keeps_to_the_bounds_of_a_catalog(
    catalog: Catalog, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.create("old")
    monkeypatch.setattr(transfer, "MAX_EVENT_TYPES", 2)
    monkeypatch.setattr(transfer, "MAX_VERSIONS", 1)
    offered = document(new=webhook(ORDER), beyond=webhook(ORDER), old=webhook({}))
    for done in (await documents.load(offered, dry_run=True), await documents.load(offered)):
        assert outcomes(done) == [("new", "created", 1), ("beyond", "refused", 0), ("old", "refused", 0)]
        assert [one.problems[0].description for one in done[1:]] == [
            "the catalog has 2 event types; delete one first",
            "the event type has 1 versions; create another event type",
        ]
    assert [one.name for one in (await catalog.page()).event_types] == ["new", "old"]


async def test_a_deprecated_event_type_has_no_live_versions(catalog: Catalog, documents: Documents) -> None:
    made = await catalog.create("old")
    await catalog.add(made.id, {"type": "object"})
    offered = document(old=webhook({"type": "object"}, deprecated=True))
    (refusal,) = await documents.load(offered)
    assert [one.description for one in refusal.problems] == [
        "is deprecated, and earlier versions of the catalog are live; deprecate them first"
    ]
    await catalog.update_version(made.id, 1, status=pb.EVENT_TYPE_STATUS_DEPRECATED)
    assert outcomes(await documents.load(offered)) == [("old", "updated", 2)]


async def test_what_is_said_of_an_event_type_is_bounded(catalog: Catalog, documents: Documents) -> None:
    names = [f"{number}{'n' * transfer.MAX_PATH_LENGTH}" for number in range(20)]
    await catalog.create("changed", {"properties": {name: {"type": "string"} for name in names}})
    wrong = {"properties": {name: {"unevaluatedProperties": False} for name in names}}
    changed, refusal = await documents.load(
        document(
            changed=webhook({"properties": {name: {"type": "integer"} for name in names}}),
            wrong=webhook(wrong),
        )
    )
    assert (len(changed.breaking), len(refusal.problems)) == (transfer.MAX_BREAKING, transfer.MAX_PROBLEMS)
    paths = [*(one.path for one in changed.breaking), *(one.path for one in refusal.problems)]
    assert max(map(len, paths)) == transfer.MAX_PATH_LENGTH


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "[]",
        "{}",
        '{"openapi": "3.0.3", "webhooks": {}}',
        '{"openapi": "3.1.0"}',
        '{"asyncapi": "2.6.0", "channels": {}}',
        '{"asyncapi": "3.0.0"}',
        '{"openapi": "3.1.0", "webhooks": {"a": ' + "[" * 2_000 + "]" * 2_000 + "}}",
        json.dumps(document(**{f"n{number}": {} for number in range(entries.MAX_IMPORTED + 1)})),
        " " * transfer.MAX_BYTES + "{}",
    ],
    ids=range(10),
)
async def test_what_is_no_such_document_is_refused_as_a_whole(documents: Documents, offered: str) -> None:
    error = await refused(documents.load(offered))
    assert isinstance(error, errors.InvalidArgument)
    assert [violation.field for violation in error.violations] == ["document"]


async def test_asyncapi_of_others_is_imported(documents: Documents) -> None:
    offered = {
        "asyncapi": "3.0.0",
        "channels": {
            "one": {
                "messages": {
                    "paid": {"$ref": "#/components/messages/Paid"},
                    "avro": {"payload": {"schemaFormat": "application/vnd.apache.avro", "schema": {}}},
                }
            },
            "two": {
                "messages": {
                    "paid": {"$ref": "#/components/messages/Paid"},
                    "again": {"name": "invoice.paid", "payload": {}},
                }
            },
        },
        "components": {
            "messages": {
                "Paid": {
                    "name": "invoice.paid",
                    "summary": "It was paid.",
                    "payload": {
                        "schemaFormat": "application/schema+json;version=2020-12",
                        "schema": {"$ref": "#/components/schemas/Tree"},
                    },
                    "examples": [{"payload": {"below": [{}]}}],
                }
            },
            "schemas": {
                "Tree": {"type": "object", "properties": {"below": {"$ref": "#/components/schemas/Trees"}}},
                "Trees": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            },
        },
    }
    done = await documents.load(offered)
    assert outcomes(done) == [("invoice.paid", "created", 1), ("avro", "refused", 0), ("invoice.paid", "refused", 0)]
    exported = await documents.export(ASYNCAPI, "invoice.*")
    schema = exported["components"]["schemas"]["invoice.paid"]
    trees = "#/components/schemas/invoice.paid/$defs/Trees"
    assert schema["properties"]["below"] == {"$ref": trees}
    assert schema["$defs"]["Trees"]["items"] == {"$ref": "#/components/schemas/invoice.paid"}
    assert exported["components"]["messages"]["invoice.paid"]["description"] == "It was paid."


async def test_an_export_has_what_is_selected_and_a_bound(catalog: Catalog, documents: Documents) -> None:
    for name in ("invoice.paid", "order.paid"):
        await catalog.create(name)
    assert list((await documents.export(OPENAPI, "invoice.*"))["webhooks"]) == ["invoice.paid"]
    wrong = await refused(documents.export(OPENAPI, "not a type"))
    assert [violation.field for violation in wrong.violations] == ["event_types.0"]
    assert isinstance(await refused(documents.export(pb.CATALOG_FORMAT_UNSPECIFIED)), errors.InvalidArgument)
    padded = {"description": "x" * 60_000}
    for number in range(transfer.MAX_BYTES // 60_000 + 1):
        await catalog.create(f"large.{number}", padded)
    large = await refused(documents.export(OPENAPI))
    assert [violation.field for violation in large.violations] == ["event_types"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_the_first_and_the_last_times_are_exported_and_stay(documents: Documents, moment: str) -> None:
    offered = document(sunset=webhook(ORDER, deprecated=True, **{"x-sunset-at": moment}))
    assert outcomes(await documents.load(offered)) == [("sunset", "created", 1)]
    assert (await documents.export())["webhooks"]["sunset"]["post"]["x-sunset-at"] == moment
    assert outcomes(await documents.load(offered)) == [("sunset", "unchanged", 1)]


async def test_references_that_cannot_lead_anywhere_are_refused_before_they_take_time(documents: Documents) -> None:
    offered = document(
        digits=webhook({"properties": {"a": {"$ref": f"#/required/{'9' * 1_900}"}}}),
        shared=webhook({"$ref": f"#/list/{'9' * 1_900}"}),
        # A pointer has as many beginnings, and each is looked for.
        slashes=webhook({"properties": {"a": {"$ref": "#" + "/" * 60_000}}}),
        root=webhook({"$ref": "#" + "/" * 60_000}),
        document={"post": {"requestBody": {"$ref": "#" + "/" * 60_000}}},
    )
    offered["list"] = [1]
    said = {one.name: one.problems[0].description for one in await documents.load(offered, dry_run=True)}
    missing, too_long = "which does not exist", "must have references of at most 2,000 characters"
    assert all(said[name].startswith("refers to ") for name in ("digits", "shared"))
    assert {name: said[name] for name in ("slashes", "root", "document")} == dict.fromkeys(
        ("slashes", "root", "document"), too_long
    )
    with pytest.raises(RefusedError, match=missing):  # more digits than Python reads
        followed({"list": [1]}, f"/list/{'9' * 5_000}")


def test_nothing_walks_through_what_is_too_large_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []
    whole = references._anchors

    def counted(schema: Any, *within: Any) -> Any:
        walked.append(len(json.dumps(schema)))
        return whole(schema, *within)

    monkeypatch.setattr(references, "_anchors", counted)
    large: dict[str, Any] = {"properties": {str(number): {} for number in range(20_000)}}
    chain, addresses = large, ["/large"]
    for _ in range(20):
        chain = {"not": chain}
        addresses.append(addresses[-1] + "/not")
    schema = {"allOf": [{"$ref": f"#{address}"} for address in reversed(addresses)]}
    for source in ({"schema": schema, "large": chain}, {"schema": large}):
        with pytest.raises(RefusedError, match="bytes, together with what it refers to"):
            references.Bundler(source).bundle("/schema")
    assert max(walked, default=0) <= bounds.MAX_SCHEMA_BYTES


async def test_tenants_take_turns_at_importing() -> None:
    going, begun = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    class Slow:
        async def count(self, tenant_id: str) -> int:
            begun.set()
            await going.wait()
            done.append(tenant_id)
            return 0

    turns = transfer.CatalogTransfer(cast("CatalogStore", Slow()), Comparisons())
    text = json.dumps(document())
    async with asyncio.TaskGroup() as group:
        for tenant_id in ("much", "much", "much", "much", "little"):
            group.create_task(turns.load(tenant_id, text, dry_run=True))
            await begun.wait()
        await asyncio.sleep(0)
        going.set()
    assert done == ["much", "much", "little", "much", "much"]


async def test_what_a_tenant_publishes_are_its_current_versions_under_its_name(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(await catalog.ingest.of(f"test-{ids.new()}"))
    tenant_id = catalog.ingest.tenant_id
    access: access_pb2_grpc.AccessServiceAsyncStub = access_pb2_grpc.AccessServiceStub(catalog.ingest.channel)
    await catalog.create("order.created", description="An order.")
    await catalog.create("order.secret", status=pb.EVENT_TYPE_STATUS_DRAFT)

    async def published(of: str = tenant_id) -> dict[str, Any] | None:
        request = pb.GetPublishedCatalogRequest(id=of, format=OPENAPI)
        answer = await catalog.stub.GetPublishedCatalog(request, timeout=CALL_SECONDS)
        return json.loads(answer.document) if answer.HasField("document") else None

    async def publish(*, publishes: bool) -> None:
        request = access_pb2.UpdateTenantRequest(
            id=tenant_id,
            name="Acme",
            publishes_catalog=publishes,
            update_mask=FieldMask(paths=["name", "publishes_catalog"]),
        )
        answer = await access.UpdateTenant(request, timeout=CALL_SECONDS)
        assert answer.tenant.publishes_catalog is publishes

    assert await published() is None
    await publish(publishes=True)
    found = await published()
    assert found is not None
    assert found["info"]["title"] == "Acme"
    assert list(found["webhooks"]) == ["order.created"]
    assert await published("test-another") is None
    with monkeypatch.context() as smaller:
        smaller.setattr(transfer, "MAX_BYTES", 100)
        assert await published() is None
    await publish(publishes=False)
    assert await published() is None
    assert fields(await refused(published("*"))) == ["id"]
