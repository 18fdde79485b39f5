"""What a filter asks of payloads that the schemas of event types rule out."""

import asyncio
from typing import Any, cast

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.webhook.v1 import catalog_pb2, ingest_pb2
from services.domain.filters import expression
from services.ingest.catalog import conditions
from services.ingest.catalog.cache import Catalogs, Promised
from services.ingest.subscriptions import filter_schemas
from services.ingest.subscriptions.filter_schemas import FilterSchemas
from tests.ingest.catalog.conftest import Catalog
from tests.ingest.conftest import CALL_SECONDS, fields, refused

ITEM = {"type": "object", "properties": {"sku": {"type": "string"}}, "additionalProperties": False}
ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "amount": {"type": ["integer", "null"]},
        "status": {"enum": ["paid", "open"]},
        "test": {"type": "boolean"},
        "name": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Name"}]},
        "items": {"type": "array", "items": ITEM},
        "anything": True,
        "kind": {"const": "order"},
        "anchored": {"$ref": "#name"},
        "patterned": {"patternProperties": {"^x_": True}, "additionalProperties": False},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
        "closed": {"allOf": [{"$ref": "#/$defs/Name"}]},
    },
    "additionalProperties": False,
    "$defs": {
        "Name": {
            "$anchor": "name",
            "type": "object",
            "properties": {"first": {"type": "string"}},
            "additionalProperties": False,
        }
    },
}
DATA = "event.data"


@pytest.mark.parametrize(
    ("text", "path", "said", "can_match"),
    [
        (f"{DATA}.amuont > 1", f"{DATA}.amuont", "does not exist", False),
        (f"{DATA}['amuont'] > 1", f"{DATA}['amuont']", "does not exist", False),
        (f"{DATA}.amuont > 1 || {DATA}.test", f"{DATA}.amuont", "does not exist", True),
        (f"{DATA}.test && !({DATA}.amuont > 1)", f"{DATA}.amuont", "does not exist", False),
        (f"{DATA}.amount.cents > 1", f"{DATA}.amount.cents", "does not exist", False),
        (f"{DATA}.name.last == 'A'", f"{DATA}.name.last", "does not exist", False),
        (f"{DATA}.closed.last == 'A'", f"{DATA}.closed.last", "does not exist", False),
        (f"size({DATA}.amount) > 1", f"{DATA}.amount", "is null or a number, where a string, an array", False),
        (f"{DATA}.amount > '1'", f"{DATA}.amount", "is null or a number, and is compared with a string", False),
        (f"'1' == {DATA}.amount", f"{DATA}.amount", "is null or a number, and is compared with a string", False),
        (f"{DATA}.amount != true", f"{DATA}.amount", "is null or a number, and is compared with a boolean", True),
        (f"{DATA}.amount.startsWith('1')", f"{DATA}.amount", "startsWith() needs a string", False),
        (f"{DATA}.status == 'payed'", f"{DATA}.status", "is never 'payed'", False),
        (f"{DATA}.status == 'payed' && {DATA}.test", f"{DATA}.status", "is never 'payed'", False),
        (f"{DATA}.kind == 'user'", f"{DATA}.kind", "is never 'user'", False),
        (f"{DATA}.status in ['payed', 'opened']", f"{DATA}.status", "is never one of the list", False),
        (f"{DATA}.amount in ['1']", f"{DATA}.amount", "is null or a number, and none of the list is", False),
        (f"{DATA}.items.exists(i, i.skuu == 'A')", "i.skuu", "does not exist", False),
        (f"{DATA}.items.all(i, i.skuu == 'A')", "i.skuu", "does not exist", True),
        (f"{DATA}.amount.exists(i, i == 1)", f"{DATA}.amount", "is not an array", False),
        (f"!{DATA}.amount", f"{DATA}.amount", "is null or a number, where a boolean is needed", False),
    ],
)
def test_what_a_schema_rules_out_is_a_mistake(text: str, path: str, said: str, *, can_match: bool) -> None:
    (mistake,) = found(text).mistakes
    assert mistake.path == path
    assert said in mistake.description
    assert found(text).can_match is can_match


@pytest.mark.parametrize(
    "text",
    [
        f"{DATA}.amount > 1.5 && {DATA}.status == 'paid'",
        f"{DATA}.amount == null || {DATA}.test",
        f"{DATA}.anything.at.all > 'x' && {DATA}.anything[0].b",
        f"{DATA}.name.first == 'A' || {DATA}.name == 'A'",
        f"{DATA}.items.exists(i, i.sku == 'A') && {DATA}.items[0].sku.matches('^A')",
        f"event.type == 'other' || {DATA}.test",
        f"event.type != 'order.paid' || {DATA}.test",
        f"'paid' in {DATA}.items || size({DATA}.items) > 1 || {DATA}.amount + 1 > 2",
        f"{DATA}.patterned.x_1 == 'A' && {DATA}.pair[0].startsWith('A')",
        f"{DATA}.anchored.last == 'A'",
        f"event.type == 'other' ? {DATA}.email == 'a' : {DATA}.test",
        f"event.type == 'order.paid' ? {DATA}.test : {DATA}.email == 'a'",
        f"{DATA}.test ? {DATA}.amount > 1 : {DATA}.closed.first == 'A'",
        "event.tags.customer == 'acme' && event.time.getHours() < 18 && event.id != ''",
        f"string({DATA}.amount) == '1'",
        "true",
    ],
)
def test_what_a_schema_allows_is_none(text: str) -> None:
    assert found(text) == conditions.Finding(mistakes=frozenset(), can_match=True)


@pytest.mark.parametrize(
    "text",
    [
        f"event.type == 'user.created' && {DATA}.email == 'a'",
        f"event.type.startsWith('user.') && {DATA}.email == 'a'",
        f"event.type in ['user.created'] && {DATA}.email == 'a'",
        f"has({DATA}.email) && {DATA}.email == 'a'",
        f"{DATA}.email == 'a' && event.type == 'user.created'",
    ],
)
def test_a_guard_is_no_mistake_though_nothing_matches(text: str) -> None:
    assert found(text) == conditions.Finding(mistakes=frozenset(), can_match=False)


def test_a_mistake_is_what_each_version_rules_out() -> None:
    text = f"{DATA}.amuont > 1"
    assert conditions.of_any([found(text), found(text, {"type": "object"})]) == conditions.Finding(
        mistakes=frozenset(), can_match=True
    )
    assert conditions.of_any([found(text), found(text)]).mistakes


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = expression.tree(" && ".join(f"{DATA}.a.a.a.a.a.a.a.a.a.b{number} == 1" for number in range(12)))
    assert tree is not None
    loop: dict[str, Any] = {"anyOf": [{"$ref": "#/$defs/x"}] * 3, "properties": {"a": {"$ref": "#"}}}
    loop["$defs"] = {"x": {"anyOf": [{"type": "object", "properties": {"a": {"$ref": "#"}}}] * 3}}
    assert conditions.finding(tree, "order.paid", loop).can_match


def test_a_large_schema_is_not_followed_for_long() -> None:
    values = ", ".join(f"'{number}'" for number in range(100))
    tree = expression.tree(" && ".join(f"{DATA}.a in [{values}]" for _ in range(3)))
    assert tree is not None
    large = {"properties": {"a": {"enum": [f"x{number}" for number in range(10_000)]}}}
    # None of the values can be one of these; that this is so takes too long to find out.
    assert conditions.finding(tree, "order.paid", large).can_match


def mask(*paths: str) -> FieldMask:
    return FieldMask(paths=paths)


def found(text: str, schema: Any = ORDER) -> conditions.Finding:
    tree = expression.tree(text)
    assert tree is not None, expression.violations(text)
    return conditions.finding(tree, "order.paid", schema)


async def test_a_subscription_is_warned_or_refused_when_its_filter_is_saved(catalog: Catalog) -> None:
    ingest = catalog.ingest
    await catalog.create("order.paid", ORDER, validation=catalog_pb2.VALIDATION_ENFORCE)
    await catalog.create("order.open", ORDER)
    await catalog.create("user.made", {"type": "object"})
    wrong, right = f"{DATA}.amuont > 1", f"{DATA}.amount > 1"
    said = "filter: event.data.amuont does not exist, by the schema"

    error = await refused(ingest.create(event_types=["order.paid"], filter=wrong))
    assert fields(error) == ["filter"]
    assert "can never be true: event.data.amuont does not exist" in str(error)
    for types, expected in (
        (["order.open"], [f"{said} of order.open"]),
        (["order.paid", "order.open", "user.made", "unknown"], [f"{said}s of order.open, order.paid"]),
        (["order.*"], [f"{said}s of order.open, order.paid"]),
        (["user.made"], []),
        (["unknown"], []),
        ([], []),
    ):
        assert list((await ingest.create(event_types=types, filter=wrong)).status.warnings) == expected, types
    made = await ingest.create(event_types=["order.paid"], filter=right)
    assert not made.status.warnings
    error = await refused(ingest.update(made.id, filter=wrong, update_mask=mask("filter")))
    assert fields(error) == ["filter"]
    lax = await ingest.create(event_types=["user.made"], filter=wrong)
    error = await refused(ingest.update(lax.id, event_types=["order.paid"], update_mask=mask("event_types")))
    assert fields(error) == ["filter"]
    assert list(
        (await ingest.update(lax.id, event_types=["order.open"], update_mask=mask("event_types"))).status.warnings
    ) == [f"{said} of order.open"]
    # What exists is not refused because of what is saved besides, or because it is saved again.
    early = await ingest.create(event_types=["later"], filter=wrong)
    await catalog.create("later", ORDER, validation=catalog_pb2.VALIDATION_ENFORCE)
    assert not (await ingest.update(lax.id, description="other", update_mask=mask("description"))).status.warnings
    again = await ingest.update(early.id, filter=wrong, update_mask=mask("filter"))
    assert list(again.status.warnings) == [f"{said} of later"]
    # Of several types it may be meant for one that is changed next.
    both = await ingest.create(event_types=["order.paid", "later"], filter=wrong)
    assert list(both.status.warnings) == [f"{said}s of later, order.paid"]


async def test_what_is_compared_and_said_is_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("order.open", "order.paid"):
        await catalog.create(name, ORDER)
    monkeypatch.setattr(filter_schemas, "MAX_SCHEMAS", 1)
    monkeypatch.setattr(filter_schemas, "MAX_WARNINGS", 2)
    wrong = " || ".join(f"{DATA}.{name} > 1" for name in "abc")
    made = await catalog.ingest.create(event_types=["order.open", "order.paid"], filter=wrong)
    assert list(made.status.warnings) == [
        f"filter: {DATA}.{name} does not exist, by the schema of order.open" for name in "ab"
    ]


async def test_a_filter_that_is_tried_is_compared_with_the_types_of_the_events(catalog: Catalog) -> None:
    ingest = catalog.ingest
    await catalog.create("order.paid", ORDER)
    made = await ingest.create(event_types=["order.*"])
    sent = await ingest.send(event_type="order.paid", payload=b"{}")

    async def warnings(**asked: Any) -> list[str]:
        request = ingest_pb2.CheckFilterRequest(tenant_id=ingest.tenant_id, filter=f"{DATA}.amuont > 1", **asked)
        return list((await ingest.events.CheckFilter(request, timeout=CALL_SECONDS)).warnings)

    said = ["event.data.amuont does not exist, by the schema of order.paid"]
    assert await warnings(event=ingest_pb2.TriedEvent(event_type="order.paid", payload=b"{}")) == said
    assert await warnings(event=ingest_pb2.TriedEvent(payload=b"{}")) == []
    assert await warnings(event_ids=[sent.event_id]) == said
    assert await warnings(latest=ingest_pb2.LatestEvents(subscription_id=made.id)) == said


async def test_others_have_a_turn_between_the_versions_of_an_event_type(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    at: list[int] = []

    class Large:
        def has(self, _: str) -> bool:
            return True

        async def promised(self, *_: Any) -> list[Promised]:
            return [Promised(name="order.paid", schemas=[ORDER] * 50, is_enforced=True)]

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    whole = conditions.finding

    def noted(*arguments: Any) -> conditions.Finding:
        at.append(turns)
        return whole(*arguments)

    monkeypatch.setattr(conditions, "finding", noted)
    other = asyncio.create_task(others())
    checked = await FilterSchemas(cast("Catalogs", Large())).check("t", f"{DATA}.amuont > 1", ["order.paid"])
    other.cancel()
    assert checked.is_vain
    assert len(set(at)) == len(at) == 50
