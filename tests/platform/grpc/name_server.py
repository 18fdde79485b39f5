"""A DNS server for one kind of question (the IPv4 addresses of a name), whose answers can change."""

import asyncio
import contextlib
import ipaddress
import struct
from collections.abc import AsyncIterator

_HEADER_BYTES = 12
_TYPE_A = 1
# An authoritative response without an error.
_ANSWERED = 0x8400
_QUESTION_POINTER = 0xC00C


class NameServer(asyncio.DatagramProtocol):
    """Answers every name with `addresses` and a TTL of 0."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.questions = 0
        self.port = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions += 1
        end = data.index(b"\0", _HEADER_BYTES) + 5  # the name, its type and its class
        (kind,) = struct.unpack("!H", data[end - 4 : end - 2])
        known = self.addresses if kind == _TYPE_A else []
        records = b"".join(
            struct.pack("!HHHIH", _QUESTION_POINTER, _TYPE_A, 1, 0, 4) + ipaddress.IPv4Address(address).packed
            for address in known
        )
        head = data[:2] + struct.pack("!HHHHH", _ANSWERED, 1, len(known), 0, 0)
        self._transport.sendto(head + data[_HEADER_BYTES:end] + records, addr)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[NameServer]:
    """A name server on a free port of 127.0.0.1."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
