"""One connection: which responses end it, and when it is used again."""

import asyncio
import contextlib
import http.client
import io
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import h11
import pytest

from dev.chaos.receiver import GARBAGE
from dev.harness.waiting import wait_until
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import connection as http_connection
from services.delivery.destinations.http.connection import Connection
from services.delivery.destinations.http.sender import HttpSender
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.destinations.odd_answers import ANSWERS
from tests.delivery.sending import OK, failure, post
from tests.delivery.world import LOOPBACK

# Connections are kept, and requests that die with them are classified correctly.


def closing_after(first: bytes, *, reset: bool = False) -> sending.Answer:
    """Respond to the first request of each connection, read the second one, and close without a response."""

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(first)
        await connection.request()
        if reset:
            connection.reset()

    return answer


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_kept_connection_that_dies_before_any_byte_is_worth_a_fresh_one(
    sender: HttpSender, *, reset: bool
) -> None:
    async with sending.serving(closing_after(OK, reset=reset)) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        found = await failure(sender, server.url())
        assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECTION_LOST, None, True)
        again = await sender.send(post(server.url()), timeout_seconds=30, fresh=True)
        assert again.status_code == 200
        assert len(server.connections) == 2


async def test_a_kept_connection_that_dies_after_the_status_is_not_worth_a_fresh_one(sender: HttpSender) -> None:
    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async with sending.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        found = await failure(sender, server.url())
    assert (found.kind, found.status_code, found.reused) == (AttemptOutcome.CONNECTION_LOST, 200, False)


async def test_a_request_is_never_repeated_by_the_client_itself(sender: HttpSender) -> None:
    async with sending.serving(closing_after(OK)) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        await failure(sender, server.url())
        assert [len(connection.heads) for connection in server.connections] == [2]


async def test_a_connection_that_the_receiver_closed_while_idle_is_not_used(sender: HttpSender) -> None:
    async with sending.serving(sending.answering(OK)) as server:
        for _ in range(3):
            assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code == 200
            await wait_until(server.connections[-1].writer.is_closing, what="the receiver to close")
            await asyncio.sleep(0.05)  # until the FIN arrives
        assert len(server.connections) == 3


async def test_a_connection_is_not_kept_after_a_timeout(sender: HttpSender) -> None:
    async def late(connection: sending.Connection) -> None:
        while True:
            await connection.request()
            if len(server.connections) == 1:
                await asyncio.sleep(0.2)
            await connection.send(OK)

    async with sending.serving(late) as server:
        assert (await failure(sender, server.url(), timeout_seconds=0.1)).kind is AttemptOutcome.TIMEOUT
        assert (await sender.send(post(server.url()), timeout_seconds=30)).body == b"ok"
        assert len(server.connections) == 2


@pytest.mark.parametrize("delay_seconds", [0.0, 0.2], ids=["quick", "slower-than-the-sweep"])
async def test_a_connection_is_closed_when_the_receiver_is_about_to_drop_it(
    monkeypatch: pytest.MonkeyPatch, delay_seconds: float
) -> None:
    """The receiver announces how long it keeps an idle connection; a sweep at that time must not lose track of it."""
    monkeypatch.setattr("services.delivery.destinations.http.sender.SWEEP_SECONDS", 0.05)
    closed = asyncio.Event()

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        await asyncio.sleep(delay_seconds)
        await connection.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=1\r\n\r\n"))
        await connection.closed()
        closed.set()

    async with sending.sender(LOOPBACK) as sender, sending.serving(answer) as server:
        await sender.send(post(server.url()), timeout_seconds=30)
        async with asyncio.timeout(20):
            await closed.wait()


@contextlib.asynccontextmanager
async def announcing(keep_alive: bytes) -> AsyncIterator[tuple[sending.Server, list[sending.Connection]]]:
    """A receiver that announces this in each response, and which of its connections were closed."""
    closed: list[sending.Connection] = []

    async def answer(connection: sending.Connection) -> None:
        try:
            while True:
                await connection.request()
                await connection.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: %b\r\n\r\n" % keep_alive))
        finally:
            closed.append(connection)

    async with sending.serving(answer) as server:
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
async def test_idle_connections_are_tracked_for_any_value_of_keep_alive(keep_alive: bytes, connections: int) -> None:
    """Anything that is not a number of seconds is ignored. Each connection is used again or closed."""
    async with announcing(keep_alive) as (server, closed):
        async with sending.sender(LOOPBACK) as sender:
            for _ in range(3):
                assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code == 200
        assert len(server.connections) == connections
        await wait_until(lambda: len(closed) == connections, what="all connections to be closed")


async def test_a_connection_is_closed_when_anything_goes_wrong_after_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if a number were accepted that no float can represent."""
    monkeypatch.setattr(http_connection, "MAX_LENGTH_DIGITS", 400)
    async with announcing(b"timeout=" + b"9" * 400) as (server, closed), sending.sender(LOOPBACK) as sender:
        with pytest.raises(OverflowError):
            await sender.send(post(server.url()), timeout_seconds=30)
        await wait_until(lambda: closed == server.connections, what="its connection to be closed")


# Parsing of responses, with thousands of odd ones.


MUTATIONS = 4000


SPICE = (
    b"\n", b"\r", b"\r\n", b" ", b"\t", b"\x00", b"\x01", b"\xff", b":", b";", b",", b"0", b"2", b"a", b"\r\n\r\n",
    b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n",
)  # fmt: skip


class Transport:
    """A transport that sends nothing."""

    def writelines(self, parts: Sequence[bytes]) -> None:
        pass

    def get_extra_info(self, _: str) -> "Transport":
        return self

    def setsockopt(self, *_: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


async def by_us(pieces: Sequence[bytes]) -> int | SendError:
    """Return the status that a connection reads from these pieces and the end, or why it reads none."""
    connection = Connection(64 << 10, 4 << 10)
    connection.connection_made(cast("Any", Transport()))
    exchange = asyncio.ensure_future(connection.exchange(b"", b""))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    try:
        return (await exchange).status_code
    except SendError as error:
        return error


class Socket:
    """A socket from which http.client reads a response."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def by_http_client(answer: bytes) -> int | None:
    response = http.client.HTTPResponse(cast("Any", Socket(answer)), method="POST")
    try:
        response.begin()
        response.read()
    except (http.client.HTTPException, ValueError):
        return None
    return response.status


def by_h11(answer: bytes) -> int | None:
    """Return the status that httpx reads."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    status = None
    try:
        connection.receive_data(answer)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                return status
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return None
    except (h11.RemoteProtocolError, RuntimeError):
        return None


def mutated(chosen: random.Random, answer: bytes) -> bytes:
    made = bytearray(answer)
    for _ in range(chosen.choice((1, 1, 2, 3))):
        at = chosen.randrange(len(made) + 1)
        made[at : at + chosen.choice((0, 0, 1, 5))] = chosen.choice((*SPICE, b""))
    return bytes(made)


async def test_responses_that_common_clients_accept_are_accepted_unless_truncated() -> None:
    """If http.client ignores a length after a header that it cannot parse, we may know that more is missing."""
    chosen, taken = random.Random(1), 0
    answers = [answer for answer, _ in ANSWERS.values() if len(answer) < 500]
    for _ in range(MUTATIONS):
        answer = mutated(chosen, chosen.choice(answers))
        cut = chosen.randrange(len(answer) + 1)
        statuses = {by_http_client(answer), by_h11(answer)}
        found = await by_us([piece for piece in (answer[:cut], answer[cut:]) if piece])
        if not any(status and 200 <= status < 300 for status in statuses):
            continue
        taken += 1
        if isinstance(found, SendError):
            assert found.kind is AttemptOutcome.CONNECTION_LOST, (answer, found.message)
            assert found.status_code, answer
            assert any(word in answer.lower() for word in (b"length", b"chunked")), answer
        else:
            assert 200 <= found < 300, answer
    assert taken > MUTATIONS / 3


async def test_garbage_that_chaos_sends_in_place_of_http_is_not_a_success() -> None:
    found = await by_us([GARBAGE])
    assert isinstance(found, SendError)
    assert (found.kind, found.status_code) == (AttemptOutcome.INVALID_RESPONSE, None)


async def test_an_odd_head_that_drips_is_not_read_again_with_each_byte() -> None:
    """Reading it again would take five seconds of the worker's only thread."""
    connection = Connection(64 << 10, 4 << 10)
    connection.connection_made(cast("Any", Transport()))
    exchange = asyncio.ensure_future(connection.exchange(b"", b""))
    await asyncio.sleep(0)
    began = time.process_time()
    connection.data_received(b"HTTP/1.1 200 OK\nX: ")
    for _ in range(33_000):
        connection.data_received(b"a\n")
    assert time.process_time() - began < 2
    with pytest.raises(SendError, match="headers are over 65536 bytes"):
        await exchange


@pytest.mark.parametrize(
    "piece",
    [b"HTTP/1.1 100 C\n\n", b"HTTP/1.1.1.1", b"HTTP/1.1  ", b"HTTP/1.1 0000", b"x\n\n", b"\r\r\r"],
    ids=["interim answers", "versions", "spaces", "zeros", "ends", "CR"],
)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "kept"])
async def test_heads_that_are_made_to_be_slow_are_not(piece: bytes, *, used: bool) -> None:
    """64 KiB in pieces, on a new connection and on a kept one, where the rest of an earlier response is skipped."""
    answer = b"HTTP/1.1 100 C\n" + piece * ((64 << 10) // len(piece))
    connection = Connection(64 << 10, 4 << 10)
    connection.connection_made(cast("Any", Transport()))
    if used:
        first = asyncio.ensure_future(connection.exchange(b"", b""))
        await asyncio.sleep(0)
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await first
    exchange = asyncio.ensure_future(connection.exchange(b"", b""))
    await asyncio.sleep(0)
    began = time.process_time()
    for at in range(0, len(answer), 16):
        connection.data_received(answer[at : at + 16])
    connection.connection_lost(None)
    assert time.process_time() - began < 3
    with pytest.raises(SendError):
        await exchange
