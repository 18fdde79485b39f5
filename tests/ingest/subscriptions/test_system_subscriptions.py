"""A system subscription gets only operational events, and a tenant can have only one."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import subscriptions_pb2
from services.platform import errors, ids
from tests.ingest.conftest import Ingest, fields, refused

SYSTEM = subscriptions_pb2.SUBSCRIPTION_KIND_SYSTEM
NORMAL = subscriptions_pb2.SUBSCRIPTION_KIND_NORMAL


@pytest.fixture
async def own(ingest: Ingest) -> Ingest:
    """A new tenant."""
    return await ingest.of(f"t{ids.new().hex}")


async def test_a_tenant_has_one_and_another_once_it_is_deleted(ingest: Ingest, own: Ingest) -> None:
    made = await own.create(kind=SYSTEM)
    assert made.spec.kind == (await own.get(made.id)).spec.kind == SYSTEM
    assert (await own.create()).spec.kind == NORMAL

    for key in ("", "a key"):
        error = await refused(own.create(kind=SYSTEM, idempotency_key=key))
        assert isinstance(error, errors.Conflict)
        assert error.reason == "SYSTEM_SUBSCRIPTION_EXISTS"
    other = await ingest.of(f"t{ids.new().hex}")
    assert (await other.create(kind=SYSTEM)).spec.kind == SYSTEM

    await own.delete(made.id)
    assert (await own.create(kind=SYSTEM)).spec.kind == SYSTEM


async def test_a_repeated_creation_of_one_is_answered_as_the_first(own: Ingest) -> None:
    made = await asyncio.gather(*(own.create(kind=SYSTEM, idempotency_key="k") for _ in range(5)))
    assert {one.id for one in made} == {made[0].id}
    assert await own.create(kind=SYSTEM, idempotency_key="k") == made[0]
    error = await refused(own.create("https://another.example/", kind=SYSTEM, idempotency_key="k"))
    assert error.reason == "IDEMPOTENCY_KEY_REUSED"
    error = await refused(own.create(kind=SYSTEM, idempotency_key="another"))
    assert error.reason == "SYSTEM_SUBSCRIPTION_EXISTS"


async def test_the_kind_cannot_be_changed_or_invented(own: Ingest) -> None:
    system, normal = await own.create(kind=SYSTEM), await own.create()
    assert (await own.update(system.id)).spec.kind == SYSTEM
    assert (await own.update(system.id, kind=SYSTEM)).spec.kind == SYSTEM
    for made, kind in ((system, NORMAL), (normal, SYSTEM)):
        error = await refused(own.update(made.id, kind=kind))
        assert (error.code, fields(error)) == (errors.InvalidArgument.code, ["kind"])
    error = await refused(own.create(kind=99))  # a kind that does not exist
    assert fields(error) == ["kind"]
    assert (await own.get(normal.id)).spec.kind == NORMAL


async def test_system_subscription_gets_no_event_of_its_tenant(own: Ingest) -> None:
    system, normal = await own.create(kind=SYSTEM), await own.create()
    # Whatever its type is.
    accepted = await own.send(event_type="subscription.disabled")
    (row,) = await own.deliveries(accepted.event_id)
    assert row["subscription_id"] == UUID(normal.id)

    error = await refused(own.send(system.id, event_type="subscription.disabled"))
    assert isinstance(error, errors.Conflict)
    assert error.reason == "SUBSCRIPTION_IS_SYSTEM"
    (result, fine) = await own.batch(own.item(system.id), own.item(normal.id))
    assert (result.error.reason, fine.WhichOneof("outcome")) == ("SUBSCRIPTION_IS_SYSTEM", "accepted")


async def facts(own: Ingest) -> list[tuple[Any, ...]]:
    query = "SELECT subscription_id, event_type, reason FROM operational_facts WHERE tenant_id = $1 ORDER BY id"
    return [tuple(row) for row in await own.pool.fetch(query, own.tenant_id)]


async def test_disabling_by_hand_is_noted_for_it_once_and_only_of_others(own: Ingest) -> None:
    normal = await own.create()
    await own.set_status(normal.id, subscriptions_pb2.SUBSCRIPTION_ACTION_DISABLE)
    assert await facts(own) == []  # nothing listens there

    system = await own.create(kind=SYSTEM)
    await own.set_status(normal.id, subscriptions_pb2.SUBSCRIPTION_ACTION_ENABLE)
    for disabled in (normal, normal, system):
        await own.set_status(disabled.id, subscriptions_pb2.SUBSCRIPTION_ACTION_DISABLE)

    assert await facts(own) == [(UUID(normal.id), "subscription.disabled", "manual")]
