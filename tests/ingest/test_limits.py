"""Limits of docs/reference/limits.md that ingest enforces for gRPC callers: accepted at the limit, refused above.

The limits of a subscription's fields are tested in tests/ingest/subscriptions/.
"""

import asyncio
import time
from typing import Any

import grpc
import pytest

from protos.webhook.v1 import ingest_pb2, subscriptions_pb2
from services.platform import errors
from services.platform.grpc import calls, server
from tests.ingest.conftest import URL, Ingest, eventually, fields, refused

Headers = subscriptions_pb2.CustomHeaders


async def test_an_idempotency_key_has_a_bound(ingest: Ingest) -> None:
    await ingest.create(idempotency_key="k" * 255)
    assert fields(await refused(ingest.create(idempotency_key="k" * 256))) == ["idempotency_key"]


@pytest.mark.parametrize(
    "many",
    [
        {"event_types": ["a b" * 1000] * 100},
        {"event_types": ["a b"] * 10_000},
        {"headers": Headers(values={f"{number} {'☃' * 100}": "v" for number in range(10_000)})},
    ],
    ids=["event types", "too many event types", "headers"],
)
async def test_a_request_with_very_many_errors_returns_some_of_them(ingest: Ingest, many: dict[str, Any]) -> None:
    error = await refused(ingest.create(**many))
    assert type(error) is errors.InvalidArgument  # and not the subclass for what is too large
    assert 1 <= len(error.violations) <= errors.MAX_VIOLATIONS
    assert await ingest.count("subscriptions") == 0


async def test_a_message_has_a_bound_of_bytes(ingest: Ingest) -> None:
    most = 2 * (1 << 20) + (2 << 20)
    for size, code in ((most - 1000, grpc.StatusCode.INVALID_ARGUMENT), (most, grpc.StatusCode.RESOURCE_EXHAUSTED)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ingest.send(payload=b"x" * size)
        assert raised.value.code() is code


async def test_metadata_has_a_bound_of_bytes(ingest: Ingest) -> None:
    request = subscriptions_pb2.ListSubscriptionsRequest()
    for size in (8 << 10, 64 << 10):
        call = ingest.subscriptions.ListSubscriptions(request, metadata=(("x-much", "y" * size),), timeout=60)
        if size <= server.MAX_METADATA_BYTES:
            await call
        else:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# -- deadlines --


async def test_a_deadline_that_passes_ends_the_statement_that_is_out(alone: Ingest) -> None:
    async with alone.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE subscriptions")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await alone.subscriptions.ListSubscriptions(subscriptions_pb2.ListSubscriptionsRequest(), timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: _nothing_waits(alone), "the statement to end")


async def test_a_change_is_whole_though_its_deadline_passes(alone: Ingest) -> None:
    made = await alone.create(description="before")
    async with alone.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM subscriptions FOR UPDATE")
        request = alone.change(made.id, target_url=URL, description="after")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await alone.subscriptions.UpdateSubscription(request, timeout=4.0)  # enough for the call to arrive
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.2)
    await eventually(lambda: _described(alone, made.id, "after"), "the change to be made")


async def test_a_call_without_a_deadline_ends_all_the_same(alone: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALL_SECONDS", 0.5)
    async with alone.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE subscriptions")
        started = time.monotonic()
        error = await refused(alone.subscriptions.ListSubscriptions(subscriptions_pb2.ListSubscriptionsRequest()))
        assert isinstance(error, errors.Unavailable)
        assert time.monotonic() - started < 9  # a statement ends after ten at last
        await eventually(lambda: _nothing_waits(alone), "the statement to end")


async def test_an_event_is_stored_or_refused_though_its_callers_deadline_passes(alone: Ingest) -> None:
    made = await alone.create()
    async with alone.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE webhook_events")
        request = ingest_pb2.IngestRequest(item=alone.item(made.id))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await alone.events.Ingest(request, timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await alone.send(made.id)
    # In one snapshot: the first event may be committed at any time.
    counts = await alone.pool.fetchrow(
        "SELECT (SELECT count(*) FROM webhook_events) AS events,"
        " (SELECT count(*) FROM webhook_deliveries) AS deliveries"
    )
    assert counts
    assert counts["events"] == counts["deliveries"] > 0


async def _nothing_waits(ingest: Ingest) -> bool:
    return not await ingest.held_up()


async def _described(ingest: Ingest, subscription_id: str, description: str) -> bool:
    return (await ingest.get(subscription_id)).spec.description == description
