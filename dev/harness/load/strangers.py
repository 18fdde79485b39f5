"""HTTP/2 streams of a client without a key, which it opens at a gRPC server and never finishes.

Frames are handmade, because no gRPC client does this.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator

STREAMS = 4_096
# Connections, each with a message that is announced as long and never ends.
UNFINISHED_CONNECTIONS = 8
UNFINISHED_BYTES = 4 << 20
METHOD = "/webhook.v1.IngestService/Ingest"
CONNECT_TIMEOUT_SECONDS = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_HEADERS = 4


@contextlib.contextmanager
def open_streams(port: int) -> Iterator[None]:
    """Open a connection with many streams, and some with an unfinished message each, until the context ends."""
    with contextlib.ExitStack() as connections:
        crowd = connections.enter_context(_connect(port))
        _send(crowd, b"".join(_request(number) for number in range(STREAMS)))
        for _ in range(UNFINISHED_CONNECTIONS):
            _send(connections.enter_context(_connect(port)), _request(0) + _unfinished_message(_stream(0)))
        yield


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_SECONDS)
    # Do not wait until the server reads.
    connection.settimeout(0)
    _send(connection, _PREFACE + _frame(_SETTINGS, 0, 0, b""))
    return connection


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.send(data)


def _stream(number: int) -> int:
    return 2 * number + 1


def _request(number: int) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "stranger",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(_field(name.encode(), value.encode()) for name, value in fields.items())
    return _frame(_HEADERS, _END_HEADERS, _stream(number), block)


def _field(name: bytes, value: bytes) -> bytes:
    """RFC 7541, 6.2.2: a literal that is not indexed; both parts are shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _unfinished_message(stream: int) -> bytes:
    """Return as much of a message as the first HTTP/2 window allows."""
    message = b"\x00" + struct.pack(">I", UNFINISHED_BYTES) + bytes(60_000)
    size = 16_384
    return b"".join(_frame(_DATA, 0, stream, message[at : at + size]) for at in range(0, len(message), size))


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content
