"""The parsing of answers, against thousands of odd ones."""

import asyncio
import http.client
import io
import random
import time
from collections.abc import Sequence
from typing import Any, cast

import h11
import pytest

from dev.chaos.receiver import GARBAGE
from services.delivery.destinations.destination import Failure, SendError
from services.delivery.destinations.http.connection import Connection
from tests.delivery.destinations.odd_answers import ANSWERS

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
    """The status that a connection reads from these pieces and the end, or why it reads none."""
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
    """What http.client reads an answer from."""

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
    """As httpx reads it."""
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


async def test_whatever_common_clients_take_is_taken_unless_it_is_cut_short() -> None:
    """Where http.client overlooks a length behind a header that it cannot read, we may know that more is missing."""
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
            assert found.kind is Failure.CONNECTION_LOST, (answer, found.message)
            assert found.status_code, answer
            assert any(word in answer.lower() for word in (b"length", b"chunked")), answer
        else:
            assert 200 <= found < 300, answer
    assert taken > MUTATIONS / 3


async def test_what_chaos_answers_in_place_of_http_is_no_success() -> None:
    found = await by_us([GARBAGE])
    assert isinstance(found, SendError)
    assert (found.kind, found.status_code) == (Failure.INVALID_RESPONSE, None)


async def test_an_odd_head_that_drips_is_not_read_again_with_each_byte() -> None:
    """That would take five seconds of the worker's only thread."""
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
    """64 KiB in pieces, on a fresh connection and on a kept one, where the rest of an earlier answer is skipped."""
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
