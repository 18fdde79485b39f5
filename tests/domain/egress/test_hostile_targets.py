"""Targets that are not public are refused by ingest, and by the sender if they are in the database anyway.

The worker's own sender gets each URL as if it were stored: from before the rule, or written by someone else. Listeners
on all addresses of this machine count connections.
"""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import grpc
import pytest
import pytest_asyncio

from dev.embedded import ports
from dev.harness.stores import Stores
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http.sender import HttpSender
from services.domain.egress.policy import Policy
from services.domain.states import AttemptOutcome
from services.platform import errors
from services.platform.grpc import errors as grpc_errors
from tests.delivery import sending
from tests.delivery.world import LOOPBACK
from tests.domain.egress import hostile
from tests.ingest.conftest import URL, Ingest, serving


@dataclass
class Listeners:
    """Count the connections to a port, on IPv4 and IPv6."""

    port: int
    hits: list[str] = field(default_factory=list)

    def listen(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                self.hits.append(str(address))
                connection.close()


@contextlib.contextmanager
def listening() -> Iterator[Listeners]:
    """Listen on one port of every address of this machine."""
    made = Listeners(ports.free_port())
    opened = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, made.port))
        listener.listen()
        threading.Thread(target=made.listen, args=(listener,), daemon=True).start()
        opened.append(listener)
    yield made
    for listener in opened:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    with listening() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_ingest(stores: Stores) -> AsyncIterator[Ingest]:
    """An ingest server as in production: no private target is allowed."""
    with stores.database() as database_url:
        async with serving(
            database_url, stores.redis_url(), env="test", bind_host="127.0.0.1", egress_allow="", auth_required=False
        ) as made:
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict_sender() -> AsyncIterator[HttpSender]:
    async with sending.sender(Policy.parse([])) as made:
        yield made


def test_hostile_targets_are_many_and_unique() -> None:
    assert len(set(hostile.ALL)) == len(hostile.ALL) >= 150


@pytest.mark.parametrize("url", hostile.ALL)
async def test_a_subscription_to_a_hostile_target_is_refused(
    strict_ingest: Ingest, listeners: Listeners, url: str
) -> None:
    existing = await strict_ingest.create()
    url = url.replace("{port}", str(listeners.port))
    for call in (strict_ingest.create(url), strict_ingest.update(existing.id, url)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        refused = grpc_errors.from_rpc_error(raised.value)
        assert isinstance(refused, errors.InvalidArgument)
        assert [violation.field for violation in refused.violations] == ["target_url"]
    assert (await strict_ingest.get(existing.id)).spec.target_url == URL


@pytest.mark.parametrize("url", hostile.ALL)
async def test_a_request_to_a_hostile_target_connects_to_nothing(
    strict_sender: HttpSender, listeners: Listeners, url: str
) -> None:
    with pytest.raises(SendError) as raised:
        await strict_sender.send(sending.post(url.replace("{port}", str(listeners.port))), timeout_seconds=5)
    assert raised.value.kind in {AttemptOutcome.EGRESS_DENIED, AttemptOutcome.INVALID_REQUEST}
    assert listeners.hits == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "\uff11\uff12\uff17.0.0.1"])
async def test_the_listeners_would_have_counted_it(listeners: Listeners, host: str) -> None:
    before = len(listeners.hits)
    async with sending.sender(LOOPBACK) as allowed:
        assert (
            await sending.failure(allowed, f"http://{host}:{listeners.port}/")
        ).kind is AttemptOutcome.CONNECTION_LOST
    assert len(listeners.hits) == before + 1
    listeners.hits.clear()
