"""GetStats over a real channel."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.webhook.v1 import analytics_pb2, analytics_pb2_grpc
from services.analytics import rollup
from services.analytics.__main__ import SERVICES
from services.analytics.service import AnalyticsService, window_of
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import StatsStore
from services.platform import errors, ids
from services.platform.auth import finder
from services.platform.auth.authenticator import Authenticator
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc import server as grpc_server
from services.platform.process.lifecycle import Process
from tests.analytics.conftest import Rows

RETENTION = timedelta(hours=72)
# A class that exists only in the type stubs.
Stub: TypeAlias = "analytics_pb2_grpc.AnalyticsServiceAsyncStub"


@pytest.fixture
async def channel(store: StatsStore, settings: AnalyticsSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the service."""

    def register(server: grpc.aio.Server) -> None:
        service = AnalyticsService(store, settings)
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(service, server)

    process = Process("analytics")
    async with (
        finder.running(process, settings, store._pool) as callers,
        grpc_server.serving(
            process, settings, SERVICES, register, Authenticator(settings, callers.find, callers.find_actor)
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as created,
    ):
        yield created


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Stub:
    """A client."""
    return analytics_pb2_grpc.AnalyticsServiceStub(channel)


@contextlib.asynccontextmanager
async def _refused() -> AsyncIterator[list[errors.WebhookError]]:
    """Expect a call to be refused, and return the error in its typed details."""
    caught: list[errors.WebhookError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield caught
    caught.append(grpc_errors.from_rpc_error(raised.value))


async def _roll_up(store: StatsStore, rows: Rows) -> None:
    await rows.make_due()
    await rollup.run_once(store, interval_seconds=5, retention=RETENTION)


async def test_stats_are_of_what_was_delivered(stub: Stub, store: StatsStore, rows: Rows) -> None:
    subscription_id = await rows.subscription()
    for outcome, duration_ms in (("success", 12), ("success", 14), ("http_5xx", 40), ("interrupted", None)):
        await rows.attempt(
            subscription_id=subscription_id, outcome=outcome, duration_ms=duration_ms, final=outcome == "success"
        )
    await rows.attempt(outcome="timeout", duration_ms=15_000)
    await _roll_up(store, rows)

    of_one = (await stub.GetStats(analytics_pb2.GetStatsRequest(subscription_id=str(subscription_id)))).stats
    of_all = (await stub.GetStats(analytics_pb2.GetStatsRequest(tenant_id="default"))).stats

    assert dict(of_one.attempts_by_outcome) == {"success": 2, "http_5xx": 1, "interrupted": 1}
    assert (of_one.attempts, of_one.delivered, of_one.failed) == (4, 2, 0)
    assert of_one.attempt_success_rate == pytest.approx(2 / 3)
    assert of_one.latency.mean_ms == pytest.approx(22)
    assert 10 <= of_one.latency.p50_ms <= 15
    assert 30 <= of_one.latency.p99_ms <= 50
    assert (of_all.attempts, of_all.delivered, of_all.failed) == (5, 2, 1)
    assert of_all.attempt_success_rate == pytest.approx(2 / 4)


async def test_the_window_begins_on_a_minute_and_ends_at_the_newest_roll_up(
    stub: Stub, store: StatsStore, rows: Rows
) -> None:
    await rows.attempt()
    await rows.attempt(age=timedelta(hours=2))
    await rows.make_due(rolled_up=timedelta(hours=3))
    await rows.catch_up(lambda: rollup.run_once(store, interval_seconds=60, retention=RETENTION))

    stats = (await stub.GetStats(analytics_pb2.GetStatsRequest(window=Duration(seconds=61)))).stats

    start, end = stats.window_start.ToDatetime(UTC), stats.window_end.ToDatetime(UTC)
    assert start.second == start.microsecond == 0
    assert timedelta(minutes=2) <= end - start < timedelta(minutes=3)
    assert abs(datetime.now(UTC) - end) < timedelta(seconds=60)
    assert stats.attempts == 1
    day = (await stub.GetStats(analytics_pb2.GetStatsRequest())).stats
    assert day.attempts == 2


async def test_stats_of_nothing_are_empty_and_not_an_error(stub: Stub) -> None:
    stats = (await stub.GetStats(analytics_pb2.GetStatsRequest())).stats

    assert stats.attempts == 0
    assert stats.HasField("window_end")
    assert not stats.HasField("attempt_success_rate")
    assert not stats.HasField("latency")


async def test_stats_of_a_tenant_are_only_its_own(stub: Stub, store: StatsStore, rows: Rows) -> None:
    await rows.pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'Other')")
    foreign = await rows.subscription(tenant_id="other")
    await rows.attempt(tenant_id="other", subscription_id=foreign)
    await _roll_up(store, rows)

    mine = (await stub.GetStats(analytics_pb2.GetStatsRequest())).stats
    theirs = (await stub.GetStats(analytics_pb2.GetStatsRequest(tenant_id="other"))).stats

    assert (mine.attempts, theirs.attempts) == (0, 1)
    for unknown in (foreign, ids.new()):
        async with _refused() as refused:
            await stub.GetStats(analytics_pb2.GetStatsRequest(subscription_id=str(unknown)))
        assert isinstance(refused[0], errors.NotFound)
        assert refused[0].reason == "NOT_FOUND"


async def test_a_deleted_subscription_stays_readable(stub: Stub, store: StatsStore, rows: Rows) -> None:
    deleted = await rows.subscription(deleted=True)
    await rows.attempt(subscription_id=deleted)
    await _roll_up(store, rows)

    stats = (await stub.GetStats(analytics_pb2.GetStatsRequest(subscription_id=str(deleted)))).stats

    assert stats.attempts == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (analytics_pb2.GetStatsRequest(window=Duration(seconds=59)), "window"),
        (analytics_pb2.GetStatsRequest(window=Duration(seconds=72 * 3600 + 1)), "window"),
        (analytics_pb2.GetStatsRequest(subscription_id="no-uuid"), "subscription_id"),
        (analytics_pb2.GetStatsRequest(subscription_id="\0"), "subscription_id"),
        (analytics_pb2.GetStatsRequest(tenant_id="\0"), "tenant_id"),
    ],
)
async def test_a_wrong_field_is_named(stub: Stub, request_: analytics_pb2.GetStatsRequest, field: str) -> None:
    async with _refused() as refused:
        await stub.GetStats(request_)

    assert isinstance(refused[0], errors.InvalidArgument)
    assert [violation.field for violation in refused[0].violations] == [field]


async def test_reflection_lists_the_service(channel: grpc.aio.Channel) -> None:
    messages: Any = reflection_pb2  # its type stubs lack the messages
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
    requests = iter([messages.ServerReflectionRequest(list_services="")])

    answers = [answer async for answer in stub.ServerReflectionInfo(requests)]

    names = {service.name for service in answers[0].list_services_response.service}
    assert {"webhook.v1.AnalyticsService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("seconds", "nanos", "minutes"),
    [(60, 0, 1), (60, 1, 2), (90, 0, 2), (119, 999_999_999, 2), (120, 0, 2), (3600, 0, 60), (72 * 3600, 0, 72 * 60)],
)
def test_window_is_rounded_up_to_whole_minutes(seconds: int, nanos: int, minutes: int) -> None:
    assert window_of(Duration(seconds=seconds, nanos=nanos), RETENTION) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(0, 0), (59, 999_999_999), (-60, 0), (72 * 3600, 1), (2**62, 0), (-(2**62), 0)]
)
def test_window_outside_of_a_minute_to_retention_is_refused_by_name(seconds: int, nanos: int) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        window_of(Duration(seconds=seconds, nanos=nanos), RETENTION)

    assert [violation.field for violation in raised.value.violations] == ["window"]
    assert "72 hours" in raised.value.message


def test_window_unset_means_a_day_or_the_whole_retention() -> None:
    assert window_of(None, RETENTION) == timedelta(hours=24)
    assert window_of(None, timedelta(hours=6)) == timedelta(hours=6)
