"""Outboxes in databases of their own, as an application has one, and relays to a real ingest."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio
from prometheus_client import REGISTRY

from dev.embedded import ports
from dev.harness.stores import Stores
from services.platform import ids
from services.platform.process import lifecycle
from services.relay.__main__ import serve
from services.relay.settings import RelaySettings
from tests.ingest.conftest import Ingest, serving

ROOT = Path(__file__).resolve().parents[2]
OUTBOX_SQL = (ROOT / "sdk/outbox/webhook_outbox.sql").read_text()
GUIDE = (ROOT / "docs/guides/outbox.md").read_text()


def grants(role: str, application: str) -> str:
    """Return the statements of the guide that give the relay's role what it needs, for roles that exist."""
    section = GUIDE.partition("\n2. ")[2].partition("\n3. ")[0]
    (block,) = re.findall(r"^ *```sql\n(.+?)^ *```", section, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in block.splitlines() if line.strip().startswith("GRANT")]
    assert len(lines) == 4
    return "\n".join(lines).replace("webhook_relay", role).replace("TO shop", f"TO {application}")


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """The database of an application."""

    # Of a role that may only write to the outbox.
    connection: "asyncpg.Connection[asyncpg.Record]"
    owner: "asyncpg.Connection[asyncpg.Record]"
    owner_url: str
    relay_url: str

    async def publish(self, event_type: str, payload: Any = "{}", **fields: Any) -> int:
        """Publish as an application does."""
        names = "".join(f", {name} => ${number}" for number, name in enumerate(fields, start=3))
        statement = f"SELECT webhook_publish($1, $2{names})"
        return int(await self.connection.fetchval(statement, event_type, payload, *fields.values()))

    async def rows(self) -> list[asyncpg.Record]:
        """Return what is in the outbox."""
        return await self.owner.fetch("SELECT * FROM webhook_outbox ORDER BY id")

    async def empty(self) -> bool:
        """Return whether nothing is in it."""
        return not await self.rows()


@contextlib.contextmanager
def _roles(stores: Stores, url: str) -> Iterator[tuple[str, str]]:
    with stores.role(url) as relay, stores.role(url) as application:
        yield relay, application


@pytest_asyncio.fixture(loop_scope="session")
async def outbox(stores: Stores) -> AsyncIterator[Outbox]:
    """An empty outbox."""
    with stores.empty_database() as url, _roles(stores, url) as (relay_url, application_url):
        owner = await asyncpg.connect(url)
        await owner.execute(OUTBOX_SQL)
        await owner.execute(grants(str(urlsplit(relay_url).username), str(urlsplit(application_url).username)))
        application = await asyncpg.connect(application_url)
        yield Outbox(connection=application, owner=owner, owner_url=url, relay_url=relay_url)
        await application.close()
        await owner.close()


@dataclass(frozen=True, kw_only=True)
class Service:
    """An ingest process, and where it listens."""

    ingest: Ingest
    address: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_service(stores: Stores) -> AsyncIterator[Service]:
    """An ingest process for all tests."""
    port = ports.free_port()
    with stores.database() as database_url:
        async with serving(database_url, stores.redis_url(), grpc_port=port, max_payload_bytes=100_000) as ingest:
            yield Service(ingest=ingest, address=f"127.0.0.1:{port}")


@pytest_asyncio.fixture(loop_scope="session")
async def service(shared_service: Service) -> Service:
    """The same with a new tenant for this test."""
    return Service(ingest=await shared_service.ingest.of(f"test-{ids.new()}"), address=shared_service.address)


@contextlib.asynccontextmanager
async def relaying(outbox: Outbox, service: Service, **settings: Any) -> AsyncIterator[lifecycle.Process]:
    """Run a relay for the service's tenant."""
    process = lifecycle.Process("relay")
    given: dict[str, Any] = {
        "outbox_database_url": outbox.relay_url,
        "ingest_addr": service.address,
        "outbox_tenant": service.ingest.tenant_id,
        "metrics_port": 0,
        "_env_file": None,
    }
    async with serve(process, RelaySettings(**given | settings)):
        yield process
    await process.cancel_all()
    assert not process.failed


def counted(name: str, **labels: str) -> float:
    """Return a sample of the metrics of this process, which all relays of a run share."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
