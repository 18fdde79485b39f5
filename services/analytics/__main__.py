"""The analytics process: python -m services.analytics."""

import contextlib
from collections.abc import AsyncIterator

import grpc

from protos.webhook.v1 import analytics_pb2, analytics_pb2_grpc
from services.analytics import gauges, retention, rollup
from services.analytics.consistency import Check, ConsistencyStore
from services.analytics.service import AnalyticsService
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import StatsStore
from services.analytics.usage import loop as usage
from services.analytics.usage.store import UsageStore
from services.domain.tenants.scopes import Entry
from services.platform.auth import finder
from services.platform.auth.authenticator import Authenticator
from services.platform.grpc import server as grpc_server
from services.platform.process import background, lifecycle, presence
from services.platform.stores import duties, postgres
from services.platform.stores.processes import ProcessStore

SERVICES = (analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"].full_name,)


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: AnalyticsSettings) -> AsyncIterator[None]:
    """Wire the service up, serve, and take it down."""
    async with (
        postgres.pool(process, settings) as pool,
        finder.running(process, settings, pool) as callers,
        duties.shared(process, pool, "roll_up") as duty,
        presence.noted(process, ProcessStore(pool)),
    ):
        store = StatsStore(pool)
        duty.on_change(taken=lambda: None, lost=gauges.forget)
        with background.only_while(lambda: duty.held):
            loops = (
                process.spawn(
                    "rollup",
                    rollup.run_forever(
                        store, interval_seconds=settings.rollup_interval_seconds, retention=settings.retention
                    ),
                ),
                process.spawn("rollup-hours", rollup.roll_up_hours_forever(store)),
                process.spawn("retention", retention.run_forever(store, settings)),
                process.spawn(
                    "usage",
                    usage.run_forever(UsageStore(pool), settings.quotas, most_named=settings.top_subscriptions),
                ),
                process.spawn("gauges", gauges.keep(pool, top_subscriptions=settings.top_subscriptions)),
                process.spawn("consistency", Check(ConsistencyStore(pool)).run()),
            )

        def register(server: grpc.aio.Server) -> None:
            service = AnalyticsService(store, settings)
            analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(service, server)

        try:
            authenticator = Authenticator(settings, callers.find, callers.find_actor)
            async with grpc_server.serving(process, settings, SERVICES, register, authenticator, Entry(pool).enter):
                yield
        finally:
            # Before the pool closes: it waits for connections that are in use.
            for task in loops:
                await process.cancel(task)


ROLE = lifecycle.Role(name="analytics", settings=AnalyticsSettings, serve=serve, called=True)

if __name__ == "__main__":
    lifecycle.run(ROLE)
