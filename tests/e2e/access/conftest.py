"""A stack that requires keys, its operator, and channels to its processes."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio

from dev.embedded import ports
from dev.harness import keys, oidc
from dev.harness import stack as stacks
from dev.harness.api import TLS
from dev.harness.keys import Admin
from dev.harness.stack import Stack
from services.platform import ids

# By the service in a method's full name.
PROCESSES: Mapping[str, str] = {
    "webhook.v1.AccessService": "ingest",
    "webhook.v1.AuditService": "ingest",
    "webhook.v1.CatalogService": "ingest",
    "webhook.v1.IngestService": "ingest",
    "webhook.v1.SubscriptionService": "ingest",
    "webhook.v1.SystemService": "ingest",
    "webhook.v1.DeliveryService": "delivery",
    "webhook.v1.JobService": "delivery",
    "webhook.v1.QueueService": "delivery",
    "webhook.v1.AnalyticsService": "analytics",
}
OIDC_GROUP_ROLES = [
    {"group": "operators", "role": "admin"},
    {"group": "readers", "role": "read", "tenant_id": "default"},
]
Channels = Mapping[str, grpc.aio.Channel]


@pytest.fixture(scope="package")
def oidc_port() -> int:
    """Return the port of the stack's OIDC issuer, which tests run themselves."""
    return ports.free_port()


@pytest.fixture(scope="package")
def keyed(short_folder: Path, oidc_port: int) -> Iterator[Stack]:
    """The whole service, with keys required."""
    environment = {
        **keys.ENVIRONMENT,
        **keys.OWN_SERVICE_KEYS,
        "RETRY_BASE_SECONDS": "0.2",
        "OIDC_ISSUER": f"http://127.0.0.1:{oidc_port}",
        "OIDC_CLIENT_ID": oidc.CLIENT_ID,
        "OIDC_CLIENT_SECRET": oidc.CLIENT_SECRET,
        "OIDC_REDIRECT_URL": "http://localhost/console/oidc/callback",
        "OIDC_GROUP_ROLES": json.dumps(OIDC_GROUP_ROLES),
    }
    with stacks.running(short_folder / "keyed", environment=environment) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def http(keyed: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no key by default."""
    async with httpx.AsyncClient(base_url=keyed.base_url, timeout=60, verify=TLS) as client:
        yield client


@pytest.fixture
def admin(http: httpx.AsyncClient) -> Admin:
    """The stack's operator."""
    return Admin(http)


@pytest_asyncio.fixture(loop_scope="session")
async def channels(keyed: Stack) -> AsyncIterator[Channels]:
    """A channel to each process, by the full name of each service."""
    opened = {
        process: grpc.aio.insecure_channel(f"127.0.0.1:{keyed.ports[process]}") for process in set(PROCESSES.values())
    }
    yield {service: opened[process] for service, process in PROCESSES.items()}
    for channel in opened.values():
        await channel.close()


@pytest.fixture
def a_name() -> str:
    """Return an unused tenant id."""
    return f"t{ids.new().hex}"
