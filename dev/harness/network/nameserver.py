"""A DNS server on this machine that answers as a test says: it hangs, fails, truncates answers, and counts queries.

async with nameserver.serving() as server:
    server.say("receiver.example", "127.0.0.1", "::1")
    server.hang("*.hanging.example")
    ... server.configuration
"""

import asyncio
import contextlib
import ipaddress
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

A, CNAME, SOA, AAAA, OPT = 1, 5, 6, 28, 41
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_ANSWER, _TRUNCATED = 0x8580, 0x0200  # a response, authoritative, with recursion
_IN = 1
_POINTER = 0xC0
START_SECONDS = 10.0
# A pointer to the name in the question.
_TO_QUESTION = struct.pack("!H", _POINTER << 8 | _HEADER.size)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The answers for a name."""

    # Answers to lookups, one after the other, and then always the last.
    answers: deque[tuple[str, ...]] = field(default_factory=deque)
    looked_up: list[str] = field(default_factory=list)
    alias: str | None = None
    code: int = NO_ERROR
    hang: bool = False
    # Truncated over UDP, so that the client asks again over TCP.
    truncated: bool = False
    ttl_seconds: int = 0


class Nameserver(asyncio.DatagramProtocol):
    """Serve until the context ends. Names without answers do not exist."""

    def __init__(self) -> None:
        self.port = 0
        # Names and types of the questions, in order.
        self.asked: list[tuple[str, int]] = []
        self._entries: dict[str, Entry] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def say(self, name: str, *addresses: str, truncated: bool = False, ttl_seconds: int = 0) -> None:
        """Set the addresses of a name; "*.zone" is every name under a zone, "*" every name."""
        self.say_in_turn(name, addresses, truncated=truncated, ttl_seconds=ttl_seconds)

    def say_in_turn(self, name: str, *answers: tuple[str, ...], truncated: bool = False, ttl_seconds: int = 0) -> None:
        """Set different addresses for each lookup of a name, and then always the last ones."""
        self._entries[name] = Entry(answers=deque(answers), truncated=truncated, ttl_seconds=ttl_seconds)

    def alias(self, name: str, other: str) -> None:
        """Make a name a CNAME of another one."""
        self._entries[name] = Entry(alias=other)

    def fail(self, name: str, code: int = SERVER_FAILURE) -> None:
        """Answer with an error."""
        self._entries[name] = Entry(code=code)

    def hang(self, name: str) -> None:
        """Never answer."""
        self._entries[name] = Entry(hang=True)

    def look_ups(self, name: str) -> int:
        """Return how often the IPv4 addresses of a name were requested, which every lookup does."""
        return self.asked.count((name, A))

    @property
    def configuration(self) -> dict[str, Any]:
        """Return the c-ares configuration for this server."""
        return {"nameservers": ["127.0.0.1"], "udp_port": self.port, "tcp_port": self.port}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a query over UDP."""
        answer = self._answer(data, over_tcp=False)
        if answer and self._transport is not None:
            self._transport.sendto(answer, addr)

    async def over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of a connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self._answer(await reader.readexactly(length), over_tcp=True)
                if answer:
                    writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    def _answer(self, query: bytes, *, over_tcp: bool) -> bytes | None:
        number, flags, *_ = _HEADER.unpack_from(query)
        name, end = _read_name(query, _HEADER.size)
        kind, _ = _QUESTION.unpack_from(query, end)
        question = query[_HEADER.size : end + _QUESTION.size]
        self.asked.append((name, kind))
        entry = self._entry(name)
        if entry is None:
            return _message(number, flags, question, NO_SUCH_NAME, [])
        if entry.hang:
            return None
        if entry.truncated and not over_tcp:
            return _message(number, flags | _TRUNCATED, question, NO_ERROR, [])
        records = []
        owner = _TO_QUESTION
        if entry.alias is not None:
            other = _write_name(entry.alias)
            records.append(_record(owner, CNAME, other, entry.ttl_seconds))
            owner, entry = other, self._entry(entry.alias) or Entry(code=NO_SUCH_NAME)
        if kind == A:
            if entry.looked_up and len(entry.answers) > 1:
                entry.answers.popleft()
            entry.looked_up.append(name)
        addresses = map(ipaddress.ip_address, entry.answers[0] if entry.answers else ())
        packed = (address.packed for address in addresses if kind == (A if address.version == 4 else AAAA))
        records += [_record(owner, kind, address, entry.ttl_seconds) for address in packed]
        return _message(number, flags, question, entry.code, records)

    def _entry(self, name: str) -> Entry | None:
        zone = name
        while zone:
            found = self._entries.get(zone if zone == name else f"*.{zone}")
            if found is not None:
                return found
            zone = zone.partition(".")[2]
        return self._entries.get("*")


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _write_name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _record(owner: bytes, kind: int, data: bytes, ttl_seconds: int) -> bytes:
    return owner + _RECORD.pack(kind, _IN, ttl_seconds, len(data)) + data


def _message(number: int, flags: int, question: bytes, code: int, records: list[bytes]) -> bytes:
    head = _HEADER.pack(number, _ANSWER | flags & _TRUNCATED | code, 1, len(records), 0, 0)
    return head + question + b"".join(records)


@contextlib.contextmanager
def beside() -> Iterator[Nameserver]:
    """Serve in a thread, for a program without an event loop. Say what it answers before the first question."""
    started: Future[Nameserver] = Future()
    stopped = threading.Event()

    async def serve() -> None:
        async with serving() as server:
            started.set_result(server)
            await asyncio.to_thread(stopped.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="nameserver")
    thread.start()
    try:
        yield started.result(START_SECONDS)
    finally:
        stopped.set()
        thread.join()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Nameserver]:
    """Serve on one free port of 127.0.0.1, over UDP and TCP."""
    server = Nameserver()
    tcp = await asyncio.start_server(server.over_tcp, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", server.port))
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
