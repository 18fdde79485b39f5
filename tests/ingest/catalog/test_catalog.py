"""Event types and versions over gRPC, on a real server."""

import asyncio
import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from protos.webhook.v1 import catalog_pb2 as pb
from services.ingest.catalog import record
from services.platform import errors, ids
from tests.ingest.catalog.conftest import ORDER, Catalog
from tests.ingest.conftest import CALL_SECONDS, fields, refused


async def test_an_event_type_is_stored_with_its_first_version(catalog: Catalog) -> None:
    made = await catalog.create(description="A customer ordered.", validation=pb.VALIDATION_WARN, example='{"id": "a"}')

    assert (made.name, made.description, made.current_version) == ("order.created", "A customer ordered.", 1)
    assert (made.validation, made.effective_validation) == (pb.VALIDATION_WARN, pb.VALIDATION_WARN)
    assert (made.latest.number, made.latest.spec.status) == (1, pb.EVENT_TYPE_STATUS_LIVE)
    assert json.loads(made.latest.spec.schema) == ORDER
    assert await catalog.get(made.id) == made
    assert await catalog.version(made.id, 1) == made.latest
    by_name = await catalog.page(name="order.created")
    assert list(by_name.event_types) == [made]
    assert not (await catalog.page(name="order.paid")).event_types


async def test_a_name_is_taken_once_and_a_key_repeats_the_answer(catalog: Catalog) -> None:
    request = catalog.creation(idempotency_key="the same")
    first, again = [await catalog.stub.CreateEventType(request, timeout=CALL_SECONDS) for _ in range(2)]
    assert (first.event_type, first.replayed, again.replayed) == (again.event_type, False, True)

    taken = await refused(catalog.create())

    assert taken.reason is errors.ErrorReason.EVENT_TYPE_EXISTS


async def test_a_schema_that_is_no_object_is_refused_as_rest_has_no_room_for_it(catalog: Catalog) -> None:
    for schema in (True, False):
        refusal = await refused(catalog.stub.CreateEventType(catalog.creation(schema=schema), timeout=CALL_SECONDS))
        assert fields(refusal) == ["schema"]


async def test_lists_go_by_name_page_by_page(catalog: Catalog) -> None:
    for name in ("b.b", "a.a", "c.c"):
        await catalog.create(name)
    first = await catalog.page(page_size=2)
    second = await catalog.page(page_size=2, page_token=first.next_page_token)
    assert [one.name for one in (*first.event_types, *second.event_types)] == ["a.a", "b.b", "c.c"]
    assert not second.next_page_token


async def test_tenants_have_catalogs_of_their_own(catalog: Catalog) -> None:
    made = await catalog.create()
    other = Catalog(await catalog.ingest.of(f"test-{ids.new()}"))

    attempts = (
        other.get(made.id),
        other.update(made.id, description="mine"),
        other.add(made.id),
        other.version(made.id, 1),
        other.update_version(made.id, 1, description="mine"),
        other.checked(made.id, ORDER),
        other.delete(made.id),
        other.stub.ListEventTypeVersions(
            pb.ListEventTypeVersionsRequest(tenant_id=other.ingest.tenant_id, event_type_id=made.id)
        ),
    )
    for attempt in attempts:
        assert isinstance(await refused(attempt), errors.NotFound)
    assert not (await other.page()).event_types
    assert (await other.create()).name == made.name
    assert await catalog.get(made.id) == made


async def test_a_draft_changes_until_it_is_published(catalog: Catalog) -> None:
    made = await catalog.create(status=pb.EVENT_TYPE_STATUS_DRAFT)
    assert made.current_version == 0

    changed = await catalog.update_version(made.id, 1, schema='{"type": "array"}')
    published = await catalog.update_version(made.id, 1, status=pb.EVENT_TYPE_STATUS_LIVE)

    assert changed.spec.schema == published.spec.schema == '{"type": "array"}'
    assert (await catalog.get(made.id)).current_version == 1
    changes: tuple[dict[str, Any], ...] = ({"schema": "{}"}, {"status": pb.EVENT_TYPE_STATUS_DRAFT})
    for change in changes:
        error = await refused(catalog.update_version(made.id, 1, **change))
        assert error.reason is errors.ErrorReason.VERSION_PUBLISHED


async def test_the_newest_live_version_is_current_and_else_the_newest_deprecated_one(catalog: Catalog) -> None:
    made = await catalog.create()
    assert (await catalog.add(made.id)).number == 2
    await catalog.add(made.id, status=pb.EVENT_TYPE_STATUS_DRAFT)
    found = await catalog.get(made.id)
    assert (found.current_version, found.latest.number) == (2, 3)

    sunset_at = Timestamp(seconds=1_900_000_000)
    await catalog.update_version(made.id, 2, status=pb.EVENT_TYPE_STATUS_DEPRECATED, sunset_at=sunset_at)
    assert (await catalog.get(made.id)).current_version == 1
    await catalog.update_version(made.id, 1, status=pb.EVENT_TYPE_STATUS_DEPRECATED)
    assert (await catalog.get(made.id)).current_version == 2

    assert (await catalog.version(made.id, 2)).spec.sunset_at == sunset_at
    revived = await catalog.update_version(made.id, 2, status=pb.EVENT_TYPE_STATUS_LIVE)
    assert not revived.spec.HasField("sunset_at")


async def test_versions_are_added_in_turn(catalog: Catalog) -> None:
    made = await catalog.create()
    added = await asyncio.gather(*(catalog.add(made.id) for _ in range(5)))
    assert sorted(one.number for one in added) == [2, 3, 4, 5, 6]


async def test_what_is_wrong_is_named(catalog: Catalog) -> None:
    wrong: tuple[tuple[pb.CreateEventTypeRequest, list[str]], ...] = (
        (catalog.creation("no spaces"), ["name"]),
        (catalog.creation(description="x" * 1025), ["description"]),
        (catalog.creation(description="\x00"), ["description"]),
        (catalog.creation(schema=7), ["schema"]),
        (catalog.creation(schema={"properties": {"a": {"type": "text"}}}), ["schema/properties/a/type"]),
        (catalog.creation(schema={"$ref": "https://example.com/s.json"}), ["schema/$ref"]),
        (catalog.creation(example='{"id": 1}'), ["example/id"]),
        (catalog.creation(example="{"), ["example"]),
        (catalog.creation(sunset_at=Timestamp(seconds=1)), ["sunset_at"]),
    )
    for request, named in wrong:
        assert fields(await refused(catalog.stub.CreateEventType(request, timeout=CALL_SECONDS))) == named
    made = await catalog.create()
    assert isinstance(await refused(catalog.version(made.id, 2)), errors.NotFound)
    assert fields(await refused(catalog.version(made.id, 0))) == ["number"]
    assert fields(await refused(catalog.stub.UpdateEventType(catalog.change(made.id)))) == ["update_mask"]


async def test_a_catalog_is_bounded(catalog: Catalog) -> None:
    made = await catalog.create()
    pool, tenant_id = catalog.ingest.pool, catalog.ingest.tenant_id
    await pool.execute(
        "INSERT INTO event_types (id, tenant_id, name) SELECT gen_random_uuid(), $1, 'many.' || n"
        " FROM generate_series(2, $2::integer) AS n",
        tenant_id,
        record.MAX_EVENT_TYPES,
    )
    await pool.execute(
        "INSERT INTO event_type_versions (event_type_id, number, status, schema)"
        " SELECT $1, n, 'live', '{}' FROM generate_series(2, $2::integer) AS n",
        made.id,
        record.MAX_VERSIONS,
    )
    for attempt in (catalog.create("one.more"), catalog.add(made.id)):
        assert (await refused(attempt)).reason is errors.ErrorReason.CATALOG_FULL


async def test_breaking_changes_are_listed_and_nothing_is_stored(catalog: Catalog) -> None:
    made = await catalog.create()
    wider = {**ORDER, "required": []}

    found = await catalog.checked(made.id, wider)
    same = await catalog.checked(made.id, ORDER, number=1)

    assert (found.number, found.compatible, [one.path for one in found.breaking]) == (1, False, ["/required"])
    assert same.compatible
    assert (await catalog.get(made.id)).latest.number == 1
