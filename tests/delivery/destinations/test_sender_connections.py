"""Connections are kept, and what dies with them is known for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from dev.harness.waiting import wait_until
from services.delivery.destinations.destination import Failure, Sender
from services.delivery.destinations.http import connection as http_connection
from tests.delivery import raw, sending
from tests.delivery.sending import OK, failure, post
from tests.delivery.world import LOOPBACK


def closing_after(first: bytes, *, reset: bool = False) -> raw.Answer:
    """Answers the first request of each connection, reads the second one, and closes without an answer."""

    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(first)
        await connection.request()
        if reset:
            connection.reset()

    return answer


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_kept_connection_that_dies_before_any_byte_is_worth_a_fresh_one(sender: Sender, *, reset: bool) -> None:
    async with raw.serving(closing_after(OK, reset=reset)) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        found = await failure(sender, server.url())
        assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, None, True)
        again = await sender.send(post(server.url()), timeout_seconds=5, fresh=True)
        assert again.status_code == 200
        assert len(server.connections) == 2


async def test_a_kept_connection_that_dies_after_the_status_is_not_worth_a_fresh_one(sender: Sender) -> None:
    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async with raw.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (Failure.CONNECTION_LOST, 200, False)


async def test_a_request_is_never_repeated_by_the_client_itself(sender: Sender) -> None:
    async with raw.serving(closing_after(OK)) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        await failure(sender, server.url())
        assert [len(connection.heads) for connection in server.connections] == [2]


async def test_a_connection_that_the_receiver_closed_while_idle_is_not_used(sender: Sender) -> None:
    async with raw.serving(raw.answering(OK)) as server:
        for _ in range(3):
            assert (await sender.send(post(server.url()), timeout_seconds=5)).status_code == 200
            await asyncio.sleep(0.05)  # for the FIN to come
        assert len(server.connections) == 3


async def test_a_connection_is_not_kept_after_a_timeout(sender: Sender) -> None:
    async def late(connection: raw.Connection) -> None:
        while True:
            await connection.request()
            if len(server.connections) == 1:
                await asyncio.sleep(0.6)
            await connection.send(OK)

    async with raw.serving(late) as server:
        assert (await failure(sender, server.url(), timeout_seconds=0.5)).kind is Failure.TIMEOUT
        assert (await sender.send(post(server.url()), timeout_seconds=5)).body == b"ok"
        assert len(server.connections) == 2


@pytest.mark.parametrize("delay_seconds", [0.0, 0.3], ids=["quick", "slower-than-the-sweep"])
async def test_a_connection_is_closed_when_the_receiver_is_about_to_drop_it(
    monkeypatch: pytest.MonkeyPatch, delay_seconds: float
) -> None:
    """It says for how long it keeps one that is idle; what is swept meanwhile must not lose sight of it."""
    monkeypatch.setattr("services.delivery.destinations.http.sender.SWEEP_SECONDS", 0.05)
    closed = asyncio.Event()

    async def answer(connection: raw.Connection) -> None:
        await connection.request()
        await asyncio.sleep(delay_seconds)
        await connection.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=1\r\n\r\n"))
        await connection.closed()
        closed.set()

    async with sending.sender(LOOPBACK) as sender, raw.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=5)
        async with asyncio.timeout(3):
            await closed.wait()


@contextlib.asynccontextmanager
async def announcing(keep_alive: bytes) -> AsyncIterator[tuple[raw.Server, list[raw.Connection]]]:
    """A receiver that says so with each answer, and which of its connections were closed."""
    closed: list[raw.Connection] = []

    async def answer(connection: raw.Connection) -> None:
        try:
            while True:
                await connection.request()
                await connection.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: %b\r\n\r\n" % keep_alive))
        finally:
            closed.append(connection)

    async with raw.serving(answer) as server:
        yield server, closed


@pytest.mark.parametrize(
    ("keep_alive", "connections"),
    [
        (b"timeout=" + b"9" * 400, 1), (b"timeout=" + b"9" * 5000, 1), (b"timeout=" + b"9" * 18, 1),
        (b"timeout=-5", 1), (b"timeout=+5", 1), (b"timeout=", 1), (b"timeout", 1), (b"timeout= 0", 1),
        (b"timeout=1e400", 1), (b"timeout=\xb2", 1), (b"", 1), (b",,=,", 1), (b"max=5, Timeout=5", 1),
        (b"timeout=0", 3), (b"timeout=00001", 3), (b"timeout=5, timeout=0", 3),
    ],
)  # fmt: skip
async def test_whatever_a_receiver_says_of_its_idle_connections_none_is_lost_sight_of(
    keep_alive: bytes, connections: int
) -> None:
    """What is no number of seconds says nothing. Each connection is used again or closed."""
    async with announcing(keep_alive) as (server, closed):
        async with sending.sender(LOOPBACK) as sender:
            for _ in range(3):
                assert (await sender.send(post(server.url()), timeout_seconds=5)).status_code == 200
        assert len(server.connections) == connections
        await wait_until(lambda: len(closed) == connections, 3, what="all connections to be closed")


async def test_a_connection_is_closed_when_anything_goes_wrong_after_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As here, where a number is let through that no float can hold."""
    monkeypatch.setattr(http_connection, "MAX_LENGTH_DIGITS", 400)
    async with announcing(b"timeout=" + b"9" * 400) as (server, closed), sending.sender(LOOPBACK) as sender:
        with pytest.raises(OverflowError):
            await sender.send(post(server.url()), timeout_seconds=5)
        await wait_until(lambda: closed == server.connections, 3, what="its connection to be closed")
