"""What the tests of the delivery service and its workers share."""

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from dev.harness.stores import Stores
from services.delivery.destinations.http import resolver
from services.delivery.destinations.http.sender import HttpSender
from services.domain.doorbell import Broker, Ringer
from services.domain.egress.policy import Policy
from tests.delivery import sending
from tests.delivery.names import Names, Naming
from tests.delivery.world import LOOPBACK, Client, World, opened


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What runs for all tests of a module."""

    world: World
    client: Client


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Tracebacks as Python prints them: the default's take seconds to draw."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.stdlib.add_log_level, renderer])


@pytest.fixture(scope="session")
def self_signed() -> Iterator[ssl.SSLContext]:
    """A server's TLS with a certificate for 127.0.0.1 that nobody vouches for."""
    folder = Path(tempfile.mkdtemp(prefix="tls-"))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    yield context
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The file of an authority that the system does not know, and a server's TLS with its certificate."""
    folder = tmp_path_factory.mktemp("authority")
    ca, ca_key, request, certificate, key, names = (
        folder / name for name in ("ca.pem", "ca.key", "request.pem", "certificate.pem", "key.pem", "names")
    )
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:receiver.example")

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    new_key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new_key, "-days", 1, "-subj", "/CN=Test authority", "-keyout", ca_key, "-out", ca)
    openssl("req", "-new", *new_key, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
    signed_by = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signed_by, "-days", 1, "-extfile", names, "-out", certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return ca, context


@pytest.fixture(scope="module")
async def _world(stores: Stores) -> AsyncIterator[World]:
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made:
            yield made


@pytest.fixture
async def world(_world: World) -> World:
    """A database without rows and an empty Redis, and nothing running on them."""
    await _world.clear()
    return _world


@pytest.fixture
async def ringer(world: World) -> AsyncIterator[Ringer]:
    """Rings on the test's own Redis, as ingest does."""
    broker = Broker(world.delivery_settings(), socket_timeout=1)
    yield Ringer(broker, world.pool)
    await broker.shutdown()


@pytest.fixture(scope="module")
async def shared(stores: Stores) -> AsyncIterator[Shared]:
    """A delivery service and a worker that run for all tests of a module; each makes subscriptions of its own."""
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as made, made.running() as client:
            yield Shared(world=made, client=client)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Naming:
    """Makes names of any kind resolve so; addresses are connected to as ever."""

    def answer(*answers: list[str]) -> Names:
        made = Names(*answers)
        monkeypatch.setattr(resolver, "getaddrinfo", made.getaddrinfo)
        return made

    return answer


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    """The worker's sender, which may go to loopback."""
    async with sending.sender(LOOPBACK) as opened_sender:
        yield opened_sender


@pytest.fixture
async def strict_sender() -> AsyncIterator[HttpSender]:
    """One without an allow-list."""
    async with sending.sender(Policy.parse([])) as opened_sender:
        yield opened_sender
