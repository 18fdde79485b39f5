"""Fixtures for the tests of the delivery service and its workers."""

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dev.harness import certificates
from dev.harness.network import nameserver
from dev.harness.network.nameserver import Nameserver
from dev.harness.stores import Stores
from services.delivery.destinations.http import resolver
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.dispatcher import limiter
from services.domain import doorbell, gates
from services.domain.doorbell import Ringer, Stream
from services.domain.egress.policy import Policy
from services.platform.stores import postgres, redis, signals
from services.platform.stores.signals import Signals
from tests.delivery import sending
from tests.delivery.sending import Naming
from tests.delivery.world import LOOPBACK, Client, World, opened


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Processes that run for all tests of a module."""

    world: World
    client: Client


@pytest.fixture(scope="session", autouse=True)
def _looking_often() -> Iterator[None]:
    """Look for what is due as often as without Redis: tests write rows that nobody tells of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "QUIET_SECONDS", 0.1)
        # Nor is a Postgres that takes long to accept a connection one that is away.
        patch.setattr(postgres, "CONNECT_TIMEOUT_SECONDS", 10.0)
        yield


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow response on a busy machine count as an outage of Redis, except in tests of outages."""
    if not request.node.get_closest_marker("without_redis"):
        monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 10.0)
        monkeypatch.setattr(doorbell, "RING_TIMEOUT_SECONDS", 10.0)
        monkeypatch.setattr(gates, "TIMEOUT_SECONDS", 10.0)
        monkeypatch.setattr(limiter, "TIMEOUT_SECONDS", 10.0)


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """TLS of a server whose certificate for 127.0.0.1 no CA signed."""
    return certificates.server_tls(certificates.self_signed(), tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The file of a CA that the system does not know, and TLS of a server with its certificate."""
    folder = tmp_path_factory.mktemp("authority")
    ca = certificates.authority()
    (folder / "ca.pem").write_text(ca.pem)
    issued = ca.issue("127.0.0.1", usages=(certificates.SERVER,), hosts=("127.0.0.1", "receiver.example"))
    return folder / "ca.pem", certificates.server_tls(issued, folder)


@pytest.fixture(scope="module")
async def _world(stores: Stores) -> AsyncIterator[World]:
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made:
            yield made


@pytest.fixture
async def world(_world: World) -> World:
    """A database without rows and an empty Redis, with nothing running on them."""
    await _world.clear()
    return _world


@pytest.fixture
async def ringer(world: World) -> AsyncIterator[Ringer]:
    """A ringer on the test's own Redis, like ingest's."""
    async with redis.connect(world.delivery_settings(), timeout_seconds=10) as client:
        yield Ringer(Stream(client), world.pool, Signals(client))


@pytest.fixture(scope="module")
async def shared(stores: Stores) -> AsyncIterator[Shared]:
    """A delivery service and a worker that run for all tests of a module; each test creates its own subscriptions."""
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made, made.running() as client:
            yield Shared(world=made, client=client)


@pytest.fixture
async def name_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nameserver]:
    """The name server that workers ask, and no other: it knows the names that a test says."""
    async with nameserver.serving() as server:
        monkeypatch.setattr(resolver, "CONFIGURATION", server.configuration)
        yield server


@pytest.fixture
def names(name_server: Nameserver) -> Naming:
    """Make names of any kind resolve so, by one answer after the other; addresses are connected to as ever."""

    def answer(*answers: list[str]) -> None:
        name_server.say_in_turn("*", *map(tuple, answers))

    return answer


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    """The worker's sender, which may connect to loopback."""
    async with sending.sender(LOOPBACK) as opened_sender:
        yield opened_sender


@pytest.fixture
async def strict_sender() -> AsyncIterator[HttpSender]:
    """A sender without an allow-list."""
    async with sending.sender(Policy.parse([])) as opened_sender:
        yield opened_sender
