"""Unavailable stores: what is returned, and that nothing is accepted in part."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from dev.embedded import StopMode
from services.domain.doorbell import RUNG_SECONDS
from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from tests.ingest.conftest import Breakable, Ingest, eventually, frozen, refused, serving

# Less than the time limit of a bell, and enough for a busy machine.
DUE_SECONDS = RUNG_SECONDS - 2.0
# Without a bound of its own, a call would take as long as the outage.
SOON_SECONDS = 20.0
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
async def ingest(breakable: Breakable) -> AsyncIterator[Ingest]:
    """A server on stores that a test may stop."""
    async with serving(breakable.database_url, breakable.redis_url) as running:
        yield running


async def _refused_in_time(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    started = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert time.monotonic() - started < SOON_SECONDS
    return raised.value


async def test_calls_without_postgres_are_unavailable_soon_and_say_when_to_try_again(
    ingest: Ingest, breakable: Breakable
) -> None:
    made = await ingest.create()
    breakable.postgres.stop(StopMode.IMMEDIATE)
    calls = {
        "create": ingest.create(),
        "get": ingest.get(made.id),
        "update": ingest.update(made.id),
        "delete": ingest.delete(made.id),
        "list": ingest.page(),
        "ingest": ingest.send(made.id),
        "ingest unknown": ingest.send(UNKNOWN),
        "fan out": ingest.send(event_type="a"),
        "batch": ingest.batch(ingest.item(made.id)),
        "batch unknown": ingest.batch(*(ingest.item(str(ids.new())) for _ in range(500))),
        "event": ingest.event(UNKNOWN),
    }
    for name, call in calls.items():
        error = await _refused_in_time(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE, name
        raw = dict(error.trailing_metadata())[grpc_errors.DETAILS_KEY]
        assert isinstance(raw, bytes)
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in status_pb2.Status.FromString(raw).details), name
        assert retry.retry_delay.seconds == 1
        assert "postgres" not in (error.details() or "").lower()


async def test_events_refused_while_postgres_was_away_are_not_stored_and_accepted_ones_are(
    ingest: Ingest, breakable: Breakable
) -> None:
    made = await ingest.create()
    accepted: list[str] = []
    refused_ids: list[str] = []
    stopping = asyncio.Event()

    async def client() -> None:
        while not stopping.is_set():
            event_id = str(ids.new())
            try:
                await ingest.send(made.id, event_id=event_id)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - one or the other
                refused_ids.append(event_id)
            else:
                accepted.append(event_id)

    clients = [asyncio.create_task(client()) for _ in range(20)]
    await eventually(lambda: _async(len(accepted) > 100), "some events to be accepted")
    await asyncio.to_thread(breakable.postgres.kill)
    await eventually(lambda: _async(len(refused_ids) > 20), "some events to be refused")
    await asyncio.to_thread(breakable.postgres.start)
    before = len(accepted)
    await eventually(lambda: _async(len(accepted) > before + 100), "events to be accepted again")
    stopping.set()
    await asyncio.gather(*clients)
    events = {str(row["id"]) for row in await ingest.pool.fetch("SELECT id FROM webhook_events")}
    deliveries = {str(row["event_id"]) for row in await ingest.pool.fetch("SELECT event_id FROM webhook_deliveries")}
    assert set(accepted) <= events
    # All or nothing: no event without its delivery.
    assert events == deliveries
    # If it is refused during the commit, the outcome is unknown; if the server was unavailable, nothing is stored.
    assert len(events - set(accepted)) <= 20


async def _async(value: bool) -> bool:  # noqa: FBT001 - the answer of a check
    return value


async def test_a_server_that_starts_while_postgres_is_away_serves_when_it_comes(breakable: Breakable) -> None:
    breakable.postgres.stop()

    async def start_postgres() -> None:
        await asyncio.to_thread(breakable.postgres.start)

    starting = asyncio.create_task(start_postgres())
    async with serving(breakable.database_url, breakable.redis_url) as ingest:
        assert (await ingest.send((await ingest.create()).id)).deliveries == 1
    await starting


async def _due(ingest: Ingest, event_id: str) -> bool:
    (row,) = await ingest.deliveries(event_id)
    return bool(row["due_in_seconds"] <= 0)


async def test_events_without_redis_are_accepted_and_due_at_once(ingest: Ingest, breakable: Breakable) -> None:
    made = await ingest.create()
    breakable.valkey.kill()
    # The first one may still expect a bell; its failure is found in the background.
    first = await ingest.send(made.id)
    await eventually(lambda: _due(ingest, first.event_id), "the first delivery to be due", DUE_SECONDS)
    later = await ingest.send(made.id)
    assert await _due(ingest, later.event_id)
    # Everything else works, too.
    other = await ingest.create(event_types=["a"])
    await ingest.update(other.id, event_types=["b"])
    assert (await ingest.send(event_type="b")).deliveries == 2
    assert await ingest.delete(made.id) == 3
    assert isinstance(await refused(ingest.send(made.id)), errors.NotFound)


async def test_a_hanging_redis_does_not_delay_the_response(ingest: Ingest, breakable: Breakable) -> None:
    made = await ingest.create()
    await ingest.send(made.id)
    with frozen(breakable.valkey):
        started = time.monotonic()
        accepted = await ingest.send(made.id)
        await ingest.send((await ingest.create()).id)
        assert time.monotonic() - started < SOON_SECONDS
        await eventually(lambda: _due(ingest, accepted.event_id), "the delivery to be due", DUE_SECONDS)


async def test_deliveries_are_rung_for_again_once_redis_is_back(ingest: Ingest, breakable: Breakable) -> None:
    made = await ingest.create()
    breakable.valkey.kill()
    first = await ingest.send(made.id)
    await eventually(lambda: _due(ingest, first.event_id), "the first delivery to be due", DUE_SECONDS)
    breakable.valkey.start()

    async def rung() -> bool:
        return not await _due(ingest, (await ingest.send(made.id)).event_id)

    await eventually(rung, "a delivery to be rung for")


async def test_a_migration_under_a_running_server_asks_callers_to_try_again_at_most(alone: Ingest) -> None:
    made = await alone.create()
    await alone.update(made.id)
    await alone.pool.execute("ALTER TABLE subscriptions ADD COLUMN of_a_later_version text")
    codes = []
    for call in [call for _ in range(3) for call in (alone.update(made.id), alone.create(), alone.get(made.id))]:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            codes.append(error.code())
    assert set(codes) <= {grpc.StatusCode.UNAVAILABLE}
    assert len(codes) < 9
    await alone.update(made.id)
