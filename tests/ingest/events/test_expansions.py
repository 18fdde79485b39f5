"""Events with a large fan-out: they get a response at once, and are expanded later, exactly once."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from protos.webhook.v1 import ingest_pb2
from services.domain import events as rules
from services.domain.doorbell import Rung
from services.ingest.access import store as access
from services.ingest.events import expansions
from services.ingest.events.expansions import Expander, ExpansionStore
from services.ingest.events.records import NewEvent
from services.ingest.events.store import EventStore
from services.platform import errors, ids
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores.signals import Signals
from tests.ingest.conftest import Ingest, counted, eventually

TYPE = "order.created"
BOUND = 100
MANY = BOUND + 20
PENDING = ingest_pb2.INGEST_STATUS_PENDING


async def subscribe(ingest: Ingest, number: int, **columns: object) -> list[UUID]:
    """Create subscriptions directly in Postgres, and have the server reload them."""
    made = sorted(ids.new() for _ in range(number))
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", ${place}" for place in range(3, 3 + len(columns)))
    await ingest.pool.execute(
        f"INSERT INTO subscriptions (id, tenant_id, target_url{names})"
        f" SELECT id, $2, 'http://x'{values} FROM unnest($1::uuid[]) AS id",
        made,
        ingest.tenant_id,
        *columns.values(),
    )
    await ingest.create(event_types=["something.else"])
    return made


async def unexpanded(ingest: Ingest) -> int:
    return await ingest.count("event_expansions")


async def expanded(ingest: Ingest) -> None:
    """Wait until the tenant has nothing left to expand."""

    async def none_left() -> bool:
        return await unexpanded(ingest) == 0

    await eventually(none_left, "all events to be expanded")


async def targets_of(ingest: Ingest, event_id: str | UUID) -> list[UUID]:
    """Return the subscriptions with a delivery of an event, once for each delivery."""
    return sorted(row["subscription_id"] for row in await ingest.deliveries(str(event_id)))


@contextlib.asynccontextmanager
async def no_chunks(ingest: Ingest) -> AsyncIterator[None]:
    """Block the creation of deliveries, but not the acceptance of events that are expanded."""
    async with ingest.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE webhook_deliveries IN SHARE MODE")
        yield


# -- over gRPC --


async def test_an_event_to_many_is_answered_as_expanding_and_then_goes_to_each_once(ingest: Ingest) -> None:
    wanting = await subscribe(ingest, MANY)
    before = counted("webhook_deliveries_created_total")
    accepted = await ingest.send(event_type=TYPE, payload=b"once")
    assert (accepted.status, accepted.expanding, accepted.deliveries, accepted.delivery_id) == (PENDING, True, 0, "")
    await expanded(ingest)
    assert await targets_of(ingest, accepted.event_id) == wanting
    event = await ingest.event(accepted.event_id)
    assert (event.expanding, event.payload) == (False, b"once")
    assert counted("webhook_deliveries_created_total") == before + MANY


async def test_a_fan_out_up_to_the_bound_has_its_deliveries_with_the_answer(ingest: Ingest) -> None:
    wanting = await subscribe(ingest, BOUND)
    accepted = await ingest.send(event_type=TYPE)
    assert (accepted.expanding, accepted.deliveries) == (False, BOUND)
    assert await targets_of(ingest, accepted.event_id) == wanting
    assert not (await ingest.event(accepted.event_id)).expanding


async def test_an_event_says_that_it_is_expanding_while_it_is(ingest: Ingest) -> None:
    await subscribe(ingest, MANY)
    async with no_chunks(ingest):
        accepted = await ingest.send(event_type=TYPE, tags={"order": "42"})
        event = await ingest.event(accepted.event_id)
        assert (event.expanding, dict(event.tags)) == (True, {"order": "42"})
    await expanded(ingest)


@pytest.mark.parametrize("name", ["event_id", "idempotency_key"])
async def test_a_repeat_gets_the_first_answer_with_how_it_is_now(ingest: Ingest, name: str) -> None:
    await subscribe(ingest, MANY)
    item = ingest.item(event_type=TYPE, **{name: str(ids.new())})
    async with no_chunks(ingest):
        first = await ingest.send_item(item)
        again = await ingest.send_item(item)
    assert (again.event_id, again.replayed, again.expanding, again.deliveries) == (first.event_id, True, True, 0)
    await expanded(ingest)
    again = await ingest.send_item(item)
    assert (again.event_id, again.replayed, again.expanding, again.deliveries) == (first.event_id, True, False, MANY)
    assert await ingest.count() == 1
    assert await ingest.count("webhook_deliveries") == MANY


async def test_a_batch_has_expanding_events_beside_others_with_and_without_keys(ingest: Ingest) -> None:
    (one, *_) = await subscribe(ingest, MANY)
    items = [
        ingest.item(str(one)),
        ingest.item(event_type=TYPE),
        ingest.item(event_type=TYPE, idempotency_key="a"),
        ingest.item(str(one), idempotency_key="b"),
    ]
    results = [result.accepted for result in await ingest.batch(*items)]
    assert [(result.expanding, result.deliveries) for result in results] == [
        *((False, 1), (True, 0), (True, 0), (False, 1))
    ]
    await expanded(ingest)
    assert await ingest.count("webhook_deliveries") == 2 + 2 * MANY


async def test_an_event_whose_process_died_after_the_answer_is_expanded_by_any_other(ingest: Ingest) -> None:
    wanting = await subscribe(ingest, 3)
    event_id = ids.new()
    # As left behind by a process that stored the event and then died.
    await ingest.pool.execute(
        "INSERT INTO event_expansions (event_id, tenant_id, event_type, stored_at, targets)"
        " VALUES ($1, $2, $3, now(), 3)",
        event_id,
        ingest.tenant_id,
        TYPE,
    )

    async def taken() -> bool:
        return await targets_of(ingest, event_id) == wanting

    await eventually(taken, "the event to be expanded")


async def test_a_chunk_whose_connection_is_lost_is_made_again(ingest: Ingest) -> None:
    wanting = await subscribe(ingest, MANY)
    async with no_chunks(ingest):
        accepted = await ingest.send(event_type=TYPE)
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"

        async def lost() -> bool:
            return bool(await ingest.pool.fetchval(ended))

        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await eventually(lost, "a chunk to wait, and to lose its connection")
    await expanded(ingest)
    assert await targets_of(ingest, accepted.event_id) == wanting


async def test_a_tenant_whose_subscriptions_are_deleted_meanwhile_is_left_with_nothing(ingest: Ingest) -> None:
    await subscribe(ingest, MANY)
    async with no_chunks(ingest):
        await ingest.send(event_type=TYPE)
    # Perhaps in the middle of it.
    await ingest.pool.execute("UPDATE subscriptions SET deleted_at = now() WHERE tenant_id = $1", ingest.tenant_id)
    await expanded(ingest)
    made = await ingest.count("webhook_deliveries")
    assert await ingest.count("delivery_queue") == made
    await ingest.pool.execute("UPDATE tenants SET deleted_at = now() WHERE id = $1", ingest.tenant_id)
    await asyncio.sleep(0.1)
    assert await ingest.count("webhook_deliveries") == made
    assert await unexpanded(ingest) == 0


# -- chunk by chunk --


class Chunks:
    """One stored event, and its expansion step by step."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.store = ExpansionStore(pool, expiry_hours=10)
        self.event = NewEvent(
            id=ids.new(),
            tenant_id="default",
            event_type=TYPE,
            content_type="text/plain",
            payload=b"",
            deliveries=(),
            targets=1,
        )

    async def stored(self) -> "Chunks":
        store = EventStore(self.pool, expiry_hours=1, key_hours=1)
        (accepted,) = await store.insert_events([self.event], hidden_seconds=0)
        assert not isinstance(accepted, errors.WebhookError)
        assert accepted.expanding
        return self

    async def next(
        self,
        *,
        deliveries: int = 2,
        subscriptions: int = 1_000,
        room: int = 1_000,
        is_open: Callable[[UUID], bool] = lambda _: True,
    ) -> expansions.Chunk | None:
        return await self.store.expand(
            self.event.id, is_open=is_open, room=room, deliveries=deliveries, subscriptions=subscriptions
        )

    async def rest(self) -> list[expansions.Chunk]:
        chunks = []
        while chunk := await self.next():
            chunks.append(chunk)
        return chunks

    async def deliveries(self) -> list[asyncpg.Record]:
        """Return its deliveries, and in how many seconds each is due."""
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT id, subscription_id, expires_at,"
            " extract(epoch FROM due_at - now())::float AS due_in_seconds FROM deliveries WHERE event_id = $1",
            self.event.id,
        )
        return rows

    async def targets(self) -> list[UUID]:
        """Return the subscriptions with a delivery of it, once for each delivery."""
        return sorted(row["subscription_id"] for row in await self.deliveries())


@pytest.fixture
async def chunks(database: str) -> AsyncIterator[Chunks]:
    """A separate database, where no other process expands."""
    async with asyncpg.create_pool(database, min_size=0, max_size=4) as pool:
        yield Chunks(pool)


async def subscribed(chunks: Chunks, number: int, **columns: object) -> list[UUID]:
    made = sorted(ids.new() for _ in range(number))
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", ${place}" for place in range(2, 2 + len(columns)))
    await chunks.pool.execute(
        f"INSERT INTO subscriptions (id, tenant_id, target_url{names})"
        f" SELECT id, 'default', 'http://x'{values} FROM unnest($1::uuid[]) AS id",
        made,
        *columns.values(),
    )
    return made


async def test_chunks_go_over_the_subscriptions_in_order_and_the_last_one_ends_it(chunks: Chunks) -> None:
    made = await subscribed(chunks, 5)
    await chunks.stored()
    found = []
    for number in (2, 2, 1):
        chunk = await chunks.next()
        assert chunk is not None
        found.append((chunk.made, chunk.finished))
        assert chunk.made == number
    assert found == [(2, False), (2, False), (1, True)]
    assert await chunks.targets() == made
    assert await chunks.next() is None


async def test_a_chunk_looks_at_a_bounded_number_of_subscriptions(chunks: Chunks) -> None:
    await subscribed(chunks, 7, event_types=["something.else"])
    (last,) = await subscribed(chunks, 1)
    await chunks.stored()
    found = [await chunks.next(subscriptions=3) for _ in range(3)]
    assert [(chunk.made, chunk.finished) for chunk in found if chunk] == [(0, False), (0, False), (1, True)]
    assert await chunks.targets() == [last]


async def test_an_event_without_subscribers_ends_at_once(chunks: Chunks) -> None:
    await chunks.stored()
    chunk = await chunks.next()
    assert chunk is not None
    assert (chunk.made, chunk.finished) == (0, True)


async def test_subscriptions_changed_during_an_expansion_count_as_they_are_at_their_chunk(chunks: Chunks) -> None:
    made = await subscribed(chunks, 9)
    await chunks.stored()
    await chunks.next()
    changes = {
        made[0]: "deleted_at = now()",  # after its delivery was created
        made[2]: "deleted_at = now()",
        made[3]: "status = 'paused'",
        made[4]: "status = 'disabled', keep_when_disabled = false",
        made[5]: "status = 'disabled'",
        made[6]: "event_types = '{something.else}'",
        made[7]: "event_types = '{order.*}'",
    }
    for subscription_id, change in changes.items():
        await chunks.pool.execute(f"UPDATE subscriptions SET {change} WHERE id = $1", subscription_id)
    rest = await chunks.rest()
    assert await chunks.targets() == [made[0], made[1], made[3], made[5], made[7], made[8]]
    # Only deliveries that are not held are rung for.
    assert sorted(rung.subscription_id for chunk in rest for rung in chunk.rung) == [made[7], made[8]]


async def test_a_subscription_created_after_the_event_gets_nothing_of_it(chunks: Chunks) -> None:
    made = await subscribed(chunks, 3)
    await chunks.stored()
    await chunks.next()
    later = await subscribed(chunks, 1)
    # Also with an id from a clock that is slow: only the database's clock counts.
    early = ids.shifted(ids.new(), -3600)
    await chunks.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url) VALUES ($1, 'default', 'x')", early
    )
    await chunks.rest()
    assert await chunks.targets() == made
    assert not set(later) & set(await chunks.targets())


async def test_a_tenant_with_an_event_that_is_not_expanded_is_in_use(chunks: Chunks) -> None:
    await chunks.stored()
    assert await chunks.pool.fetchval(access.SQL["is_in_use"], "default")
    await chunks.rest()
    assert not await chunks.pool.fetchval(access.SQL["is_in_use"], "default")


async def test_a_tenants_event_goes_to_no_other_tenants_subscriptions(chunks: Chunks) -> None:
    made = await subscribed(chunks, 2)
    await chunks.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other')")
    await chunks.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url) VALUES ($1, 'other', 'x')", ids.new()
    )
    await subscribed(chunks, 1, kind="system")
    await chunks.stored()
    await chunks.rest()
    assert await chunks.targets() == made


async def test_deliveries_are_due_at_once_but_for_those_that_are_rung(chunks: Chunks) -> None:
    made = await subscribed(chunks, 4)
    limited = await subscribed(chunks, 1, rate_limit_per_second=1.0)
    await chunks.stored()
    chunk = await chunks.next(deliveries=10, room=2, is_open=lambda subscription_id: subscription_id != made[0])
    assert chunk is not None
    assert sorted(rung.subscription_id for rung in chunk.rung) == made[1:3]
    rows = await chunks.deliveries()
    hidden = {row["subscription_id"] for row in rows if row["due_in_seconds"] > 5}
    assert hidden == set(made[1:3])
    assert {row["subscription_id"] for row in rows} == {*made, *limited}
    assert {row["id"] for row in rows if row["subscription_id"] in hidden} == {rung.delivery_id for rung in chunk.rung}


async def test_deliveries_expire_by_when_the_event_was_stored(chunks: Chunks) -> None:
    await subscribed(chunks, 1)
    await chunks.stored()
    await chunks.pool.execute("UPDATE event_expansions SET stored_at = now() + interval '1 hour'")
    stored_at: datetime = await chunks.pool.fetchval("SELECT stored_at FROM event_expansions")
    await chunks.rest()
    (row,) = await chunks.deliveries()
    assert row["expires_at"] == stored_at + timedelta(hours=10)


async def test_a_filter_means_the_same_in_a_chunk_as_anywhere_else(chunks: Chunks) -> None:
    filters = [
        [],
        [TYPE],
        ["order.*"],
        ["order"],
        ["order.created.*"],
        ["orders.*"],
        ["x", "order.*"],
        ["o.*", TYPE + "x"],
    ]
    by_id = {(await subscribed(chunks, 1, event_types=entries))[0]: entries for entries in filters}
    await chunks.stored()
    await chunks.rest()
    expected = sorted(one for one, entries in by_id.items() if rules.TypeFilter(entries).wants(TYPE))
    assert await chunks.targets() == expected


# -- exactly once --


class _Interrupted:
    """A fake pool: its connection runs this many statements, and then its task is cancelled."""

    def __init__(self, pool: Any, statements: int) -> None:
        self._pool = pool
        self.left = statements

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            yield _InterruptedConnection(self, connection)


class _InterruptedConnection:
    def __init__(self, pool: _Interrupted, connection: Any) -> None:
        self._pool = pool
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._connection, name)
        if name not in {"fetch", "fetchrow", "execute"}:
            return inner

        async def counted(*arguments: Any) -> Any:
            if self._pool.left == 0:
                raise asyncio.CancelledError
            self._pool.left -= 1
            result = await inner(*arguments)
            if self._pool.left == 0:
                raise asyncio.CancelledError
            return result

        return counted


@pytest.mark.parametrize("statements", range(14))
async def test_expansion_interrupted_at_any_statement_continues_without_duplicates(
    chunks: Chunks, statements: int
) -> None:
    made = await subscribed(chunks, 5)
    await chunks.stored()
    whole = chunks.store
    chunks.store = ExpansionStore(_Interrupted(chunks.pool, statements), expiry_hours=1)  # type: ignore[arg-type]
    with contextlib.suppress(asyncio.CancelledError):
        await chunks.rest()
    known = await chunks.pool.fetchval("SELECT made FROM event_expansions")
    assert known in {None, len(await chunks.targets())}
    chunks.store = whole
    await chunks.rest()
    assert await chunks.targets() == made
    assert await chunks.pool.fetchval("SELECT count(*) FROM event_expansions") == 0


async def test_expanders_at_the_same_time_make_each_delivery_once(chunks: Chunks) -> None:
    made = await subscribed(chunks, 60)
    await chunks.stored()
    totals = [0, 0, 0]

    async def work(number: int) -> None:
        while await chunks.pool.fetchval("SELECT count(*) FROM event_expansions"):
            chunk = await chunks.next()
            totals[number] += chunk.made if chunk else 0

    await asyncio.gather(*(work(number) for number in range(3)))
    assert await chunks.targets() == made
    assert sum(totals) == 60


async def test_deliveries_that_exist_are_neither_made_nor_rung_again(chunks: Chunks) -> None:
    made = await subscribed(chunks, 3)
    await chunks.stored()
    await chunks.next()
    await chunks.pool.execute("UPDATE event_expansions SET after_id = $1", UUID(int=0))
    rest = await chunks.rest()
    assert [len(chunk.rung) for chunk in rest] == [0, 1]
    assert await chunks.targets() == made


async def test_a_delivery_that_has_ended_is_not_queued_again(chunks: Chunks) -> None:
    await subscribed(chunks, 3)
    await chunks.stored()
    await chunks.next()
    ended = await chunks.pool.fetchval(
        "DELETE FROM delivery_queue WHERE delivery_id = (SELECT delivery_id FROM delivery_queue LIMIT 1)"
        " RETURNING delivery_id"
    )
    await chunks.pool.execute("UPDATE webhook_deliveries SET status = 'delivered' WHERE id = $1", ended)
    await chunks.pool.execute("UPDATE event_expansions SET after_id = $1", UUID(int=0))
    await chunks.rest()
    queued = {row["delivery_id"] for row in await chunks.pool.fetch("SELECT delivery_id FROM delivery_queue")}
    assert queued == {row["id"] for row in await chunks.deliveries()} - {ended}


# -- turns --


class _Scripted:
    """A fake store: each event takes this many chunks; records whose turn it was."""

    def __init__(self, sizes: dict[UUID, int]) -> None:
        self.sizes = sizes
        self.order: list[UUID] = []
        self.fails: set[UUID] = set()

    async def unfinished(self, since: UUID, limit: int) -> list[expansions.Unfinished]:  # noqa: ARG002
        return []

    async def expand(self, event_id: UUID, **_: object) -> expansions.Chunk | None:
        self.order.append(event_id)
        if event_id in self.fails:
            raise ValueError
        self.sizes[event_id] -= 1
        return expansions.Chunk(rung=[], made=1, finished=not self.sizes[event_id])


class _Ringer:
    async def room(self) -> int:
        return 0

    def ring(self, rung: list[Rung], *, tenant_id: str) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """They are the dispatcher's."""


class _Gates:
    def is_open(self, _: UUID) -> bool:
        return True


def _expander(store: _Scripted, weight_of: WeightOf = same_weight) -> Expander:
    return Expander(store, _Ringer(), _Gates(), Signals(cast("Any", None)), weight_of)  # type: ignore[arg-type]


async def _run(expander: Expander, store: _Scripted, steps: int) -> None:
    task = asyncio.create_task(expander.run(lambda: 0))

    async def made() -> bool:
        return len(store.order) >= steps

    try:
        await eventually(made, "the steps")
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_tenants_take_turns_for_any_amount_of_events_to_expand() -> None:
    busy = [ids.new() for _ in range(3)]
    quiet = ids.new()
    store = _Scripted({**dict.fromkeys(busy, 3), quiet: 2})
    expander = _expander(store)
    for event_id in busy:
        expander.committed("busy", event_id, 3)
    expander.committed("quiet", quiet, 2)
    await _run(expander, store, 11)
    assert store.order[:4].count(quiet) == 2
    # Events of one tenant, in the order in which they were accepted.
    assert [event_id for event_id in store.order if event_id != quiet] == [one for one in busy for _ in range(3)]


async def test_tenant_of_weight_3_has_three_times_the_chunks_of_another() -> None:
    light, *heavy = [ids.new() for _ in range(4)]
    store = _Scripted({light: 20, **dict.fromkeys(heavy, 4)})
    expander = _expander(store, {"light": 1, "heavy": 3}.__getitem__)
    expander.committed("light", light, 20)
    for event_id in heavy:
        expander.committed("heavy", event_id, 4)
    await _run(expander, store, 20)
    assert store.order[:16].count(light) == 4
    assert set(store.order[16:]) == {light}


async def test_a_tenant_that_comes_is_next_beside_any_weight() -> None:
    heavy, light = ids.new(), ids.new()

    class Store(_Scripted):
        async def expand(self, event_id: UUID, **_: object) -> expansions.Chunk | None:
            if len(self.order) == 10:
                expander.committed("light", light, 3)
            return await super().expand(event_id)

    store = Store({heavy: 300, light: 3})
    expander = _expander(store, {"light": 1, "heavy": 100}.__getitem__)
    expander.committed("heavy", heavy, 300)
    await _run(expander, store, 250)
    places = [place for place, event_id in enumerate(store.order) if event_id == light]
    assert places[0] <= 12
    assert [99 <= after - before <= 102 for before, after in itertools.pairwise(places)] == [True, True]


async def test_a_tenant_cannot_have_more_turns_by_coming_back_with_an_event_of_one_chunk_each_time() -> None:
    large = ids.new()
    store = _Scripted({large: 50})
    expander = _expander(store)
    expander.committed("steady", large, 50)
    small: UUID | None = None
    for _ in range(20):
        if small is None or not store.sizes[small]:
            small = ids.new()
            store.sizes[small] = 1
            expander.committed("back", small, 1)
        await expander._step(time.monotonic())
    assert store.order.count(large) == 10


async def test_an_event_that_another_process_is_at_is_not_looked_for_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expansions, "IDLE_SECONDS", 3600.0)
    event = expansions.Unfinished(event_id=ids.new(), tenant_id="a", unmade=3)
    looks = 0

    class Store(_Scripted):
        async def unfinished(self, since: UUID, limit: int) -> list[expansions.Unfinished]:  # noqa: ARG002
            nonlocal looks
            looks += 1
            return [event]

        async def expand(self, event_id: UUID, **_: object) -> expansions.Chunk | None:
            self.order.append(event_id)
            return None

    store = Store({})
    expander, now = _expander(store), time.monotonic()
    assert await expander._step(now) == 0.0
    assert await expander._step(now + 1) == pytest.approx(3599.0)
    assert (looks, store.order) == (1, [event.event_id])
    await expander._step(now + 3600)
    assert (looks, len(store.order)) == (2, 2)


async def test_an_event_that_cannot_be_expanded_delays_no_other() -> None:
    broken, good = ids.new(), ids.new()
    store = _Scripted({broken: 1, good: 2})
    store.fails.add(broken)
    expander = _expander(store)
    expander.committed("a", broken, 1)
    expander.committed("a", good, 2)
    await _run(expander, store, 3)
    assert store.order == [broken, good, good]


async def test_a_tenant_with_too_many_events_is_refused_and_no_other_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansions, "MAX_TENANT_EVENTS", 2)
    expander = _expander(_Scripted({}))
    for _ in range(2):
        expander.admit("busy", 1, max_waiting=1_000)
        expander.committed("busy", ids.new(), 1)
    with pytest.raises(errors.TenantOverloaded):
        expander.admit("busy", 1, max_waiting=1_000)
    expander.admit("quiet", 1, max_waiting=1_000)


async def test_tenants_over_their_share_are_rejected_when_all_together_exceed_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expansions, "MAX_EVENTS", 6)
    expander = _expander(_Scripted({}))
    for tenant, number in (("busy", 5), ("quiet", 1)):
        for _ in range(number):
            expander.committed(tenant, ids.new(), 1)
    with pytest.raises(errors.TenantOverloaded):
        expander.admit("busy", 1, max_waiting=1_000)
    expander.admit("quiet", 1, max_waiting=1_000)
    expander.admit("new", 1, max_waiting=1_000)


async def test_targets_of_a_tenants_events_count_as_soon_as_those_are_admitted() -> None:
    expander = _expander(_Scripted({}))
    expander.admit("busy", 6, max_waiting=10)
    expander.admit("busy", 1_000, max_waiting=10)
    with pytest.raises(errors.QuotaExceeded) as refused:
        expander.admit("busy", 1, max_waiting=10)
    assert refused.value.reason == "QUOTA_WAITING_DELIVERIES"
    expander.admit("quiet", 1, max_waiting=10)
    expander.settled("busy", 1_000)  # which was not stored
    expander.admit("busy", 1, max_waiting=10)


async def test_targets_count_until_their_deliveries_exist() -> None:
    event_id = ids.new()
    store = _Scripted({event_id: 1_000_000})
    expander = _expander(store)
    expander.committed("busy", event_id, 12)
    with pytest.raises(errors.QuotaExceeded):
        expander.admit("busy", 1, max_waiting=10)
    await _run(expander, store, 3)  # a delivery each
    expander.admit("busy", 10, max_waiting=10)
    with pytest.raises(errors.QuotaExceeded):
        expander.admit("busy", 1, max_waiting=10)


# -- plans --


@pytest.mark.parametrize("analyzed", [True, False])
async def test_targets_are_found_by_tenant_and_id_among_those_of_many_tenants(chunks: Chunks, analyzed: bool) -> None:  # noqa: FBT001 - a parameter
    await chunks.pool.execute("INSERT INTO tenants (id, name) SELECT 't' || n, 'x' FROM generate_series(1, 200) AS n")
    await chunks.pool.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url)"
        " SELECT gen_random_uuid(), 't' || (1 + n % 200), 'x' FROM generate_series(1, 10000) AS n"
    )
    if analyzed:
        await chunks.pool.execute("ANALYZE subscriptions")
    async with chunks.pool.acquire() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE targets AS {expansions.SQL['select_targets']}")
        zero = UUID(int=0)
        lines = await connection.fetch(f"EXPLAIN EXECUTE targets ('t1', '{zero}', now(), '{{a}}', 2000, 250)")
    plan = "\n".join(line[0] for line in lines)
    assert plan.count("subscriptions_live") == 2, plan
    assert "Seq Scan" not in plan
    assert "tenant_id = $1) AND (id > $2" in plan
