"""Names that resolve as a test says, and a receiver that sees by which of its addresses it was reached."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from services.domain.egress.policy import Policy
from tests.delivery.sending import OK

# Here 127.0.0.1 and ::1 stand for the internet, and the rest of loopback for what is private.
POLICY = Policy.parse(["127.0.0.1", "::1"])
PRIVATE = "127.0.0.2"


class Names:
    """Answers in place of the system's resolver: one after the other, then the last."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def getaddrinfo(self, _: str, port: int, **__: object) -> list[Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in answer]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, answer, strict=True)
        ]


Naming: TypeAlias = Callable[..., Names]


@contextlib.asynccontextmanager
async def everywhere(*, hang: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """A receiver on every IPv4 address of this machine: its port, and the addresses that were connected to."""
    reached: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not hang:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    try:
        yield server.sockets[0].getsockname()[1], reached
    finally:
        server.close()
