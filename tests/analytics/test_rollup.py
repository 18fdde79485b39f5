"""Roll-ups on a real Postgres: exact, whatever commits when, and however many copies run."""

import asyncio
import itertools
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.harness.waiting import wait_until
from services.analytics import rollup
from services.analytics import store as store_module
from services.analytics.statistics import BOUNDS_MS
from services.analytics.store import MINUTE, MOST_TYPES, StatsStore
from services.platform import ids
from services.platform.stores import sql
from services.platform.stores.postgres import Pool
from tests.analytics.conftest import SUBSCRIPTION, Rows, eventually

INTERVAL_SECONDS = 5.0
RETENTION = timedelta(hours=72)


async def _roll_up(store: StatsStore, interval_seconds: float = INTERVAL_SECONDS) -> float:
    return await rollup.run_once(store, interval_seconds=interval_seconds, retention=RETENTION)


async def test_rollup_counts_attempts_of_all_outcomes_and_durations(store: StatsStore, rows: Rows) -> None:
    for duration_ms in (None, 0, 1, 12, 49, 50, 29_999, 30_000, 100_000):
        await rows.attempt(duration_ms=duration_ms)
        await rows.attempt(duration_ms=duration_ms, outcome="http_5xx", final=False, tenant_id="other")
    await rows.make_due()

    await _roll_up(store)

    assert await rows.difference() == []
    buckets = (await store.stats("default", timedelta(minutes=1), SUBSCRIPTION)).buckets
    assert sorted(bucket.duration_bucket for bucket in buckets) == [-1, 0, 1, 6, 9, 10, 26, 27]


async def test_rollup_counts_an_attempt_that_commits_late(store: StatsStore, rows: Rows, pool: Pool) -> None:
    async with pool.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await rows.attempt(via=late)
        await rows.attempt()
        await rows.make_due()
        await _roll_up(store)
        before = (await store.stats("default", timedelta(minutes=1))).buckets
        await transaction.commit()
    await rows.make_due(rolled_up=timedelta(minutes=1))
    await _roll_up(store)

    assert sum(bucket.attempts for bucket in before) == 1
    assert await rows.difference() == []


async def test_rollup_computes_a_minute_a_last_time_ten_minutes_after_its_end(store: StatsStore, rows: Rows) -> None:
    # Of a minute that ended ten minutes and at least half a minute ago.
    now = datetime.now(UTC)
    end = (now - timedelta(seconds=30)).replace(second=0, microsecond=0) - timedelta(minutes=10)
    await rows.attempt(age=now - end + SECOND)
    await rows.make_due(rolled_up=timedelta())
    await _roll_up(store)
    assert await rows.difference() != []

    # Two, so that the ten minutes passed in it however long the roll-up before took.
    await rows.make_due(rolled_up=timedelta(minutes=2))
    await _roll_up(store)

    assert await rows.difference() == []


async def test_rollup_follows_attempts_that_change_or_vanish(store: StatsStore, rows: Rows, pool: Pool) -> None:
    changed = await rows.attempt(outcome="interrupted", duration_ms=None, final=False)
    gone = await rows.attempt(outcome="timeout")
    await rows.make_due()
    await _roll_up(store)
    await pool.execute(
        "UPDATE delivery_attempts SET outcome = 'success', duration_ms = 7, final = true WHERE delivery_id = $1",
        changed,
    )
    await pool.execute("DELETE FROM delivery_attempts WHERE delivery_id = $1", gone)
    await rows.make_due(rolled_up=timedelta(minutes=1))

    await _roll_up(store)

    assert await rows.difference() == []


async def test_rollup_finds_attempts_of_deliveries_of_earlier_days(store: StatsStore, rows: Rows) -> None:
    await rows.day(4, attempt_age=timedelta())
    await rows.make_due()

    await _roll_up(store)

    assert await rows.difference() == []


async def test_rollup_counts_events_and_ends_of_all_tenants_and_types(store: StatsStore, rows: Rows) -> None:
    for tenant_id in ("default", "other"):
        for event_type in ("a", "b", None):
            await rows.event(tenant_id=tenant_id, event_type=event_type)
            await rows.event(tenant_id=tenant_id, event_type=event_type, age=timedelta(seconds=50))
            await rows.attempt(tenant_id=tenant_id, event_type=event_type)
            await rows.end("failed", tenant_id=tenant_id, event_type=event_type, deliveries=3)
            await rows.end("cancelled", tenant_id=tenant_id, event_type=event_type, subscription_id=ids.new())
    await rows.make_due(rolled_up=timedelta(minutes=2))

    await _roll_up(store)

    assert await rows.difference() == []


async def test_rollup_adds_what_came_to_the_minutes_that_go_on(store: StatsStore, rows: Rows, pool: Pool) -> None:
    start = await pool.fetchval("SELECT date_trunc('minute', now()) - interval '3 minutes'")
    moments = [start + timedelta(seconds=second) for second in (2, 12, 13, 22, 58, 61, 62, 75)]
    now = await pool.fetchval("SELECT now()")
    for number, moment in enumerate(moments):
        # The ends of the spans below belong to the next one, those of the seconds 12 and 61.
        await rows.event(age=datetime.now(UTC) - moment - timedelta(milliseconds=500), event_type=f"type-{number % 2}")
        async with pool.acquire() as connection, connection.transaction():
            age = await connection.fetchval("SELECT now()") - moment
            await rows.attempt(via=connection, age=age, event_type="a", outcome=("success", "timeout")[number % 2])
            await rows.attempt(via=connection, age=age, subscription_id=ids.new(), duration_ms=number)
            await rows.end("failed", age=now - moment, tenant_id="other")
    ends = [start + timedelta(seconds=second) for second in (0, 12, 12, 61, 120)]

    for begin, end in itertools.pairwise(ends):
        async with store.turn() as turn:
            assert turn is not None
            await turn.add(begin, end)

    assert await rows.difference() == []
    async with store.turn() as turn:
        assert turn is not None
        assert await turn.replace(start, start + timedelta(minutes=2), turn.now) == 0


async def test_rollup_replaces_only_minutes_that_are_wrong(store: StatsStore, rows: Rows, pool: Pool) -> None:
    minute = timedelta(minutes=1)
    start: datetime = await pool.fetchval("SELECT date_trunc('minute', now()) - interval '5 minutes'")
    for number in range(4):
        await rows.attempt(age=datetime.now(UTC) - start - number * minute - 20 * SECOND)
        async with store.turn() as turn:
            assert turn is not None
            await turn.add(start + number * minute, start + (number + 1) * minute)
    # One that commits after its time was added, and a row that nobody counts.
    await rows.attempt(age=datetime.now(UTC) - start - minute - 20 * SECOND, outcome="timeout")
    await pool.execute("UPDATE delivery_stats SET attempts = 7, outcome = 'dns' WHERE minute = $1", start + 2 * minute)

    async with store.turn() as turn:
        assert turn is not None
        written = await turn.replace(start, start + 4 * minute, turn.now)
        again = await turn.replace(start, start + 4 * minute, turn.now)

    assert await rows.difference() == []
    # The late one in three rows: for its subscription, for all, and by type. Three others go, and three come.
    assert (written, again) == (9, 0)


async def test_rollup_ranks_types_again_when_their_minute_is_over(
    store: StatsStore, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_TYPES", 2)
    now = datetime.now(UTC)
    start = now.replace(second=0, microsecond=0) - timedelta(minutes=2)

    async def types() -> dict[str, int]:
        query = "SELECT event_type, events FROM delivery_stats WHERE event_type <> '*' ORDER BY event_type"
        return {row["event_type"]: row["events"] for row in await rows.pool.fetch(query)}

    async def add(second: int, *event_types: str) -> None:
        moment = start + timedelta(seconds=second)
        for event_type in event_types:
            await rows.event(event_type=event_type, age=datetime.now(UTC) - moment - SECOND)
        async with store.turn() as turn:
            assert turn is not None
            await turn.add(moment, moment + 10 * SECOND)

    await add(0, "a", "b", "c")
    assert await types() == {"a": 1, "b": 1, "other": 1}
    await add(10, "c", "c", "d", "b")
    assert await types() == {"a": 1, "b": 2, "other": 4}

    async with store.turn() as turn:
        assert turn is not None
        await turn.replace(start, start + timedelta(minutes=1), turn.now)

    assert await types() == {"b": 2, "c": 3, "other": 2}


async def test_rollup_catches_up_after_hours_without_a_run(store: StatsStore, rows: Rows) -> None:
    for minutes in range(0, 240, 7):
        await rows.attempt(age=timedelta(minutes=minutes))
    await rows.make_due(rolled_up=timedelta(hours=4, minutes=1))

    await rows.catch_up(lambda: _roll_up(store))
    assert await rows.difference() == []


async def test_concurrent_copies_stay_exact_while_attempts_are_recorded(database: str, rows: Rows) -> None:
    stop = asyncio.Event()
    runs = [0, 0]

    async def record(subscription_id: UUID) -> None:
        while not stop.is_set():
            async with rows.pool.acquire() as connection, connection.transaction():
                for outcome in ("success", "http_5xx"):
                    await rows.attempt(via=connection, subscription_id=subscription_id, outcome=outcome)
                await asyncio.sleep(0.01)

    async def copy(number: int, ahead: "asyncpg.Pool[asyncpg.Record]") -> None:
        own = StatsStore(ahead)
        while not stop.is_set():
            runs[number] += await _roll_up(own, interval_seconds=0.0) < INTERVAL_SECONDS
            await asyncio.sleep(0)

    await rows.make_due(rolled_up=timedelta(minutes=1))
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as one,
        asyncpg.create_pool(database, min_size=1, max_size=2) as other,
    ):
        writers = [asyncio.create_task(record(ids.new())) for _ in range(3)]
        copies = [asyncio.create_task(copy(number, ahead)) for number, ahead in enumerate((one, other))]
        await wait_until(lambda: min(runs) >= 5, what="both copies to have run")
        stop.set()
        await asyncio.gather(*writers, *copies)
        await rows.make_due(rolled_up=timedelta(minutes=3))
        await asyncio.gather(_roll_up(StatsStore(one)), _roll_up(StatsStore(other)))

    assert await rows.difference() == []


async def test_a_copy_does_not_do_what_another_has_just_done(store: StatsStore, rows: Rows) -> None:
    await rows.make_due()
    first = await _roll_up(store, interval_seconds=600.0)
    await rows.attempt()

    second = await _roll_up(store, interval_seconds=600.0)

    assert 0 < second <= first
    assert (await store.stats("default", timedelta(minutes=1))).buckets == ()


async def test_a_copy_goes_on_when_another_dies_in_the_middle(database: str, store: StatsStore, rows: Rows) -> None:
    await rows.attempt()
    await rows.make_due()
    dying = await asyncpg.connect(database)
    transaction = dying.transaction()
    await transaction.start()
    await dying.fetchrow(sql.Queries("services.analytics")["take_turn"])
    assert await _roll_up(store) == INTERVAL_SECONDS
    assert (await store.stats("default", timedelta(minutes=1))).buckets == ()

    dying.terminate()

    async def has_its_turn() -> bool:
        return await _roll_up(store) < INTERVAL_SECONDS

    await eventually(has_its_turn)
    assert await rows.difference() == []


async def test_a_failed_run_changes_nothing(store: StatsStore, rows: Rows, pool: Pool) -> None:
    await rows.attempt()
    await rows.make_due()
    await _roll_up(store)
    state = await pool.fetchrow("SELECT * FROM rollup_state")
    await pool.execute("UPDATE rollup_state SET due_at = now()")
    await rows.attempt()

    async def fail() -> None:
        async with store.turn() as turn:
            assert turn is not None
            await turn.replace(turn.now - timedelta(minutes=1), turn.now + timedelta(minutes=1), turn.now)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()

    assert sum(bucket.attempts for bucket in (await store.stats("default", timedelta(minutes=1))).buckets) == 1
    after = await pool.fetchrow("SELECT * FROM rollup_state")
    assert (state and state["rolled_up_to"]) == (after and after["rolled_up_to"])


async def test_the_loop_survives_a_failure(store: StatsStore, rows: Rows, pool: Pool) -> None:
    await pool.execute("ALTER TABLE rollup_state RENAME TO away")
    loop = asyncio.create_task(rollup.run_forever(store, interval_seconds=0.05, retention=RETENTION))
    await asyncio.sleep(0.2)
    await pool.execute("ALTER TABLE away RENAME TO rollup_state")
    await rows.attempt()

    async def is_exact() -> bool:
        return not await rows.difference()

    await eventually(is_exact)
    assert not loop.done()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_rollup_reads_no_partition_whole(store: StatsStore, pool: Pool) -> None:
    async with store.turn() as turn:
        assert turn is not None
        now = turn.now
    queries = sql.Queries("services.analytics")
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetchrow(queries["begin_rollup"])
        minute = now - timedelta(minutes=1)
        counted = (minute, now, BOUNDS_MS, [minute], [ids.least_at(minute)], [ids.least_at(now)])
        plans = [
            await connection.fetch("EXPLAIN " + queries["write_stats"], *counted, adds, MOST_TYPES)
            for adds in (True, False)
        ]
        plans.append(await connection.fetch("EXPLAIN " + queries["select_wrong_minutes"], *counted))

    for plan in plans:
        text = "\n".join(row[0] for row in plan)
        assert "Bitmap Index Scan on delivery_attempts_" in text
        assert re.search(r"Index Scan (using|on) webhook_events_\d+_pkey", text)
        assert "Seq Scan" not in text
        assert "GroupAggregate" not in text


# Which minutes a roll-up computes.

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _covers(plan: rollup.Plan, moment: datetime) -> bool:
    return any(start <= moment < end for start, end in plan.spans)


def test_plan_adds_what_came_since_the_run_before() -> None:
    plan = rollup.plan(NOON + 20 * SECOND, NOON + 25 * SECOND, RETENTION)

    assert (plan.added_from, plan.until) == (NOON + 20 * SECOND, NOON + 25 * SECOND - rollup.LAG)
    assert plan.spans == ()
    assert not plan.behind


def test_plan_counts_whole_minutes_after_a_pause() -> None:
    plan = rollup.plan(NOON + 20 * SECOND, NOON + 55 * SECOND, RETENTION)

    assert plan.added_from is None
    assert plan.spans == ((NOON, NOON + MINUTE),)
    assert plan.until == NOON + 55 * SECOND
    assert not plan.behind
    # So it does after a stop that outlasted retention, and after the clock was set back.
    assert rollup.plan(NOON - timedelta(days=10), NOON + 20 * SECOND, RETENTION).added_from is None
    assert rollup.plan(NOON + 40 * SECOND, NOON + 20 * SECOND, RETENTION).added_from is None


def test_plan_never_goes_back() -> None:
    plan = rollup.plan(NOON + 20 * SECOND, NOON + 20.5 * SECOND, RETENTION)

    assert plan.added_from == plan.until == NOON + 20 * SECOND


def test_plan_counts_a_minute_again_after_its_end() -> None:
    plan = rollup.plan(NOON + 2 * SECOND, NOON + 7 * SECOND, RETENTION)

    assert plan.added_from == NOON + 2 * SECOND
    assert plan.spans == ((NOON - MINUTE, NOON),)


def test_plan_settles_one_and_ten_minutes_after_the_end() -> None:
    plan = rollup.plan(NOON - SECOND, NOON + 4 * SECOND, RETENTION)

    assert plan.spans == (
        (NOON - 11 * MINUTE, NOON - 10 * MINUTE),
        (NOON - 2 * MINUTE, NOON - MINUTE),
    )


def test_plan_catches_up_in_bounded_steps() -> None:
    plan = rollup.plan(NOON - timedelta(hours=8), NOON, RETENTION)

    assert plan.behind
    assert plan.until == NOON - timedelta(hours=8) + rollup.MAX_ADVANCE
    longest = max(end - start for start, end in plan.spans)
    assert longest <= rollup.MAX_ADVANCE + rollup.SETTLE_AFTER[-1] + 2 * MINUTE


def test_plan_leaves_out_what_is_past_retention() -> None:
    plan = rollup.plan(NOON - timedelta(days=10), NOON, RETENTION)

    assert plan.until == NOON - RETENTION + rollup.MAX_ADVANCE


def test_plan_goes_on_when_the_clock_was_set_back() -> None:
    plan = rollup.plan(NOON + timedelta(hours=1), NOON, RETENTION)

    assert plan.until == NOON
    assert _covers(plan, NOON)


pauses = st.floats(0.01, 20) | st.floats(20, 4000)


@given(st.lists(pauses, min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 600))
def test_plan_counts_what_commits_within_ten_minutes_whenever_runs_happen(
    pauses_seconds: list[float], position: float, delay_seconds: float
) -> None:
    runs = [NOON]
    for pause in pauses_seconds:
        runs.append(runs[-1] + timedelta(seconds=pause))
    recorded = NOON + (runs[-1] - NOON) * position
    committed = recorded + timedelta(seconds=delay_seconds)
    # The last runs cover everything that was recorded: nothing becomes final later.
    end = committed + rollup.SETTLE_AFTER[-1] + 2 * MINUTE
    runs = sorted([*runs, end])

    rolled_up_to, seen = NOON, False
    for now in runs:
        while True:
            plan = rollup.plan(rolled_up_to, now, RETENTION)
            rolled_up_to = plan.until
            seen = seen or (now >= committed and _covers(plan, recorded))
            if not plan.behind:
                break

    assert seen


def test_little_is_added_in_one_statement_and_much_second_by_second() -> None:
    parts, begin = rollup.Parts(), datetime(2026, 1, 30, 12, tzinfo=UTC)

    def run(took: float) -> list[float]:
        sizes = []
        for start, end in parts.of(begin, begin + timedelta(seconds=5)):
            sizes.append((end - start).total_seconds())
            parts.took(took)
        return sizes

    assert run(rollup.QUICK_SECONDS / 2) == [1, 2, 2]
    assert run(rollup.QUICK_SECONDS / 2) == [5]
    assert run(rollup.SLOW_SECONDS * 2) == [5]
    assert run(rollup.SLOW_SECONDS * 2) == [4, 1]
    assert run(rollup.SLOW_SECONDS * 2) == [1] * 5
    assert run(rollup.SLOW_SECONDS / 2) == [1] * 5
