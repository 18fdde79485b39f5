"""GetStatsSeries over a real channel, what a request means, and how much is remembered."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import REGISTRY

from protos.webhook.v1 import analytics_pb2 as pb
from protos.webhook.v1 import analytics_pb2_grpc
from services.analytics import rollup, series
from services.analytics import store as store_module
from services.analytics.__main__ import SERVICES
from services.analytics.series import Ages, Reader, parse
from services.analytics.service import AnalyticsService
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import MOST_TYPES, StatsStore
from services.platform import errors, ids
from services.platform.auth import finder
from services.platform.auth.authenticator import Authenticator
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc import server as grpc_server
from services.platform.process.lifecycle import Process
from tests.analytics.conftest import Rows

RETENTION = timedelta(hours=72)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AGES = Ages(minutes=RETENTION, hours=timedelta(days=90))
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTCOME, SUBSCRIPTION, EVENT_TYPE = pb.STATS_GROUP_OUTCOME, pb.STATS_GROUP_SUBSCRIPTION, pb.STATS_GROUP_EVENT_TYPE
# A class that exists only in the type stubs.
Stub: TypeAlias = "analytics_pb2_grpc.AnalyticsServiceAsyncStub"


@pytest.fixture
async def stub(store: StatsStore, settings: AnalyticsSettings) -> AsyncIterator[Stub]:
    """A client of a server that remembers nothing."""

    def register(server: grpc.aio.Server) -> None:
        service = AnalyticsService(store, settings.model_copy(update={"rollup_interval_seconds": 0.0}))
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(service, server)

    async with (
        finder.running(Process("analytics"), settings, store._pool) as callers,
        grpc_server.serving(
            Process("analytics"),
            settings,
            SERVICES,
            register,
            Authenticator(settings, callers.find, callers.find_actor),
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


def asking(
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    step: timedelta | None = None,
    **fields: Any,
) -> pb.GetStatsSeriesRequest:
    """Return a request."""
    request = pb.GetStatsSeriesRequest(**fields)
    if start is not None:
        request.from_time.FromDatetime(start)
    if end is not None:
        request.to_time.FromDatetime(end)
    if step is not None:
        request.step.FromTimedelta(step)
    return request


async def roll_up(store: StatsStore, rows: Rows, back: timedelta = timedelta(minutes=15)) -> None:
    """Roll up everything since `back` ago, and the hours that are over."""
    await rows.make_due(rolled_up=back)
    await rows.catch_up(lambda: rollup.run_once(store, interval_seconds=60, retention=RETENTION))
    await rollup.roll_up_hours(store)


@contextlib.asynccontextmanager
async def refused() -> AsyncIterator[list[errors.WebhookError]]:
    """Expect a call to be refused, and return the error in its typed details."""
    caught: list[errors.WebhookError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield caught
    caught.append(grpc_errors.from_rpc_error(raised.value))


def by_group(answer: pb.GetStatsSeriesResponse) -> dict[str, pb.StatsSeries]:
    """Return the groups by name."""
    return {group.group: group for group in answer.groups}


# What is counted.


async def test_series_counts_events_ends_and_attempts_in_each_step(stub: Stub, store: StatsStore, rows: Rows) -> None:
    now = datetime.now(UTC)
    middle = now.replace(second=30, microsecond=0)

    def ago(minutes: int) -> timedelta:
        """Return the age of the middle of a minute, so that all of one are in one, however long they take."""
        return datetime.now(UTC) - middle + timedelta(minutes=minutes)

    for minutes in (1, 3, 3):
        await rows.event(age=ago(minutes))
        await rows.attempt(age=ago(minutes), duration_ms=12)
    await rows.attempt(age=ago(3), outcome="http_5xx", final=False)
    await rows.end("failed", age=ago(3), deliveries=2)
    await rows.end("cancelled", age=ago(1), deliveries=3)
    await roll_up(store, rows)

    answer = await stub.GetStatsSeries(asking(start=now - timedelta(minutes=10), step=MINUTE))

    filled = [point for point in answer.total.points if point.events]
    assert [(point.events, point.attempts) for point in filled] == [(2, 3), (1, 1)]
    assert [(point.delivered, point.failed, point.cancelled) for point in filled] == [(2, 2, 0), (1, 0, 3)]
    assert [point.delivery_success_rate for point in filled] == [0.5, 1.0]
    assert filled[0].attempt_success_rate == pytest.approx(2 / 3)
    assert 10 <= filled[0].latency.p50_ms <= filled[0].latency.p99_ms <= 15
    assert filled[1].window_start.ToDatetime() - filled[0].window_start.ToDatetime() == timedelta(minutes=2)
    whole = answer.total.summary
    assert (whole.events, whole.attempts, whole.delivered, whole.failed, whole.cancelled) == (3, 4, 3, 2, 3)
    assert len(answer.total.points) == (answer.to_time.seconds - answer.from_time.seconds) // 60
    assert answer.complete_to.ToDatetime(UTC) > now
    assert not answer.groups


async def test_series_by_outcome_has_each_outcome_with_its_latency(stub: Stub, store: StatsStore, rows: Rows) -> None:
    await rows.event()
    for outcome, duration_ms in (("success", 12), ("success", 14), ("http_5xx", 400), ("timeout", 15_000)):
        await rows.attempt(outcome=outcome, duration_ms=duration_ms, final=outcome == "success")
    await rows.end("failed")
    await roll_up(store, rows)

    groups = by_group(await stub.GetStatsSeries(asking(group_by=OUTCOME)))

    assert {name: group.summary.attempts for name, group in groups.items()} == {
        "success": 2, "http_5xx": 1, "timeout": 1, "failed": 0,
    }  # fmt: skip
    assert groups["failed"].summary.failed == 1
    assert 300 <= groups["http_5xx"].summary.latency.p50_ms <= 500
    assert not groups["timeout"].summary.HasField("latency")
    assert not groups["success"].summary.HasField("events")
    assert not groups["success"].summary.HasField("attempt_success_rate")


async def test_series_of_many_subscriptions_comes_in_one_call(stub: Stub, store: StatsStore, rows: Rows) -> None:
    busy, quiet, unasked = [await rows.subscription() for _ in range(3)]
    for subscription_id, number in ((busy, 3), (quiet, 1), (unasked, 5)):
        for _ in range(number):
            await rows.attempt(subscription_id=subscription_id)
    await roll_up(store, rows)

    named = asking(group_by=SUBSCRIPTION, subscription_ids=[str(quiet), str(busy)])
    answer = await stub.GetStatsSeries(named)

    assert [(group.group, group.summary.attempts) for group in answer.groups] == [(str(quiet), 1), (str(busy), 3)]
    assert answer.total.summary.attempts == 4
    summed = await stub.GetStatsSeries(asking(subscription_ids=[str(quiet), str(busy)]))
    assert (summed.total.summary.attempts, len(summed.groups)) == (4, 0)


async def test_series_by_subscription_lists_the_largest_and_sums_up_the_others(
    stub: Stub, store: StatsStore, rows: Rows
) -> None:
    names = [await rows.subscription() for _ in range(4)]
    for number, subscription_id in enumerate(names, 1):
        for _ in range(number):
            await rows.attempt(subscription_id=subscription_id, duration_ms=12)
    await roll_up(store, rows)

    answer = await stub.GetStatsSeries(asking(group_by=SUBSCRIPTION, limit=2))

    assert [(group.group, group.summary.attempts) for group in answer.groups] == [
        (str(names[3]), 4), (str(names[2]), 3), ("other", 3),
    ]  # fmt: skip
    other = by_group(answer)["other"].summary
    assert (other.delivered, dict(other.attempts_by_outcome)) == (3, {"success": 3})
    assert 10 <= other.latency.p99_ms <= 15


@pytest.mark.parametrize("group", [SUBSCRIPTION, EVENT_TYPE])
async def test_the_newest_rows_decide_which_groups_are_the_largest(
    stub: Stub, store: StatsStore, rows: Rows, monkeypatch: pytest.MonkeyPatch, group: pb.StatsGroup.ValueType
) -> None:
    old, new = [await rows.subscription() for _ in range(2)]
    for subscription_id, event_type, minutes, number in ((old, "old", 4, 3), (new, "new", 3, 1)):
        for _ in range(number):
            age = timedelta(minutes=minutes)
            await rows.attempt(subscription_id=subscription_id, event_type=event_type, age=age, duration_ms=12)
    # The hours of a new database begin with this one, and the rows may be of the hour before.
    await rows.pool.execute("UPDATE hourly_state SET rolled_up_to = date_trunc('hour', now() - interval '1 hour')")
    await roll_up(store, rows)
    names = {SUBSCRIPTION: (str(old), str(new)), EVENT_TYPE: ("old", "new")}[group]
    for read, largest, attempts in ((20_000, names[0], 3), (2, names[1], 1)):
        # The newest minute has a row of the new one, and one of all subscriptions.
        monkeypatch.setattr(store_module, "RANKED_ROWS", read if group is SUBSCRIPTION else max(1, read - 1))
        answer = await stub.GetStatsSeries(asking(group_by=group, limit=1))
        assert (answer.groups[0].group, answer.groups[0].summary.attempts) == (largest, attempts)


@pytest.mark.parametrize("name", ["rank_subscriptions", "rank_event_types"])
async def test_the_largest_groups_of_a_tenant_are_found_among_so_many_rows(store: StatsStore, name: str) -> None:
    """Whatever there is of other tenants, and before."""
    async with store._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for statement in FILL_STATS:
            await connection.execute(statement, store_module.ALL_SUBSCRIPTIONS)
        await connection.execute("ANALYZE delivery_stats, hourly_stats")
        types = "text[], timestamptz, timestamptz, timestamptz, bigint, bigint"
        await connection.execute(f"PREPARE ranked ({types}) AS {store_module._queries[name]}")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        explained = await connection.fetchval(
            "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE ranked"
            " ('{default}', now() - interval '2 days', now() - interval '1 day', now(), 10, 50)"
        )
        await transaction.rollback()
        await connection.execute("DEALLOCATE ranked")
    scans = [node for node in nodes(json.loads(explained)[0]["Plan"]) if node.get("Relation Name")]
    assert len(scans) == 2
    for scan in scans:
        assert scan["Actual Rows"] * scan["Actual Loops"] + scan.get("Rows Removed by Filter", 0) <= 50, scan


# For two tenants, a row of a subscription and one of a type in each minute, and in each hour, of two days.
FILL_STATS = [
    """
    INSERT INTO delivery_stats (minute, subscription_id, tenant_id, event_type, outcome, duration_bucket, attempts)
    SELECT now() - make_interval(mins => n), CASE WHEN kind = '*' THEN gen_random_uuid() ELSE $1 END, tenant, kind,
           'success', 1, 1
    FROM generate_series(1, 1440) AS n, unnest('{default,other}'::text[]) AS tenant, unnest('{*,a}'::text[]) AS kind
    """,
    """
    INSERT INTO hourly_stats (hour, subscription_id, tenant_id, event_type, outcome, duration_bucket, attempts,
                              deliveries, events, duration_ms_total)
    SELECT now() - make_interval(mins => 1440 + n), CASE WHEN kind = '*' THEN gen_random_uuid() ELSE $1 END, tenant,
           kind, '{success}', '{1}', '{1}', '{1}', '{1}', '{1}'
    FROM generate_series(1, 1440) AS n, unnest('{default,other}'::text[]) AS tenant, unnest('{*,a}'::text[]) AS kind
    """,
]


def nodes(node: Any) -> Iterator[Any]:
    """Return the nodes of a plan."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


async def test_series_by_event_type_is_of_all_subscriptions(stub: Stub, store: StatsStore, rows: Rows) -> None:
    for event_type, number in (("order.created", 3), ("order.paid", 2), (None, 1)):
        for _ in range(number):
            await rows.event(event_type=event_type)
            await rows.attempt(event_type=event_type, subscription_id=ids.new())
    await rows.end("failed", event_type="order.paid", deliveries=4)
    await roll_up(store, rows)

    answer = await stub.GetStatsSeries(asking(group_by=EVENT_TYPE))

    assert [(group.group, group.summary.events, group.summary.delivered) for group in answer.groups] == [
        ("order.paid", 2, 2), ("order.created", 3, 3), ("", 1, 1),
    ]  # fmt: skip
    assert by_group(answer)["order.paid"].summary.failed == 4


async def test_types_beyond_the_largest_share_a_row(stub: Stub, store: StatsStore, rows: Rows) -> None:
    await rows.event(event_type="large")
    for number in range(MOST_TYPES + 5):
        await rows.event(event_type=f"type.{number:03}")
        await rows.event(event_type="large")
    await roll_up(store, rows)

    stored = await rows.pool.fetch(
        "SELECT event_type, sum(events)::int AS events FROM delivery_stats"
        " WHERE outcome = 'accepted' AND event_type <> '*' GROUP BY 1 HAVING sum(events) > 1 OR event_type = 'other'"
    )
    most_in_a_minute = await rows.pool.fetchval(
        "SELECT max(count) FROM (SELECT count(*) FROM delivery_stats WHERE event_type <> '*' GROUP BY minute) AS m"
    )
    assert most_in_a_minute <= MOST_TYPES + 1
    found = {row["event_type"]: row["events"] for row in stored}
    assert found["large"] == MOST_TYPES + 6
    answer = await stub.GetStatsSeries(asking(group_by=EVENT_TYPE, limit=3, step=HOUR, start=datetime.now(UTC) - HOUR))
    assert [group.group for group in answer.groups] == ["large", "type.000", "type.001", "other"]
    assert sum(group.summary.events for group in answer.groups) == answer.total.summary.events == 2 * MOST_TYPES + 11


async def test_series_is_of_the_callers_tenant(stub: Stub, store: StatsStore, rows: Rows) -> None:
    await rows.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'Other')")
    foreign = await rows.subscription(tenant_id="other")
    await rows.attempt(tenant_id="other", subscription_id=foreign)
    await rows.event(tenant_id="other")
    await rows.attempt()
    await roll_up(store, rows)

    mine = (await stub.GetStatsSeries(asking())).total.summary
    theirs = (await stub.GetStatsSeries(asking(tenant_id="other"))).total.summary
    of_all = await stub.GetStatsSeries(asking(tenant_id="*", group_by=SUBSCRIPTION))

    assert ((mine.attempts, mine.events), (theirs.attempts, theirs.events)) == ((1, 0), (1, 1))
    assert of_all.total.summary.attempts == 2
    assert str(foreign) in by_group(of_all)
    for unknown in (foreign, ids.new()):
        async with refused() as caught:
            await stub.GetStatsSeries(asking(subscription_ids=[str(unknown)]))
        assert (type(caught[0]), caught[0].reason) == (errors.NotFound, "NOT_FOUND")


async def test_hours_are_kept_when_their_minutes_are_gone(stub: Stub, store: StatsStore, rows: Rows) -> None:
    now = datetime.now(UTC)
    for hours in (5, 4, 4):
        await rows.attempt(age=timedelta(hours=hours), event_type="a", duration_ms=12)
        await rows.end("failed", age=timedelta(hours=hours), event_type="b")
    await rows.attempt(event_type="a")
    await rows.pool.execute(
        "UPDATE hourly_state SET rolled_up_to = date_trunc('hour', now() - interval '6 hours', 'UTC')"
    )
    await roll_up(store, rows, timedelta(hours=6))
    asked = [
        asking(start=now - timedelta(hours=6), step=step, group_by=group)
        for step in (HOUR, DAY)
        for group in (EVENT_TYPE, SUBSCRIPTION, OUTCOME)
    ]
    before = [await stub.GetStatsSeries(request) for request in asked]

    await rows.pool.execute("DELETE FROM delivery_stats WHERE minute < (SELECT rolled_up_to FROM hourly_state)")
    after = [await stub.GetStatsSeries(request) for request in asked]

    for one, other in zip(before, after, strict=True):
        other.complete_to.CopyFrom(one.complete_to)
        assert one == other
    whole = before[0].total.summary
    assert (whole.attempts, whole.failed, whole.delivered) == (4, 3, 4)
    assert [point.attempts for point in before[0].total.points if point.attempts] == [1, 2, 1]


async def test_an_hour_is_summed_up_once_its_minutes_have_settled(store: StatsStore, rows: Rows) -> None:
    async def hours(rolled_up_to: str) -> int:
        await rows.pool.execute(f"UPDATE rollup_state SET rolled_up_to = {rolled_up_to}")
        await rollup.roll_up_hours(store)
        count: int = await rows.pool.fetchval("SELECT count(*) FROM hourly_stats")
        return count

    await rows.pool.execute(
        "INSERT INTO delivery_stats (minute, subscription_id, tenant_id, outcome, duration_bucket, attempts)"
        " SELECT h.rolled_up_to, $1, 'default', 'success', 3, 7 FROM hourly_state h",
        UUID(int=0),
    )
    end = "(SELECT max(minute) FROM delivery_stats) + interval '1 hour'"

    assert await hours(f"{end} + interval '9 minutes'") == 0
    assert await hours(f"{end} + interval '10 minutes'") == 1
    assert await hours(f"{end} + interval '11 minutes'") == 1
    assert await rows.pool.fetchval("SELECT attempts FROM hourly_stats") == [7]
    assert await rows.pool.fetchval(f"SELECT rolled_up_to = {end} FROM hourly_state")


# What a request means.


def test_defaults_are_a_day_in_steps_of_five_minutes() -> None:
    query = parse(asking(), "default", NOON + timedelta(seconds=7), AGES)

    assert (query.end, query.step, query.steps) == (NOON + timedelta(minutes=5), timedelta(minutes=5), 289)
    assert query.start == NOON - DAY


def test_start_and_end_are_widened_to_whole_steps() -> None:
    start, end = NOON - timedelta(hours=3, minutes=1, seconds=1), NOON - timedelta(minutes=59, seconds=59)
    query = parse(asking(start=start, end=end, step=HOUR), "default", NOON, AGES)

    assert (query.start, query.end, query.steps) == (NOON - timedelta(hours=4), NOON, 4)


def test_days_are_those_of_utc() -> None:
    query = parse(asking(start=NOON - timedelta(days=30), step=DAY), "default", NOON, AGES)

    assert (query.start.hour, query.end.hour, query.steps) == (0, 0, 31)


@pytest.mark.parametrize(
    ("back", "step", "smallest"),
    [
        (timedelta(minutes=1501), MINUTE, "5m"),
        (timedelta(hours=72), MINUTE, "5m"),
        (timedelta(days=63), HOUR, "1d"),
        # Minutes are not kept for so long.
        (timedelta(hours=80), timedelta(minutes=5), "1h"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_with_the_smallest_that_does(
    back: timedelta, step: timedelta, smallest: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        parse(asking(start=NOON - back, step=step), "default", NOON, AGES)

    assert [violation.field for violation in raised.value.violations] == ["step"]
    assert raised.value.message.endswith(f"the smallest that fits is {smallest}")


@pytest.mark.parametrize(("back", "points"), [(timedelta(minutes=1500), 1500), (timedelta(minutes=300), 300)])
def test_as_many_points_as_are_allowed_are_not_refused(back: timedelta, points: int) -> None:
    assert parse(asking(start=NOON - back, step=MINUTE), "default", NOON, AGES).steps == points


def test_groups_that_make_too_many_points_are_refused_and_by_default_as_many_as_fit() -> None:
    def query(**fields: Any) -> series.Query:
        return parse(asking(start=NOON - DAY, step=MINUTE, group_by=EVENT_TYPE, **fields), "default", NOON, AGES)

    assert query().limit == 3
    with pytest.raises(errors.InvalidArgument, match="the smallest that fits is 5m"):
        query(limit=10)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asking(start=NOON, end=NOON), "from_time"),
        (asking(start=NOON + MINUTE), "from_time"),
        (asking(start=NOON - timedelta(days=91)), "from_time"),
        (asking(end=NOON - timedelta(days=91)), "to_time"),
        (asking(end=datetime(1, 1, 1, tzinfo=UTC)), "to_time"),
        (asking(step=timedelta(minutes=2)), "step"),
        (asking(step=timedelta()), "step"),
        (asking(step=-MINUTE), "step"),
        (asking(step=timedelta(seconds=60, microseconds=1)), "step"),
        (asking(limit=-1), "limit"),
        (asking(limit=201), "limit"),
        (asking(subscription_ids=["no-uuid"]), "subscription_ids"),
        (asking(subscription_ids=[str(ids.new())], group_by=EVENT_TYPE), "subscription_ids"),
        (asking(subscription_ids=[str(ids.new()) for _ in range(101)]), "subscription_ids"),
        (pb.GetStatsSeriesRequest(group_by=9), "group_by"),  # type: ignore[arg-type]  # a newer client's
        (pb.GetStatsSeriesRequest(from_time=Timestamp(seconds=2**60)), "from_time"),
        (pb.GetStatsSeriesRequest(step=Duration(seconds=2**60)), "step"),
    ],
)
def test_a_wrong_field_is_named(request_: pb.GetStatsSeriesRequest, field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        parse(request_, "default", NOON, AGES)

    assert [violation.field for violation in raised.value.violations] == [field]


# What is remembered.


def _series(source: str) -> float:
    return REGISTRY.get_sample_value("webhook_stats_series_total", {"source": source}) or 0.0


async def test_equal_queries_are_computed_once(store: StatsStore, rows: Rows) -> None:
    reader = Reader(store, age_seconds=3600)
    query = parse(asking(end=NOON), "default", NOON, AGES)
    computed, remembered = _series("postgres"), _series("memory")

    first, second = await asyncio.gather(reader.get(query), reader.get(query))
    third = await reader.get(parse(asking(end=NOON), "default", NOON, AGES))
    await reader.get(parse(asking(end=NOON), "other", NOON, AGES))

    assert first is second is third
    assert (_series("postgres") - computed, _series("memory") - remembered) == (2, 2)
    assert rows.pool is not None


async def test_what_is_remembered_ends_with_its_age(store: StatsStore) -> None:
    reader = Reader(store, age_seconds=0.0)
    query = parse(asking(end=NOON), "default", NOON, AGES)

    assert await reader.get(query) is not await reader.get(query)


async def test_what_is_remembered_is_bounded_by_its_points(store: StatsStore) -> None:
    reader = Reader(store, age_seconds=3600, points=1000)
    queries = [parse(asking(end=NOON), f"tenant-{number}", NOON, AGES) for number in range(5)]
    answers = [await reader.get(query) for query in queries]

    assert reader.remembered_points <= 1000
    assert await reader.get(queries[-1]) is answers[-1]
    assert await reader.get(queries[0]) is not answers[0]
