"""The relay process: python -m services relay."""

import contextlib
from collections.abc import AsyncIterator

from protos.webhook.v1 import ingest_pb2_grpc
from services.domain import presence
from services.platform.grpc import client, tls
from services.platform.process import lifecycle
from services.platform.stores import postgres
from services.relay.publisher import Publisher
from services.relay.relay import Relay
from services.relay.settings import RelaySettings
from services.relay.store import OutboxStore

# Of the time to stop, for closing what is open.
LAST_SECONDS = 1.0


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: RelaySettings) -> AsyncIterator[None]:
    """Wire the relay up, relay, and let what is being sent finish."""
    channel = client.channel(
        settings.ingest_addr,
        service_key=settings.key,
        certificates=tls.following(process, settings),
        own_connection=True,
        near=process.near("ingest"),
    )
    async with postgres.pool(process, settings.outbox_postgres, store="outbox") as pool, channel as ingest:
        store = OutboxStore(pool, settings.outbox_schema, lease_seconds=settings.outbox_lease_seconds)
        publisher = Publisher(ingest_pb2_grpc.IngestServiceStub(ingest), tenant_id=settings.outbox_tenant)
        relay = Relay(store, publisher, poll_seconds=settings.outbox_poll_seconds)
        process.health.add_optional("relaying", relay.check)
        # An API key does not allow it.
        noted = contextlib.nullcontext() if settings.outbox_api_key else presence.noted(process, ingest)
        claiming = process.spawn("outbox_claims", relay.run())
        measuring = process.spawn("outbox_measures", relay.measure())
        try:
            async with noted:
                yield
        finally:
            await process.cancel(claiming)
            left_seconds = process.seconds_to_stop(settings.shutdown_grace_seconds)
            await relay.stop(grace_seconds=max(0.0, left_seconds - LAST_SECONDS))
            await process.cancel(measuring)


ROLE = lifecycle.Role(name="relay", settings=RelaySettings, serve=serve)

if __name__ == "__main__":
    lifecycle.run(ROLE)
