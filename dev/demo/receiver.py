"""The receiver of the demo: a web server on this machine that fails twice before it works."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

# What it answers, request by request; then the last one for ever.
ANSWERS = ((500, "something broke"), (503, "come back later"), (200, "thank you"))


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came in."""

    # Names in lower case.
    headers: Mapping[str, str]
    body: bytes


@dataclass(kw_only=True)
class Receiver:
    """Where it listens, and what it got."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Keeps a request and answers it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Received(headers=headers, body=await request.read()))
        status, text = ANSWERS[min(len(self.requests), len(ANSWERS)) - 1]
        return web.Response(status=status, text=text)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1, gone with the context."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
