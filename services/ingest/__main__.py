"""The ingest process: python -m services.ingest."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import structlog

from protos.webhook.v1 import (
    access_pb2,
    access_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    subscriptions_pb2,
    subscriptions_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from services.domain import deliveries, doorbell, gates
from services.domain.egress import policy as egress
from services.domain.notices.activity import Activity
from services.domain.secrets import encryption
from services.domain.secrets.vault import Vault
from services.domain.templates.renderer import Renderer
from services.domain.tenants import weights
from services.domain.tenants.scopes import Entry
from services.ingest.access.members import MemberStore
from services.ingest.access.portal_links import PortalLinkStore
from services.ingest.access.service import AccessService
from services.ingest.access.sessions import SessionStore
from services.ingest.access.store import AccessStore
from services.ingest.audit.service import AuditService
from services.ingest.audit.store import AuditStore
from services.ingest.catalog.cache import Catalogs
from services.ingest.catalog.service import CatalogService
from services.ingest.catalog.store import CatalogStore
from services.ingest.events.committer import Committer
from services.ingest.events.expansions import Expander, ExpansionStore
from services.ingest.events.filtering import Filtering
from services.ingest.events.routing import RoutingStore
from services.ingest.events.service import IngestService
from services.ingest.events.store import EventStore
from services.ingest.events.targets import Matcher
from services.ingest.quotas.guard import Guard
from services.ingest.quotas.rates import Rates
from services.ingest.quotas.store import QuotaStore
from services.ingest.scheduled.mover import Mover
from services.ingest.scheduled.store import ScheduledStore
from services.ingest.settings import IngestSettings
from services.ingest.subscriptions.cache import SubscriptionCache
from services.ingest.subscriptions.filter_schemas import FilterSchemas
from services.ingest.subscriptions.service import SubscriptionService
from services.ingest.subscriptions.slow_filters import SlowFilters
from services.ingest.subscriptions.store import SubscriptionStore
from services.ingest.system.service import SystemService
from services.ingest.system.store import SystemStore
from services.platform.auth import finder
from services.platform.auth.authenticator import Authenticator
from services.platform.clock import Clock
from services.platform.grpc import server as grpc_server
from services.platform.process import background, lifecycle, presence
from services.platform.stores import postgres, redis, signals
from services.platform.stores.processes import ProcessStore

if TYPE_CHECKING:
    from services.ingest.access.oidc.sign_in import SignIn

log = structlog.get_logger(__name__)

SERVICES = (
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    subscriptions_pb2.DESCRIPTOR.services_by_name["SubscriptionService"].full_name,
    access_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
    catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name,
    system_pb2.DESCRIPTOR.services_by_name["SystemService"].full_name,
)
PARTITIONS_INTERVAL_SECONDS = 3600
PARTITIONS_RETRY_SECONDS = 1
CLOCK_INTERVAL_SECONDS = 10
EXPIRED_KEYS_INTERVAL_SECONDS = 60


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: IngestSettings) -> AsyncIterator[None]:
    """Wire the service up, serve, and take it down."""
    policy = egress.policy(settings)
    async with (
        postgres.pool(process, settings) as pool,
        redis.of_process(process, settings) as client,
        signals.of_process(process, settings) as heard,
        gates.of_process(process, settings, rings=True) as closed,
        doorbell.ringer(process, settings, pool) as ringer,
        doorbell.ringer(process, settings, pool, doorbell.BACKLOG) as backlog,
        weights.of_process(process, pool) as known,
        finder.running(process, settings, pool) as callers,
        deliveries.handover(process) as handover,
        presence.noted(process, ProcessStore(pool)),
    ):
        vault = Vault(await encryption.known_keys(process, pool, settings))
        store = SubscriptionStore(
            pool,
            vault,
            key_hours=settings.idempotency_key_hours,
            quota=settings.quota_subscriptions,
            checks_endpoints=settings.checks_endpoints,
        )
        events = EventStore(pool, expiry_hours=settings.delivery_expiry_hours, key_hours=settings.idempotency_key_hours)
        cache = SubscriptionCache(store, heard, vault, size=settings.cached_subscriptions)
        rates = Rates(client)
        guard = Guard(QuotaStore(pool), rates, settings.quotas, heard)
        unexpanded = ExpansionStore(pool, expiry_hours=settings.delivery_expiry_hours)
        slow_filters = SlowFilters(store, cache)
        expander = Expander(unexpanded, backlog, closed, heard, known.of, slow_filters.note)
        committer = Committer(events, ringer, settings, expander.committed, known.of, handover)
        sessions, links = SessionStore(pool), PortalLinkStore(pool)
        catalog = CatalogStore(pool, key_hours=settings.idempotency_key_hours)
        catalogs = Catalogs(catalog, heard)
        renderer = Renderer()
        partitions = _Partitions(events)
        clock = Clock("Postgres")
        filtering = Filtering(cache, slow_filters, inline_deliveries=settings.inline_deliveries)
        scheduled = ScheduledStore(pool, events)
        mover = Mover(scheduled, Matcher(cache, closed, filtering), committer, guard, heard, clock, known.of)
        process.health.add_optional("clock", clock.check)
        process.health.add_readiness("partitions", partitions.check)
        loops = [
            process.spawn("subscription_changes", cache.run()),
            process.spawn("catalogs", catalogs.run()),
            process.spawn("quotas", guard.run()),
            process.spawn("event_rates", rates.run()),
            process.spawn("expansions", expander.run(committer.committed)),
            process.spawn("scheduled_events", mover.run()),
            process.spawn("partitions", partitions.keep()),
            process.spawn("clock", _compare(clock, events)),
            process.spawn("expired_keys", _delete_expired(store, sessions, links)),
        ]

        def register(server: grpc.aio.Server) -> None:
            ingest = IngestService(
                events,
                RoutingStore(pool),
                cache,
                closed,
                committer,
                expander,
                vault,
                clock,
                guard,
                filtering,
                catalogs,
                scheduled=scheduled,
                mover=mover,
                max_payload_bytes=settings.max_payload_bytes,
                tracer=process.tracer,
                activity=Activity.of("accepted events", settings),
            )
            ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
            subscriptions = SubscriptionService(
                store, cache, vault, settings, policy, known.of, renderer, FilterSchemas(catalogs)
            )
            subscriptions_pb2_grpc.add_SubscriptionServiceServicer_to_server(subscriptions, server)
            access = AccessService(
                AccessStore(pool, key_hours=settings.idempotency_key_hours),
                sessions,
                links,
                MemberStore(pool, sessions),
                _sign_in(settings),
                callers,
                settings.quotas,
                heard,
                known.of,
            )
            access_pb2_grpc.add_AccessServiceServicer_to_server(access, server)
            audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(AuditStore(pool)), server)
            catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogService(catalog, catalogs, renderer), server)
            system = SystemService(SystemStore(pool), ProcessStore(pool))
            system_pb2_grpc.add_SystemServiceServicer_to_server(system, server)

        try:
            authenticator = Authenticator(settings, callers.find, callers.find_actor)
            async with grpc_server.serving(process, settings, SERVICES, register, authenticator, Entry(pool).enter):
                yield
            await committer.drained()
        finally:
            for loop in loops:  # before what they use is closed
                await process.cancel(loop)
            await renderer.close()
            for write_down in (guard.add_up, catalogs.write_down):
                with contextlib.suppress(Exception):  # a sum that is a little short, when Postgres is away
                    await write_down()


def _sign_in(settings: IngestSettings) -> "SignIn | None":
    """Return what signs people in by OpenID Connect; None, and none of its libraries, if no issuer is set."""
    if not settings.oidc_issuer:
        return None
    from services.ingest.access.oidc.sign_in import SignIn

    return SignIn(settings)


class _Partitions:
    """Sees to it that there are partitions to insert into, from before the process is ready."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._made = False

    async def check(self) -> None:
        if not self._made:
            raise RuntimeError("partitions are not created yet")

    async def keep(self) -> None:
        async def make() -> None:
            await self._store.create_partitions()
            self._made = True

        await background.repeat(
            make, interval_seconds=PARTITIONS_INTERVAL_SECONDS, retry_seconds=PARTITIONS_RETRY_SECONDS, quiet=True
        )


async def _compare(clock: Clock, events: EventStore) -> None:
    """Compare the clock with Postgres' every few seconds."""

    async def step() -> None:
        clock.compare(await events.now())

    await background.repeat(step, interval_seconds=CLOCK_INTERVAL_SECONDS, quiet=True)


async def _delete_expired(store: SubscriptionStore, sessions: SessionStore, links: PortalLinkStore) -> None:
    """Delete idempotency keys, sessions and portal links past their time every minute; before, they have no effect."""

    async def step() -> None:
        await store.delete_expired_keys()
        await sessions.delete_expired()
        await links.delete_expired()

    await background.repeat(step, interval_seconds=EXPIRED_KEYS_INTERVAL_SECONDS, at_once=False)


ROLE = lifecycle.Role(name="ingest", settings=IngestSettings, serve=serve, called=True)

if __name__ == "__main__":
    lifecycle.run(ROLE)
