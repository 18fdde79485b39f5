"""Connections to the addresses of a name, directly and through a proxy."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.harness.receiver import Receiver
from dev.harness.waiting import PATIENCE_SECONDS
from services.delivery.destinations.http import dialing
from services.delivery.destinations.http import sender as http_sender
from services.delivery.destinations.http.dialing import Proxy
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.destinations.http.tls import trust
from services.domain.egress.policy import Policy
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.sending import OK, POLICY, Naming, failure, post
from tests.delivery.world import LOOPBACK, World

# Addresses of a name, each tried shortly after the previous one.

DELAY_SECONDS = 0.1


@pytest.fixture(autouse=True)
def _delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "DELAY_SECONDS", DELAY_SECONDS)


class Openings:
    """Connection attempts that take some time and then succeed or fail; which were started, and which were closed."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.closed: list[str] = []

    async def open(self, name: str, seconds: float, error: Exception | None = None) -> str:
        self.begun.append(name)
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return name

    async def first(self, *plans: tuple[str, float] | tuple[str, float, Exception]) -> str:
        return await dialing.first([functools.partial(self.open, *plan) for plan in plans], self.closed.append)


async def test_the_first_that_works_counts_and_no_other_is_tried() -> None:
    openings = Openings()
    assert await openings.first(("a", 0), ("b", 0)) == "a"
    assert openings.begun == ["a"]


async def test_the_next_is_tried_at_once_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "DELAY_SECONDS", 600)
    openings = Openings()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await openings.first(("a", 0, OSError("no")), ("b", 0)) == "b"


async def test_hanging_connection_delays_the_next_one_only_briefly() -> None:
    openings = Openings()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await openings.first(("a", 600), ("b", 600), ("c", 0)) == "c"
    assert openings.begun == ["a", "b", "c"]


async def test_a_slow_one_still_counts_if_it_is_first() -> None:
    openings = Openings()
    assert await openings.first(("a", 0.2), ("b", 60)) == "a"


async def test_connection_that_loses_the_race_is_closed() -> None:
    openings = Openings()
    begun, same = list[str](), asyncio.Event()

    async def together(name: str) -> str:
        begun.append(name)
        if len(begun) == 2:
            asyncio.get_running_loop().call_later(0.05, same.set)
        await same.wait()
        return name

    won = await dialing.first([functools.partial(together, name) for name in "ab"], openings.closed.append)
    await asyncio.sleep(0)
    assert sorted([won, *openings.closed]) == ["a", "b"]


async def test_the_last_failure_is_the_answer_when_all_fail() -> None:
    with pytest.raises(OSError, match="second"):
        await Openings().first(("a", 0, OSError("first")), ("b", 0, OSError("second")))


async def test_a_wrong_certificate_is_an_answer() -> None:
    openings = Openings()
    with pytest.raises(ssl.SSLError):
        await openings.first(("a", 0, ssl.SSLError("wrong")), ("b", 0))
    assert openings.begun == ["a"]


async def test_cancelled_dialing_leaves_no_task_behind() -> None:
    openings = Openings()
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await openings.first(("a", 60), ("b", 60))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


# Requests through a proxy.


class Tunnels:
    """An HTTP proxy that supports only CONNECT, and the requests that it got."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._answer = answer

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        writer.write(self._answer)
        if b" 200 " in self._answer:
            onward, outward = await asyncio.open_connection(host.strip("[]"), int(port))
            await asyncio.gather(_pump(reader, outward), _pump(onward, writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def through(
    port: int, policy: Policy = LOOPBACK, ca_bundle: str = "", user: str = ""
) -> AsyncIterator[HttpSender]:
    """A sender that uses a proxy on this port."""
    proxy = Proxy.parse(f"http://{user}127.0.0.1:{port}")
    tls = trust(ca_bundle)
    async with http_sender.sender(policy, max_response_bytes=1024, wanted_bytes=1024, tls=tls, proxy=proxy) as made:
        yield made


async def test_requests_go_through_the_proxy_and_keep_their_tunnel(receiver: Receiver) -> None:
    tunnels = Tunnels()
    async with tunnels.serving() as port, through(port, user="user:p%40ss@") as sender:
        for _ in range(3):
            assert (await sender.send(post(receiver.url(), b"x" * 100_000), timeout_seconds=30)).status_code == 200
    (head,) = tunnels.heads
    target = f"127.0.0.1:{receiver.port}"
    assert head.startswith(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in head
    assert [request.body for request in receiver.requests] == [b"x" * 100_000] * 3
    assert "proxy-authorization" not in {name.lower() for name in receiver.requests[0].headers}


async def test_tls_goes_through_the_proxy_and_is_verified(
    authority: tuple[Path, ssl.SSLContext], self_signed: ssl.SSLContext
) -> None:
    tunnels = Tunnels()
    async with tunnels.serving() as port, through(port, ca_bundle=str(authority[0])) as sender:
        async with sending.serving(sending.answering(OK), tls=authority[1]) as server:
            assert (await sender.send(post(server.url("https")), timeout_seconds=30)).status_code == 200
        async with sending.serving(sending.answering(OK), tls=self_signed) as server:
            assert (await failure(sender, server.url("https"))).kind is AttemptOutcome.TLS
    assert len(tunnels.heads) == 2


async def test_names_are_vetted_behind_a_proxy_too_and_the_proxy_gets_the_address(
    names: Naming, receiver: Receiver
) -> None:
    names(["127.0.0.1"], ["10.0.0.1"])
    tunnels = Tunnels()
    async with tunnels.serving() as port, through(port, POLICY) as sender:
        await sender.send(post(f"http://receiver.example:{receiver.port}/"), timeout_seconds=30)
        for url in (
            f"http://other.example:{receiver.port}/",
            "http://127.0.0.2/",
            "http://127.1/",
            "http://127.0.0.1:25/",
        ):
            assert (await failure(sender, url)).kind is AttemptOutcome.EGRESS_DENIED
    assert [head.split(b" ")[1] for head in tunnels.heads] == [f"127.0.0.1:{receiver.port}".encode()]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "responded with 403"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "responded with 407"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "more than a response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "does not end"),
        (b"", "closed the connection"),
    ],
    ids=["403", "407", "no HTTP", "surplus", "endless", "closed"],
)
async def test_a_proxy_that_makes_no_tunnel_is_a_failure_that_names_no_credentials(answer: bytes, why: str) -> None:
    async with (
        sending.serving(_answering_connect(answer)) as server,
        through(server.port, user="user:hunter2@") as sender,
    ):
        found = await failure(sender, "http://127.0.0.1:8080/")
    assert found.kind is AttemptOutcome.CONNECT
    assert why in found.message
    assert "hunter2" not in found.message
    assert "hunter2" not in repr(Proxy.parse("http://user:hunter2@127.0.0.1:3128"))


def _answering_connect(data: bytes) -> sending.Answer:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(data)

    return answer


async def test_a_proxy_that_hangs_takes_no_longer_than_the_deadline() -> None:
    async with sending.serving(sending.answering(then_hang=True)) as server, through(server.port) as sender:
        assert (await failure(sender, "http://127.0.0.1:8080/", timeout_seconds=0.3)).kind is AttemptOutcome.TIMEOUT


async def test_a_worker_sends_as_its_settings_say(world: World, authority: tuple[Path, ssl.SSLContext]) -> None:
    tunnels = Tunnels()
    async with tunnels.serving() as port, sending.serving(sending.answering(OK), tls=authority[1]) as server:
        settings = {"egress_proxy": f"http://127.0.0.1:{port}", "egress_ca_bundle": str(authority[0])}
        async with world.running(**settings):
            delivery_id = await world.deliver(await world.subscription(server.url("https")))
            await world.in_state(delivery_id, "delivered")
    assert [head.split(b" ")[1] for head in tunnels.heads] == [f"127.0.0.1:{server.port}".encode()]
