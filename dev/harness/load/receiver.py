"""The receiver, which runs in its own process: python -m dev.harness.load.receiver [--tls CERTIFICATE KEY]."""

import asyncio
import itertools
import socket
import ssl
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import assert_never, cast

import msgspec
import uvloop

from dev.harness.load import payloads, pipes
from dev.harness.load.messages import Ask, Count, Forget, Listening, Received, ReceiverCommand, Report

# What bad endpoints do once they have read a request, by the behavior in the path.
#
# `hang` never responds. `drip` sends one byte a second. `endless-headers` never ends its headers. `flood` sends a
# gigabyte as fast as it is read. `reset` resets the connection. `error` returns 500 at once.


DRIP_SECONDS = 1.0
HEADER_SECONDS = 0.1
FLOOD_BYTES = 1 << 30
_DRIPPED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_CHUNK = bytes(64 << 10)
# On, with zero seconds: the connection is reset instead of closed.
_NO_LINGER = struct.pack("ii", 1, 0)


def _hang(_transport: asyncio.Transport) -> None:
    pass


def _drip(transport: asyncio.Transport) -> None:
    _slowly(transport, (_DRIPPED[index : index + 1] for index in range(len(_DRIPPED))), DRIP_SECONDS)


def _endless_headers(transport: asyncio.Transport) -> None:
    headers = (b"X-%d: and no end\r\n" % number for number in itertools.count())
    _slowly(transport, itertools.chain([b"HTTP/1.1 200 OK\r\n"], headers), HEADER_SECONDS)


def _flood(transport: asyncio.Transport) -> None:
    # Otherwise the kernel would copy megabytes that nobody reads, on the measured machine.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(_CHUNK))
    flood = _Flood(transport)
    transport.set_protocol(flood)
    flood.begin()


def _reset(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _error(transport: asyncio.Transport) -> None:
    transport.write(_ERROR)


BEHAVIOURS: Mapping[bytes, Callable[[asyncio.Transport], None]] = {
    b"hang": _hang,
    b"drip": _drip,
    b"endless-headers": _endless_headers,
    b"flood": _flood,
    b"reset": _reset,
    b"error": _error,
}


def _slowly(transport: asyncio.Transport, pieces: Iterator[bytes], seconds: float) -> None:
    """Write a piece at intervals, until there are no more or nobody reads."""
    if not transport.is_closing() and (piece := next(pieces, None)) is not None:
        transport.write(piece)
        asyncio.get_running_loop().call_later(seconds, _slowly, transport, pieces, seconds)


class _Flood(asyncio.Protocol):
    """Takes over the connection to learn when there is room for more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = FLOOD_BYTES
        self._may_write = True

    def begin(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD_BYTES)
        self._write()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._write()

    def _write(self) -> None:
        while self._may_write and self._left and not self._transport.is_closing():
            self._left -= len(_CHUNK)
            self._transport.write(_CHUNK)


# Paths are /BEHAVIOUR/STREAM. The stream is a number, such as that of a subscription. Behaviors: `ok` returns 200 at
# once, `after-100` after 100 ms, `again` returns 500 at first and 200 to the retry, which is the only one counted, and
# the bad ones above. Optimized for speed: a request is parsed only for its end and its stamp.


HOST = "127.0.0.1"
BACKLOG = 4096
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
# The generator wraps the payload if it sends directly to the receiver.
_WRAPPED = b'{"payload":'


class Log:
    """How often, and when, each sequence number arrived in each stream."""

    def __init__(self) -> None:
        self.deliveries = 0
        self._duplicates = 0
        self._seen: dict[int, bytearray] = {}
        self._moments, self._latencies = array("q"), array("d")

    def add(self, stream: int, sequence: int, sent_ns: int, now_ns: int) -> None:
        """Record one request."""
        seen = self._seen.get(stream)
        if seen is None:
            seen = self._seen[stream] = bytearray()
        if sequence >= len(seen):
            seen.extend(bytes(max(1024, sequence + 1 - len(seen))))
        if seen[sequence]:
            self._duplicates += 1
            return
        seen[sequence] = 1
        self.deliveries += 1
        self._moments.append(now_ns)
        self._latencies.append((now_ns - sent_ns) / 1e9)

    def report(self, began_ns: int, ended_ns: int) -> Received:
        """Return everything so far."""
        longest = max((len(seen) for seen in self._seen.values()), default=0)
        streams = array("H", bytes(2 * longest))
        for seen in self._seen.values():
            for sequence, came in enumerate(seen):
                streams[sequence] += came
        if sys.byteorder == "big":
            streams.byteswap()
        return Received(
            deliveries=self.deliveries,
            duplicates=self._duplicates,
            in_window=sum(began_ns <= moment < ended_ns for moment in self._moments),
            streams_by_sequence=streams.tobytes(),
            last_ns=self._moments[-1] if self._moments else 0,
            end_to_end_times=payloads.pack(self._latencies),
        )


class Receiver:
    """The log of the current run."""

    def __init__(self) -> None:
        self.log = Log()
        # Of the streams that fail at first: what has failed.
        self._failed: set[tuple[int, int]] = set()

    def is_first(self, stream: int, sequence: int) -> bool:
        """Whether a request comes for the first time; a retry of it then does not."""
        first = (stream, sequence) not in self._failed
        self._failed.add((stream, sequence))
        return first

    def answer(self, command: ReceiverCommand) -> msgspec.Struct:
        """Execute a command."""
        match command:
            case Forget():
                self.log, self._failed = Log(), set()
                return Count(deliveries=0)
            case Ask():
                return Count(deliveries=self.log.deliveries)
            case Report():
                return self.log.report(command.began_ns, command.ended_ns)
        assert_never(command)


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._began_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        else:
            self._began_ns = time.monotonic_ns()
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            begin = head.index(b"content-length:") + 15
            after = head.find(b"\r\n", begin)
            whole = end + 4 + int(head[begin : after if after >= 0 else end])
            if len(data) < whole:
                break
            self._request(head[: head.index(b"\r\n")], data, end + 4)
            data = data[whole:]
            self._began_ns = time.monotonic_ns()
        self._buffer = data

    def _request(self, line: bytes, data: bytes, offset: int) -> None:
        _, behaviour, stream = line.split(b" ", 2)[1].split(b"/", 2)
        if data.startswith(_WRAPPED, offset):
            offset += len(_WRAPPED)
        sequence, sent_ns = payloads.stamp(data, offset)
        if behaviour == b"again" and self._receiver.is_first(int(stream), sequence):
            assert self._transport is not None
            _error(self._transport)
            return
        self._receiver.log.add(int(stream), sequence, sent_ns, self._began_ns)
        if behaviour in {b"ok", b"again"}:
            self._answer()
        elif (misbehave := BEHAVIOURS.get(behaviour)) is not None:
            assert self._transport is not None
            misbehave(self._transport)
        else:
            self._loop.call_later(int(behaviour.removeprefix(b"after-")) / 1000, self._answer)

    def _answer(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def _main(context: ssl.SSLContext | None) -> None:
    receiver = Receiver()
    commands = await pipes.commands()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(receiver), HOST, 0, backlog=BACKLOG, ssl=context
    )
    pipes.answer(Listening(port=server.sockets[0].getsockname()[1]))
    while line := await commands.readline():
        pipes.answer(receiver.answer(msgspec.json.decode(line, type=ReceiverCommand)))
    server.close()


def main() -> None:
    """Receive until the input ends."""
    context = None
    match sys.argv[1:]:
        case ["--tls", certificate, key]:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
        case []:
            pass
        case arguments:
            sys.exit(f"unknown arguments {arguments}")
    uvloop.run(_main(context))


if __name__ == "__main__":
    main()
