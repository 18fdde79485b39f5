"""How tenants share commits: no tenant waits, or is refused, because of another one's events."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY

from dev.harness.keys import ADMIN_KEY
from protos.webhook.v1 import access_pb2, access_pb2_grpc
from services.domain.doorbell import RUNG_SECONDS, Rung
from services.domain.idempotency import Key
from services.ingest.events import committer
from services.ingest.events.committer import PIECE_BYTES, SHARED_BYTES, Committer, _pieces, _size
from services.ingest.events.records import Accepted, NewEvent, Result
from services.ingest.settings import IngestSettings
from services.platform import errors, ids
from tests.ingest.conftest import Ingest, eventually, serving


def event(tenant_id: str, *, size_bytes: int = 1, deliveries: int = 0, key: str = "") -> NewEvent:
    target = ids.new()
    return NewEvent(
        id=ids.new(),
        tenant_id=tenant_id,
        event_type=None,
        content_type="text/plain",
        payload=b"x" * size_bytes,
        deliveries=[(target, target, True)] * deliveries,
        key=Key(tenant_id=tenant_id, route="events", key=key, request_hash=b"") if key else None,
    )


class Store:
    """A fake store that records each transaction, and treats it as configured for its tenants."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.hung = asyncio.Event()
        self.hangs: set[str] = set()
        self.fails: dict[str, Exception] = {}

    async def insert_events(self, events: Sequence[NewEvent], **_: object) -> list[Result]:
        names = [one.tenant_id for one in events]
        self.transactions.append(names)
        if not self.hangs.isdisjoint(names):
            await self.hung.wait()
        for name, error in self.fails.items():
            if name in names:
                raise error
        return [one.accepted for one in events]

    async def insert_keyed_events(self, events: Sequence[NewEvent], **others: object) -> list[Result]:
        return await self.insert_events(events, **others)

    def committer(self, **settings: Any) -> Committer:
        made = IngestSettings.model_validate({"encryption_keys": "", **settings})
        return Committer(self, _Silent(), made, print)  # type: ignore[arg-type]  # it needs no more of them


class _Silent:
    def open_to(self, _: str) -> bool:
        return False


class _Full:
    """A stream that is full, of which one tenant has its share."""

    def __init__(self) -> None:
        self.rung: defaultdict[str, list[Rung]] = defaultdict(list)

    def open_to(self, tenant_id: str) -> bool:
        return tenant_id != "busy"

    def ring(self, rung: Iterable[Rung], *, tenant_id: str) -> None:
        self.rung[tenant_id] = list(rung)

    def leave(self) -> None:
        """Tell nobody."""


class _Stored(Store):
    """A store that also keeps which deliveries workers are to hear of at once, by tenant, and for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.steady: dict[str, list[bool]] = {}
        self.hidden_seconds: object = None

    async def insert_events(self, events: Sequence[NewEvent], **others: object) -> list[Result]:
        self.steady |= {one.tenant_id: [steady for _, _, steady in one.deliveries] for one in events}
        self.hidden_seconds = others["hidden_seconds"]
        return await super().insert_events(events, **others)


async def test_over_a_full_stream_a_tenant_with_its_share_is_left_to_the_dispatcher_and_no_other() -> None:
    store, ringer = _Stored(), _Full()
    made = Committer(store, ringer, IngestSettings(encryption_keys=""), print)  # type: ignore[arg-type]  # as above
    names = ("first", "busy", "quiet")
    await asyncio.gather(*(made.commit([event(name, deliveries=2)]) for name in names))
    await asyncio.gather(*(made.commit([event(name, deliveries=2)]) for name in names[1:]))
    assert store.transactions[-1] == ["busy", "quiet"]
    assert store.hidden_seconds == RUNG_SECONDS
    assert {name: store.steady[name] for name in names[1:]} == {"busy": [False, False], "quiet": [True, True]}
    assert {name: len(ringer.rung[name]) for name in names[1:]} == {"busy": 0, "quiet": 2}


def test_events_are_cut_into_pieces_of_a_bounded_size() -> None:
    events = [event("a", size_bytes=size) for size in (10, 100_000, 300_000, 10) for _ in range(5)]
    pieces = list(_pieces(events))
    assert [id(one) for piece, _ in pieces for one in piece] == list(map(id, events))
    for piece, size in pieces:
        assert size == _size(piece)
        assert len(piece) == 1 or size <= PIECE_BYTES


async def test_a_tenant_with_hanging_large_events_delays_no_other_tenant() -> None:
    store = Store()
    store.hangs.add("slow")
    made = store.committer()
    slow = [asyncio.create_task(made.commit([event("slow", size_bytes=SHARED_BYTES)])) for _ in range(6)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        for size in (1, SHARED_BYTES):
            for _ in range(3):
                (result,) = await made.commit([event("quick", size_bytes=size)])
                assert isinstance(result, Accepted)
    assert not any(task.done() for task in slow)
    store.hung.set()
    await asyncio.gather(*slow)
    assert all(len(set(names)) == 1 for names in store.transactions)


async def test_small_events_of_all_tenants_share_a_commit() -> None:
    store = Store()
    store.hangs.add("first")
    made = store.committer()
    # Both places are taken, so the following items wait together.
    first = [asyncio.create_task(made.commit([event("first")])) for _ in range(2)]
    await asyncio.sleep(0)
    rest = [asyncio.create_task(made.commit([event(f"tenant-{number}")])) for number in range(20)]
    await asyncio.sleep(0)
    store.hung.set()
    await asyncio.gather(*first, *rest)
    assert max(len(set(names)) for names in store.transactions) == 20


async def test_tenant_of_weight_3_gets_three_times_the_places_in_commits(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "MAX_EVENTS", 8)
    async with serving(database, redis_url, bootstrap_admin_key=ADMIN_KEY) as ingest:
        await ingest.pool.execute("UPDATE tenants SET weight = 3 WHERE id = 'default'")
        access = access_pb2_grpc.AccessServiceStub(ingest.channel)

        async def is_weighed() -> bool:
            answer = await access.Authenticate(access_pb2.AuthenticateRequest(key=ADMIN_KEY))
            return bool(answer.caller.weight == 3)

        await eventually(is_weighed, "the weight to be read")
        light, first = await ingest.of("light"), await ingest.of("first")
        async with ingest.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE webhook_events IN SHARE MODE")
            sends = [asyncio.create_task(first.send(event_type="a")) for _ in range(2)]
            await eventually(ingest.held_up, "commits to wait")
            sends += [asyncio.create_task(each.send(event_type="a")) for _ in range(24) for each in (light, ingest)]

            async def all_wait() -> bool:
                return REGISTRY.get_sample_value("webhook_ingest_waiting_events") == len(sends)

            await eventually(all_wait, "all events to wait")
        await asyncio.gather(*sends)
        rows = await ingest.pool.fetch("SELECT tenant_id FROM webhook_events ORDER BY xmin::text::bigint")
    order = [row["tenant_id"] for row in rows]
    heavy = [place for place, tenant_id in enumerate(order) if tenant_id == "default"]
    # 18 of weight 3 go with 6 of weight 1, and some of what went first, while not all were there. The last may be late.
    assert order[: heavy[17]].count("light") <= 12


@pytest.mark.parametrize(
    ("error", "reason"),
    [(asyncpg.LockNotAvailableError(), "IDEMPOTENCY_KEY_IN_USE"), (asyncpg.DataError(), "INTERNAL")],
    ids=["a key in use", "an event that cannot be stored"],
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_error_in_a_shared_commit_fails_only_its_tenant_and_separates_it(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    # On a busy machine the traces in the log take their time.
    monkeypatch.setattr(committer, "APART_SECONDS", 3600.0)
    store = Store()
    store.hangs.add("first")
    store.fails["bad"] = error
    made = store.committer()
    first = [asyncio.create_task(made.commit([event("first")])) for _ in range(2)]
    await asyncio.sleep(0)
    if is_first:
        bad = asyncio.create_task(made.commit([event("bad", key="k"), event("bad", key="l")]))
    good = asyncio.create_task(made.commit([event("good", key="k")]))
    if not is_first:
        bad = asyncio.create_task(made.commit([event("bad", key="k"), event("bad", key="l")]))
    await asyncio.sleep(0)
    store.hung.set()
    await asyncio.gather(*first)
    assert [isinstance(result, errors.WebhookError) and result.reason for result in await bad] == [reason] * 2
    assert [type(result) for result in await good] == [Accepted]
    shared = [names for names in store.transactions if len(set(names)) > 1]
    assert shared == [["bad", "bad", "good"] if is_first else ["good", "bad", "bad"]]
    # The next time, nobody shares a commit with it.
    before = len(store.transactions)
    await asyncio.gather(*(made.commit([event(name, key="m")]) for name in ("bad", "other", "good", "bad", "other")))
    assert all(set(names) == {"bad"} or "bad" not in names for names in store.transactions[before:])


async def test_a_tenant_that_fills_the_queue_is_refused_and_no_other_is() -> None:
    store = Store()
    store.hangs.add("slow")
    made = store.committer(ingest_queue_events=50)
    slow = [asyncio.create_task(made.commit([event("slow")])) for _ in range(60)]
    await asyncio.sleep(0)
    quick = [asyncio.create_task(made.commit([event("quick")])) for _ in range(10)]
    results = [result for task in quick for result in await task]
    assert {type(result) for result in results} == {Accepted}
    store.hung.set()
    results = [result for task in slow for result in await task]
    assert {result.reason for result in results if isinstance(result, errors.WebhookError)} <= {
        *("TENANT_OVERLOADED", "OVERLOADED")
    }
    assert sum(isinstance(result, Accepted) for result in results) >= 40


# -- over gRPC, with real stores --


async def test_a_call_is_answered_without_a_tenant_that_takes_long_and_its_events_are_stored(ingest: Ingest) -> None:
    others = [await ingest.of(f"other-{number}-{ids.new()}") for number in range(3)]
    targets = [(await one.create()).id for one in others]
    slow = await ingest.create()
    items = [one.item(target) for one, target in zip(others, targets, strict=True)]
    late = ingest.item(slow.id, event_id=str(ids.new()), payload=b"x" * SHARED_BYTES)
    async with ingest.pool.acquire() as connection, connection.transaction():
        # An event with this id is being stored, so the next one waits for it.
        await connection.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload) VALUES ($1, $2, '', '')",
            late.event_id,
            ingest.tenant_id,
        )
        results = await ingest.batch(*items, late)
        # On a busy machine, another one may also be late.
        assert sum(result.HasField("accepted") for result in results) >= len(results) // 2
        assert results[-1].error.reason == "OUTCOME_UNKNOWN"
        await connection.execute("DELETE FROM webhook_events WHERE id = $1", late.event_id)

    async def stored() -> bool:
        return await ingest.count() == 1

    await eventually(stored, "the late event to be stored")
    # What the gateway would do next.
    (again,) = await ingest.batch(late)
    assert again.accepted.replayed


async def test_unknown_tenant_fails_no_other_tenant_in_the_same_call(ingest: Ingest) -> None:
    made = await ingest.create()
    stranger = Ingest(ingest.channel, ingest.pool, tenant_id="nobody-has-this")
    results = await ingest.batch(ingest.item(made.id), stranger.item(event_type="a.b"), ingest.item(made.id))
    assert [result.HasField("accepted") for result in results] == [True, False, True]


async def test_an_event_id_in_two_tenants_items_of_a_call_is_accepted_once(ingest: Ingest) -> None:
    other = await ingest.of(f"other-{ids.new()}")
    event_id = str(ids.new())
    mine, theirs = await ingest.create(), await other.create()
    results = await ingest.batch(ingest.item(mine.id, event_id=event_id), other.item(theirs.id, event_id=event_id))
    assert sorted(result.WhichOneof("outcome") or "" for result in results) == ["accepted", "error"]


async def test_calls_that_wait_for_a_lock_do_not_delay_events(ingest: Ingest) -> None:
    """They would have all connections of the pool."""
    quiet, loud = await ingest.create(), await ingest.create()
    await ingest.send(quiet.id)
    async with ingest.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", UUID(loud.id))
        changes = [asyncio.create_task(ingest.update(loud.id, description=str(number))) for number in range(30)]
        await eventually(ingest.held_up, "changes to wait for the lock")
        await asyncio.sleep(0.2)  # for those that have no connection yet
        async with asyncio.timeout(8):
            assert (await ingest.send(quiet.id)).deliveries == 1
    await asyncio.gather(*changes)
