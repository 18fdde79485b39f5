"""Return 202 for every request and do nothing else: python -m dev.benchmarks.floor.accept."""

from typing import Any

import uvloop

from dev.harness.load import pipes
from dev.harness.load.messages import Listening
from services.platform.http import server

HOST = "127.0.0.1"
BODY = b'{"status":"pending"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's signature
    """Read the whole body, and respond."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _main() -> None:
    commands = await pipes.commands()
    listener = server.bind(HOST, 0)
    async with server.serving(application, listener, name="floor", grace_seconds=1):
        pipes.answer(Listening(port=listener.getsockname()[1]))
        await commands.read()


def main() -> None:
    """Serve until the input ends."""
    uvloop.run(_main())


if __name__ == "__main__":
    main()
