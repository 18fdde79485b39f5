"""A gateway on a real socket, in front of in-memory services."""

import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from dev.harness.api import TLS
from services.gateway import app
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.refusals import Refusals
from services.gateway.accept.routes import IngestTokens
from services.gateway.settings import GatewaySettings
from services.gateway.web import backends as readiness
from services.gateway.web.backends import Backends, Channels
from services.gateway.web.callers import Callers
from services.gateway.web.retries import Retries
from services.platform.clock import Clock
from services.platform.grpc import client as grpc_client
from services.platform.http import server
from services.platform.process import probes
from tests.gateway.fakes import Services

MAX_PAYLOAD_BYTES = 10_000


@contextlib.asynccontextmanager
async def gateway(
    services_port: int,
    health: probes.Health | None = None,
    *,
    serve_operations: bool = True,
    accept_timeout_seconds: float = 2.0,
    local_only: bool = False,
    refusals: Refusals | None = None,
) -> AsyncIterator[str]:
    """Serve a gateway for the services on that port, in development mode or not, and yield its URL."""
    settings = GatewaySettings(
        port=0, max_payload_bytes=MAX_PAYLOAD_BYTES, accept_timeout_seconds=accept_timeout_seconds
    )
    health = health or probes.Health()
    async with grpc_client.channel(f"127.0.0.1:{services_port}") as channel:
        channels = Channels(ingest=channel, delivery=channel, pulling=channel, watching=channel, analytics=channel)
        backends = Backends.over(channels, timeout_seconds=settings.rpc_timeout_seconds)
        retries = Retries(settings.accept_timeout_seconds)
        clock = Clock("ingest")
        health.add_optional("clock", clock.check)
        batches = IngestBatches(backends.ingest, retries, settings, clock)
        readiness.watch(health, channels)
        listener = server.bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        callers = Callers(backends.access, retries, settings)
        tokens = IngestTokens(backends.subscriptions, retries)
        application = app.create(
            backends,
            batches,
            callers,
            tokens,
            health,
            max_payload_bytes=MAX_PAYLOAD_BYTES,
            serve_operations=serve_operations,
            local_only=local_only,
            refusals=refusals,
        )
        async with server.serving(application, listener, name="gateway", grace_seconds=2):
            yield f"http://127.0.0.1:{port}"
        await batches.drained()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow answer on a busy machine count as that of a service that is away."""
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 10.0)
    monkeypatch.setattr(probes, "CHECK_TIMEOUT_SECONDS", 15.0)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _running_services() -> AsyncIterator[Services]:
    services = Services()
    async with services.serving():
        yield services


@pytest_asyncio.fixture(loop_scope="session")
async def services(_running_services: Services) -> Services:
    """The services behind the gateway, reset."""
    _running_services.reset()
    return _running_services


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def url(_running_services: Services) -> AsyncIterator[str]:
    """The gateway's URL."""
    async with gateway(_running_services.port) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def client(url: str, services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway; what an earlier test told the services behind it is forgotten."""
    del services
    async with httpx.AsyncClient(base_url=url, timeout=60, verify=TLS) as opened:
        yield opened
