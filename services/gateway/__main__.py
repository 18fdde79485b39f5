"""The gateway process: python -m services.gateway."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import grpc
import structlog

from protos.webhook.v1 import access_pb2_grpc, ingest_pb2_grpc, subscriptions_pb2_grpc
from services.domain import presence
from services.gateway import app
from services.gateway.accept import refusals as refusals_of
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.refusals import Refusals
from services.gateway.accept.routes import IngestTokens
from services.gateway.resources.stream import Streams
from services.gateway.settings import GatewaySettings
from services.gateway.web import backends
from services.gateway.web.backends import Backends, Channels
from services.gateway.web.callers import Callers
from services.gateway.web.retries import Retries
from services.platform.clock import Clock
from services.platform.grpc import client, tls
from services.platform.http import server
from services.platform.process import lifecycle

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: GatewaySettings) -> AsyncIterator[None]:
    """Set up the gateway, serve, and shut down: first close the socket, then finish calls to ingest."""
    listener = server.bind(settings.host, settings.port)
    certificates = tls.following(process, settings)

    def connected(
        role: str, address: str, service_key: str, *, own_connection: bool = False
    ) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        """Return a channel to a role, which may be one of this process."""
        return client.channel(
            address,
            service_key=service_key,
            certificates=certificates,
            own_connection=own_connection,
            near=process.near(role),
        )

    async with (
        connected("ingest", settings.ingest_addr, settings.ingest_service_key) as ingest,
        # Apart, so that no event waits for other calls of any tenant.
        connected("ingest", settings.ingest_addr, settings.ingest_service_key, own_connection=True) as accepting,
        # Nor does the look-up of a key or a token.
        connected("ingest", settings.ingest_addr, settings.ingest_service_key, own_connection=True) as asking,
        connected("delivery", settings.delivery_addr, settings.delivery_service_key) as delivery,
        # Consumers wait for long: nothing else waits for them.
        connected("delivery", settings.delivery_addr, settings.delivery_service_key, own_connection=True) as pulling,
        # Nor for streams, which last: a server takes 128 calls on a connection.
        connected("delivery", settings.delivery_addr, settings.delivery_service_key, own_connection=True) as watching,
        connected("analytics", settings.analytics_addr, settings.analytics_service_key) as analytics,
        presence.noted(process, ingest),
    ):
        channels = Channels(ingest=ingest, delivery=delivery, pulling=pulling, watching=watching, analytics=analytics)
        services = Backends.over(channels, timeout_seconds=settings.rpc_timeout_seconds)
        retries = Retries(settings.accept_timeout_seconds)
        clock = Clock("ingest")
        process.health.add_optional("clock", clock.check)
        batches = IngestBatches(ingest_pb2_grpc.IngestServiceStub(accepting), retries, settings, clock)
        callers = Callers(access_pb2_grpc.AccessServiceStub(asking), retries, settings)
        tokens = IngestTokens(subscriptions_pb2_grpc.SubscriptionServiceStub(asking), retries)
        backends.watch(process.health, channels)
        streams = Streams()
        refusals = Refusals(clock)
        gateway = app.create(
            services,
            batches,
            callers,
            tokens,
            process.whole.health,
            max_payload_bytes=settings.max_payload_bytes,
            serve_operations=settings.development,
            local_only=settings.development,
            tracer=process.tracer,
            streams=streams,
            refusals=refusals,
            trace_url=settings.trace_url,
        )

        def grace_seconds() -> float:
            return process.seconds_to_stop(settings.shutdown_grace_seconds) / 2

        async with refusals_of.flushed(process, refusals, services.analytics):
            async with server.serving(gateway, listener, name="gateway", grace_seconds=grace_seconds) as drain:
                process.on_drain(drain)
                process.on_drain(streams.end)
                log.info("gateway is listening", port=listener.getsockname()[1])
                yield
            await batches.drained()


ROLE = lifecycle.Role(name="gateway", settings=GatewaySettings, serve=serve)

if __name__ == "__main__":
    lifecycle.run(ROLE)
