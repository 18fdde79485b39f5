"""The limits of a client: how much it may send, for how long, and over how many connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from dev.harness.waiting import wait_until
from services.platform import ids
from services.platform.http import protocol, server
from services.platform.http.protocol import BoundedProtocol
from tests.gateway.fakes import Services

WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"
HEAD = f"POST {WEBHOOK} HTTP/1.1\r\nhost: x\r\n".encode()
BODY = b'content-length: 14\r\n\r\n{"payload": 1}'
# Less than the times after which a connection would end anyway.
NOW = 8.0


class Connection:
    """A client that can send any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def drip(self, data: bytes, times: int, pause_seconds: float) -> None:
        """Send the same bytes repeatedly, until the server stops reading."""
        for _ in range(times):
            await self.send(data)
            await asyncio.sleep(pause_seconds)

    async def answer_while_dripping(self, data: bytes, pause_seconds: float) -> tuple[int, dict[str, object]]:
        """Return the next response to a client that keeps sending until it arrives."""
        dripping = asyncio.create_task(self.drip(data, 1000, pause_seconds))
        try:
            return await self.answer()
        finally:
            dripping.cancel()

    async def answer(self) -> tuple[int, dict[str, object]]:
        """Return the status and the document of the next response."""
        async with asyncio.timeout(NOW):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            return int(head.split(" ")[1]), json.loads(await self._reader.readexactly(length))

    async def length(self) -> int:
        """Read the next response of any kind, and return its body."""
        async with asyncio.timeout(NOW):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            return len(await self._reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0])))

    async def stays(self, seconds: float) -> bool:
        """Return whether the server keeps the connection for this long without sending anything."""
        try:
            await asyncio.wait_for(self._reader.read(1), seconds)
        except TimeoutError:
            return True
        return False

    async def closed(self) -> bytes:
        """Wait until the server has closed, and return what came before."""
        async with asyncio.timeout(NOW):
            try:
                return await self._reader.read()
            except OSError:
                return b""


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to the gateway."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


class Application:
    """Reads a whole request, and responds with this many bytes, one piece after the other."""

    def __init__(self, answer_bytes: int = 0) -> None:
        self.answer_bytes = answer_bytes
        # Set for each request when its body has arrived.
        self.headers: list[dict[bytes, bytes]] = []
        self.header_counts: list[int] = []
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.headers.append(dict(scope["headers"]))
        self.header_counts.append(len(scope["headers"]))
        length = b"%d" % self.answer_bytes
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        left = self.answer_bytes
        while left:
            piece = min(left, 64 << 10)
            left -= piece
            await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.answered += 1


@contextlib.asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """Serve the application as the gateway is served."""
    listener = server.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with server.serving(application, listener, name="application", grace_seconds=1):
        yield f"http://127.0.0.1:{port}"


def headers(count: int, total_bytes: int = 0) -> bytes:
    """Return this many additional headers; the first is filled up so that all have this many bytes."""
    lines = [b"x-%d: y\r\n" % number for number in range(count)]
    lines[0] = lines[0][:-2] + b"y" * (total_bytes - sum(map(len, lines))) + b"\r\n"
    return b"".join(lines)


# -- how much --


async def test_a_request_may_have_a_hundred_headers_and_no_more(url: str, services: Services) -> None:
    for count, status in ((98, 202), (99, 431)):  # in addition to host and content-length
        async with connected(url) as client:
            await client.send(HEAD + headers(count) + BODY)
            found, document = await client.answer()
            assert found == status, document
            if status == 431:
                assert document["reason"] == "HEADERS_TOO_LARGE"
                assert await client.closed() == b""
    assert len(services.items) == 1


@pytest.mark.parametrize("piece_bytes", [1 << 20, 7000], ids=["at once", "in pieces"])
async def test_the_headers_of_a_request_have_a_bound_of_bytes(url: str, services: Services, piece_bytes: int) -> None:
    others = len(WEBHOOK) + len(b"host: x\r\n") + len(b"content-length: 14\r\n")
    for over, status in ((-200, 202), (1, 431)):
        request = HEAD + headers(3, protocol.MAX_HEAD_BYTES - others + over) + BODY
        async with connected(url) as client:
            for start in range(0, len(request), piece_bytes):
                await client.send(request[start : start + piece_bytes])
                await asyncio.sleep(0.001)
            assert (await client.answer())[0] == status
    assert len(services.items) == 1


async def test_headers_without_an_end_are_cut(url: str) -> None:
    async with connected(url) as client:
        await client.send(HEAD + b"x: ")
        await client.drip(b"y" * 10_000, 7, 0.001)
        status, document = await client.answer()
        assert (status, document["reason"]) == (431, "HEADERS_TOO_LARGE")
        assert await client.closed() == b""


async def test_trailers_without_an_end_are_cut(url: str, monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    monkeypatch.setattr(protocol, "MAX_REQUEST_BYTES", 200_000)
    async with connected(url) as client:
        await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\nx: ")
        await client.drip(b"y" * 50_000, 6, 0.001)
        assert await client.closed() == b""
    assert services.items == []


TRAILERS = b"authorization: Bearer x\r\nidempotency-key: k\r\nx-event-type: order.paid\r\n"


@pytest.mark.parametrize("pieces", [1, 2], ids=["with the body", "after the body"])
async def test_a_trailer_is_not_a_header(pieces: int) -> None:
    begin, end = HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n", TRAILERS + b"\r\n"
    application = Application()
    async with serving(application) as url, connected(url) as client:
        for _ in range(2):
            for piece in (begin, end) if pieces == 2 else (begin + end,):
                await client.send(piece)
                await asyncio.sleep(0.02)
            assert await client.length() == 0
    assert application.headers == [{b"host": b"x", b"transfer-encoding": b"chunked"}] * 2


async def test_a_key_or_a_type_in_a_trailer_is_none(url: str, services: Services) -> None:
    async with connected(url) as client:
        body = b'e\r\n{"payload": 1}\r\n0\r\n'
        await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n" + body + TRAILERS + b"\r\n")
        assert (await client.answer())[0] == 202
        await client.send(HEAD + b"idempotency-key: own\r\n" + BODY)
        assert (await client.answer())[0] == 202
    assert [(item.idempotency_key, item.event_type) for item in services.items] == [("", ""), ("own", "")]


async def test_trailers_are_not_kept_however_many_they_are() -> None:
    application = Application()
    async with serving(application) as url, connected(url) as client:
        await client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n")
        await client.drip(b"a: b\r\n" * 10_000, 10, 0)
        await client.send(b"\r\n")
        assert await client.length() == 0
    assert application.header_counts == [2]


async def test_the_rest_of_a_refused_body_is_discarded_within_a_bound(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_REQUEST_BYTES", 200_000)
    async with connected(url) as client:
        await client.send(HEAD + b"content-length: 1000000000\r\n\r\n")
        assert (await client.answer())[0] == 413
        await client.drip(b"y" * 50_000, 6, 0.001)
        assert await client.closed() == b""


async def test_unfinished_requests_have_a_bound_of_bytes_together(
    url: str, monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient
) -> None:
    await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="other tests' requests to end")
    monkeypatch.setattr(protocol, "MAX_UNFINISHED_BYTES", 40_000)
    async with connected(url) as first, connected(url) as second, connected(url) as third:
        for each in (first, second):
            await each.send(HEAD + b"content-length: 9900\r\n\r\n" + b"y" * 8000)
        await wait_until(lambda: BoundedProtocol.unfinished_bytes > 16_000, what="both to be held")
        await third.send(HEAD + b"content-length: 9900\r\n\r\n" + b"y" * 8000)
        assert await third.closed() == b""
        assert (await client.post(WEBHOOK, content=b"[]")).status_code == 202  # it arrives in one piece
        await first.send(b"y" * 1900)
        assert (await first.answer())[0] == 202
    await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="nothing to be held")


async def test_unfinished_requests_of_one_tenant_leave_room_for_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="other tests' requests to end")
    monkeypatch.setattr(protocol, "MAX_UNFINISHED_BYTES", 40_000)

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        """Read a body for a tenant that the path names."""
        scope[protocol.HOLDER] = scope["path"]
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def begun(tenant: str) -> bytes:
        return f"POST /{tenant} HTTP/1.1\r\nhost: x\r\ncontent-length: 9900\r\n\r\n".encode()

    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(held))

        async def begin(tenant: str, number: int) -> Connection:
            client = await stack.enter_async_context(connected(url))
            before = BoundedProtocol.unfinished_bytes
            await client.send(begun(tenant))
            await wait_until(lambda: BoundedProtocol.unfinished_bytes > before, what="the headers to come")
            await client.send(b"y" * number)
            return client

        greedy = [await begin("greedy", 8000) for _ in range(2)]
        await wait_until(lambda: BoundedProtocol.unfinished_bytes > 16_000, what="both to be held")
        refused = await begin("greedy", 8000)
        assert await refused.closed() == b""
        other = await begin("other", 8000)
        await other.send(b"y" * 1900)
        assert await other.length() == 0
        await greedy[0].send(b"y" * 1900)
        assert await greedy[0].length() == 0
    await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="nothing to be held")


async def test_the_rest_of_a_refused_body_takes_no_room_of_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="other tests' requests to end")
    monkeypatch.setattr(protocol, "MAX_UNFINISHED_BYTES", 40_000)
    async with connected(url) as refused, connected(url) as served:
        await refused.send(HEAD + b"content-length: 1000000000\r\n\r\n")
        assert (await refused.answer())[0] == 413
        await refused.drip(b"y" * 20_000, 10, 0.001)
        await wait_until(lambda: BoundedProtocol.unfinished_bytes == 0, what="nothing of it to be held")
        await served.send(HEAD + BODY[:-5])
        await wait_until(lambda: BoundedProtocol.unfinished_bytes > 0, what="a part to be held")
        await served.send(BODY[-5:])
        assert (await served.answer())[0] == 202
        await refused.send(b"y")  # and it is still there


async def test_connections_beyond_the_bound_are_closed_as_they_come(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(url) as served:
        await served.send(HEAD + BODY)
        assert (await served.answer())[0] == 202
        monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 0)
        async with connected(url) as refused:
            await refused.send(HEAD + BODY)
            assert await refused.closed() == b""
        await served.send(HEAD + BODY)
        assert (await served.answer())[0] == 202


# -- for how long --


async def test_a_connection_that_says_nothing_is_closed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with connected(url) as client:
        assert await client.closed() == b""


@pytest.mark.parametrize("begin", [HEAD, HEAD + BODY + HEAD], ids=["first", "second request"])
async def test_headers_that_drip_are_cut(url: str, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    async with connected(url) as client:
        await client.send(begin)
        if BODY in begin:
            assert (await client.answer())[0] == 202
        status, document = await client.answer_while_dripping(b"x", 0.05)
        assert (status, document["reason"]) == (408, "REQUEST_TIMEOUT")
        assert await client.closed() == b""


@pytest.mark.parametrize("path", [WEBHOOK, "/api/v1/subscriptions"])
@pytest.mark.parametrize("begin", [b"", b"{"], ids=["no body", "some body"])
async def test_a_body_that_drips_is_cut(
    url: str, monkeypatch: pytest.MonkeyPatch, services: Services, path: str, begin: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.8)
    async with connected(url) as client:
        await client.send(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode() + begin)
        await asyncio.sleep(0.4)
        status, document = await client.answer_while_dripping(b" ", 0.05)
        assert (status, document["reason"]) == (408, "REQUEST_TIMEOUT")
        assert await client.closed() == b""
    assert services.requests == []


async def test_a_request_in_pieces_that_ends_in_time_is_served_and_its_connection_kept(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 2.5)
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 3.0)
    async with connected(url) as client:
        for _ in range(2):
            for piece in (HEAD[:20], HEAD[20:] + BODY[:-5], BODY[-5:]):
                await client.send(piece)
                await asyncio.sleep(0.05)
            assert (await client.answer())[0] == 202
            assert await client.stays(3.1)


@pytest.mark.parametrize("ends", [b"\r\n", b"\n", b"\r\n" * 500], ids=["CR LF", "LF", "many"])
async def test_line_ends_keep_no_connection(monkeypatch: pytest.MonkeyPatch, ends: bytes) -> None:
    class Brief(BoundedProtocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.timeout_keep_alive = 0.3  # type: ignore[assignment]  # uvicorn's is of whole seconds

    monkeypatch.setattr(server, "BoundedProtocol", Brief)
    async with serving(Application()) as url, connected(url) as client:
        for _ in range(2):
            await client.send(HEAD + BODY)
            assert await client.length() == 0
            await client.send(ends)  # they may precede a request (RFC 9112, 2.2)
        dripping = asyncio.create_task(client.drip(ends, 1000, 0.05))
        try:
            assert await client.closed() == b""
        finally:
            dripping.cancel()


async def test_a_client_that_does_not_read_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.3)
    application = Application(answer_bytes=32 << 20)
    async with serving(application) as url, connected(url) as client:
        await client.send(HEAD + BODY)
        await wait_until(lambda: application.answered, NOW, what="nobody to wait for the client any more")
        assert len(await client.closed()) < application.answer_bytes


async def test_a_client_that_begins_to_read_in_time_gets_all_of_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 3.0)
    application = Application(answer_bytes=32 << 20)
    async with serving(application) as url, connected(url) as client:
        for _ in range(2):
            await client.send(HEAD + BODY)
            await asyncio.sleep(0.2)
            assert await client.length() == application.answer_bytes
            assert await client.stays(3.1)
        assert application.answered == 2
