# ruff: noqa: INP001 - mounted into a pod, and run there by its path
"""Where the demo's webhooks go: answers each after 50 ms, and counts the deliveries that it has seen, each once.

    python receiver.py PORT

A delivery is a path and a webhook-id; GET on a path answers how many came to it and to those below it.
"""

import asyncio
import os
import re
import sys

ANSWER_SECONDS = 0.05
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)


class Receiver:
    """What came, by path."""

    def __init__(self) -> None:
        self._seen: dict[str, set[bytes]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b" ", 2)
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                body = await self._answer(method, path.decode(), head)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: bytes, path: str, head: bytes) -> bytes:
        if method == b"GET":
            below = path.rstrip("/") + "/"
            return b"%d" % sum(len(ids) for each, ids in self._seen.items() if f"{each}/".startswith(below))
        await asyncio.sleep(ANSWER_SECONDS)
        if found := _ID.search(head):
            self._seen.setdefault(path, set()).add(found[1])
        return b""


async def main() -> None:
    """Serve until terminated."""
    server = await asyncio.start_server(Receiver().serve, os.environ.get("HOST"), int(sys.argv[1]))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
