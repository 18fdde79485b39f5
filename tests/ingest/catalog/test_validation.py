"""Events are validated when they are accepted."""

import asyncio
from typing import Any

import pytest

from protos.webhook.v1 import catalog_pb2 as pb
from services.domain.catalog.schemas import Schema
from services.platform import errors
from tests.ingest.catalog.conftest import Catalog
from tests.ingest.conftest import counted, eventually, fields, refused, serving

GOOD, BAD = b'{"id": "a"}', b'{"id": 1, "amount": -1}'


async def test_an_enforced_schema_refuses_what_does_not_match(catalog: Catalog) -> None:
    await catalog.create(validation=pb.VALIDATION_ENFORCE)
    send = catalog.ingest.send

    await send(event_type="order.created", payload=GOOD)
    await send(event_type="order.paid", payload=BAD)
    error = await refused(send(event_type="order.created", payload=BAD))

    assert error.reason is errors.ErrorReason.PAYLOAD_INVALID
    assert sorted(fields(error)) == ["payload/amount", "payload/id"]
    assert await catalog.ingest.count() == 2


async def test_events_are_not_validated_by_the_catalog_of_another_tenant(catalog: Catalog) -> None:
    other = Catalog(await catalog.ingest.of("another-of-validation"))
    await other.create(validation=pb.VALIDATION_ENFORCE)
    await catalog.create("order.paid", validation=pb.VALIDATION_ENFORCE)
    await catalog.ingest.send(event_type="order.created", payload=BAD)
    await refused(other.ingest.send(event_type="order.created", payload=BAD))


async def test_items_of_a_batch_have_errors_of_their_own(catalog: Catalog) -> None:
    await catalog.create(validation=pb.VALIDATION_ENFORCE)
    item = catalog.ingest.item

    first, second, third = await catalog.ingest.batch(
        item(event_type="order.created", payload=b"{}"),
        item(event_type="order.created", payload=GOOD),
        item(event_type="order.created", payload=BAD),
    )

    assert (first.error.field, first.error.reason) == ("payload/id", "PAYLOAD_INVALID")
    assert second.HasField("accepted")
    assert sorted(one.field for one in third.error.violations) == ["payload/amount", "payload/id"]


async def test_webhooks_to_one_subscription_are_validated_by_their_type(catalog: Catalog) -> None:
    await catalog.create(validation=pb.VALIDATION_ENFORCE)
    made = await catalog.ingest.create()
    wrong: tuple[dict[str, Any], ...] = (
        {"payload": BAD},
        {"payload": GOOD, "content_type": "text/plain"},
        {"payload": GOOD, "content_encoding": "gzip"},
    )
    for one in wrong:
        error = await refused(catalog.ingest.send(made.id, event_type="order.created", **one))
        assert error.reason is errors.ErrorReason.PAYLOAD_INVALID
    await catalog.ingest.send(made.id, event_type="order.created", payload=GOOD, content_type="application/x+json")
    await catalog.ingest.send(made.id, payload=BAD)


async def test_a_warning_accepts_and_counts(catalog: Catalog) -> None:
    made = await catalog.create(validation=pb.VALIDATION_WARN)
    before = counted("webhook_events_validated_total", result="warned")

    for _ in range(3):
        await catalog.ingest.send(event_type="order.created", payload=BAD)

    assert counted("webhook_events_validated_total", result="warned") == before + 3

    async def written_down() -> bool:
        return (await catalog.get(made.id)).invalid_events.count == 3

    await eventually(written_down, "the events to be counted")
    found = (await catalog.get(made.id)).invalid_events
    assert sorted(found.last_errors) == ["payload/amount: must be at least 0", "payload/id: must be a string"]
    assert found.HasField("last_at")


async def test_the_tenant_decides_where_the_event_type_does_not(catalog: Catalog) -> None:
    made = await catalog.create()
    send = catalog.ingest.send
    await send(event_type="order.created", payload=BAD)

    await catalog.ingest.pool.execute(
        "UPDATE tenants SET validation = 'enforce' WHERE id = $1", catalog.ingest.tenant_id
    )
    await catalog.update(made.id, description="new")  # so that processes look again

    assert (await catalog.get(made.id)).effective_validation == pb.VALIDATION_ENFORCE
    await refused(send(event_type="order.created", payload=BAD))
    await catalog.update(made.id, validation=pb.VALIDATION_OFF)
    await send(event_type="order.created", payload=BAD)


async def test_events_are_validated_against_the_current_version(catalog: Catalog) -> None:
    made = await catalog.create(validation=pb.VALIDATION_ENFORCE, status=pb.EVENT_TYPE_STATUS_DRAFT)
    send = catalog.ingest.send
    await send(event_type="order.created", payload=BAD)
    await catalog.update_version(made.id, 1, status=pb.EVENT_TYPE_STATUS_LIVE)
    await refused(send(event_type="order.created", payload=BAD))
    await catalog.add(made.id, {"type": "object"})
    await send(event_type="order.created", payload=BAD)
    await catalog.update_version(made.id, 2, status=pb.EVENT_TYPE_STATUS_DEPRECATED)
    await refused(send(event_type="order.created", payload=BAD))
    await catalog.delete(made.id)
    await send(event_type="order.created", payload=BAD)


async def test_another_process_hears_of_a_change(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        await other.send(event_type="order.created", payload=BAD)
        await Catalog(one).create(validation=pb.VALIDATION_ENFORCE)

        async def is_refused() -> bool:
            (result,) = await other.batch(other.item(event_type="order.created", payload=BAD))
            return result.error.reason == "PAYLOAD_INVALID"

        await eventually(is_refused, "the other process to validate")


async def test_others_go_on_between_the_events_of_a_tenant_whose_validation_takes_long(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is of this process: `turns` counts those that its loop gave to others."""
    turns = 0
    seen: list[int] = []
    violations = Schema.violations

    def validate(self: Schema, payload: bytes) -> Any:
        seen.append(turns)
        return violations(self, payload)

    monkeypatch.setattr(Schema, "violations", validate)
    schema = {"type": "array", "items": {"type": ["array", "integer"]}}
    await catalog.create(schema=schema, validation=pb.VALIDATION_WARN)
    slow = catalog.ingest.item(event_type="order.created", payload=b"[" + b'["a",1],' * 9_000 + b"1]")
    heavy = asyncio.ensure_future(catalog.ingest.batch(*[slow] * 50))
    while not heavy.done():
        turns += 1
        await asyncio.sleep(0)
    assert all(one.HasField("accepted") for one in await heavy)
    assert len(seen) == 50
    assert len(set(seen)) >= 5
