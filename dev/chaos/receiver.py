"""The receiver: endpoints that return 200 after 20 to 500 ms, or do what they are told, and a log of every request."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from aiohttp import web

from dev.chaos import events
from dev.chaos.evidence import Request
from dev.harness.receiver import reset, serving

# More than a worker reads of a response.
FLOOD_CHUNK_BYTES = 64 << 10
FLOOD_CHUNKS = 64
# What an endpoint takes for an answer: so that many requests are out at a time, and a worker that is killed cuts them.
ANSWER_SECONDS = (0.02, 0.5)
DRIP_SECONDS = 0.3
SLOW_SECONDS = 1.0
# Shorter than the worker's deadline.
LAG_SECONDS = 3.0
# The statuses that a failing endpoint returns in turn.
ERRORS = (500, 503, 429, 404, 302)
# Not HTTP, so there is no status. With one, it would be a response, however broken its headers are.
GARBAGE = b"HTTP/1.1 \x00\xff\xfe\r\nX-\xff\x00: \xed\xa0\x80\r\n\r\n\x00"

OK = "ok"
Answer = Callable[[web.Request, Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Created by `receiving`. `modes` sets what each endpoint does; "slow" always takes a second."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.modes: dict[str, str] = {}
        self._answers: dict[str, Answer] = {
            OK: self._ok,
            "errs": self._errs,
            "hangs": self._hangs,
            "drips": self._drips,
            "resets": self._resets,
            "floods": self._floods,
            "garbles": self._garbles,
            "lags": self._lags,
        }
        self._errors = 0
        # It spreads the answers; nothing depends on which comes when.
        self._random = random.Random(0)  # noqa: S311
        self._closing = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record one request and respond to it."""
        begun_at = time.monotonic()
        delivery_id, event_id = (request.headers[f"X-Webhook-{name}-Id"] for name in ("Delivery", "Event"))
        version = request.headers.get("X-Webhook-Event-Version")
        found = events.read(await request.read(), event_id, delivery_id, version)
        seen = Request(delivery_id=UUID(delivery_id), begun_at=begun_at, **found)
        self.requests.append(seen)
        endpoint = request.path.removeprefix("/")
        if endpoint == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        try:
            return await self._answers[self.modes.get(endpoint, OK)](request, seen)
        except ConnectionError:
            # The worker did not wait for the end.
            return web.Response()

    def release(self) -> None:
        """End hanging requests."""
        self._closing.set()

    async def _ok(self, request: web.Request, seen: Request) -> web.StreamResponse:
        await asyncio.sleep(self._random.uniform(*ANSWER_SECONDS))
        return await _answer(request, seen, 200)

    async def _lags(self, request: web.Request, seen: Request) -> web.StreamResponse:
        await asyncio.sleep(LAG_SECONDS)
        return await _answer(request, seen, 200)

    async def _errs(self, request: web.Request, seen: Request) -> web.StreamResponse:
        self._errors += 1
        return await _answer(request, seen, ERRORS[self._errors % len(ERRORS)])

    async def _hangs(self, request: web.Request, seen: Request) -> web.StreamResponse:  # noqa: ARG002 - nothing is answered
        await self._closing.wait()
        reset(request)
        return web.Response()

    async def _drips(self, request: web.Request, seen: Request) -> web.StreamResponse:
        response = web.StreamResponse()
        seen.status = 200
        await response.prepare(request)
        while not self._closing.is_set():
            await response.write(b".")
            await asyncio.sleep(DRIP_SECONDS)
        return response

    async def _resets(self, request: web.Request, seen: Request) -> web.StreamResponse:  # noqa: ARG002 - nothing is answered
        reset(request)
        return web.Response()

    async def _floods(self, request: web.Request, seen: Request) -> web.StreamResponse:
        response = web.StreamResponse()
        seen.status = 200
        await response.prepare(request)
        for number in range(FLOOD_CHUNKS):
            await response.write(bytes(FLOOD_CHUNK_BYTES))
            if number == 1:
                seen.answered_at = time.monotonic()
        return response

    async def _garbles(self, request: web.Request, seen: Request) -> web.StreamResponse:  # noqa: ARG002 - nothing is answered
        if request.transport is not None:
            request.transport.write(GARBAGE)
            request.transport.close()
        return web.Response()


async def _answer(request: web.Request, seen: Request, status: int) -> web.StreamResponse:
    response = web.Response(status=status, body=b"ok")
    if request.transport is None or request.transport.is_closing():
        return response
    seen.status = status
    seen.answered_at = time.monotonic()
    await response.prepare(request)
    await response.write_eof()
    return response


@contextlib.asynccontextmanager
async def receiving(port: int) -> AsyncIterator[Receiver]:
    """Run a receiver on 127.0.0.1 until the context ends."""
    receiver = Receiver()
    async with serving(receiver.handle, port=port, cancels=False):
        try:
            yield receiver
        finally:
            receiver.release()
