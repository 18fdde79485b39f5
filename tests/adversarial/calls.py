"""How these tests talk to the stack: credentials, raw HTTP, raw gRPC, and small changes to valid bytes."""

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import strategies as st

from dev.harness import keys
from services.platform.auth import roles
from services.platform.auth.roles import Role

# The credentials of all requests of these tests, in one place.


# Variables of the stack.
ENVIRONMENT: Mapping[str, str] = keys.ENVIRONMENT
# Headers of REST.
HEADERS: Mapping[str, str] = keys.bearer(keys.ADMIN_KEY)


def credentials(path: str) -> Sequence[tuple[str, str]]:
    """Return the metadata of a gRPC call to this method: a gateway's if only a gateway may call it, or an admin's."""
    rule = roles.RULES.get(path)
    of_gateway = rule is not None and rule.least is Role.SERVICE
    return keys.metadata(keys.SERVICE_KEY if of_gateway else keys.ADMIN_KEY)


def header_lines() -> bytes:
    """Return the headers as in a raw request, each with its line end."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in HEADERS.items())


# A client of the gateway that sends any bytes, and reads every response.


# How long to wait for the first response, and then for another one that was not requested.
ANSWER_SECONDS = 30.0
QUIET_SECONDS = 0.3
# The same where the server is to close the connection then.
CLOSED_SECONDS = 10.0
_HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The result of sending bytes: the responses in order, other bytes, and whether the connection ended."""

    statuses: tuple[int, ...]
    rest: bytes
    closed: bool


def request(line: bytes, *headers: bytes, body: bytes = b"", host: bytes = b"Host: gateway\r\n") -> bytes:
    """Return a request that the service authorizes, with these headers."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return line + b"\r\n" + host + header_lines() + lines + b"\r\n" + body


async def exchange(
    port: int, *pieces: bytes, pause_seconds: float = 0.0, expected: int = 1, quiet_seconds: float = QUIET_SECONDS
) -> Exchange:
    """Send the pieces over one connection, and read until it ends, or until nothing follows this many responses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, closed = b"", False
    try:
        with contextlib.suppress(ConnectionError):  # refused before the whole request was read
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
        with contextlib.suppress(TimeoutError):
            while not closed:
                quiet = len(_answers(received)[0]) >= expected
                data = await asyncio.wait_for(_read(reader), quiet_seconds if quiet else ANSWER_SECONDS)
                received += data
                closed = not data
    finally:
        writer.transport.abort()
    statuses, rest = _answers(received)
    return Exchange(statuses=statuses, rest=rest, closed=closed)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 16)
    except ConnectionError:
        return b""


def _answers(received: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the statuses of the complete responses at the beginning, without interim ones, and what follows them."""
    statuses, at = [], 0
    while head := _HEAD.match(received, at):
        length = _LENGTH.search(head[2])
        end = head.end() + (int(length[1]) if length else 0)
        if end > len(received):
            break
        at = end
        if head[1][:1] != b"1":
            statuses.append(int(head[1]))
    return tuple(statuses), received[at:]


# A gRPC client that sends any bytes, and returns the resulting status.


TIMEOUT_SECONDS = 30.0
OURS = "webhook.v1."
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method of a server, by its path."""

    path: str
    request: Descriptor
    channel: Any

    def call(self, data: bytes, metadata: Metadata = ()) -> grpc.StatusCode:
        """Return the status of a call with these bytes."""
        return unary(self.channel, self.path, data, metadata)


REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class _Identified(grpc.StreamStreamClientInterceptor):
    """Shows a key to reflection, whose client takes no metadata."""

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=credentials(REFLECTION)), requests)


def methods(channel: Any) -> Iterator[Method]:
    """Return every method of this project's services that reflection lists; all of them take one request."""
    database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, _Identified()))
    pool = DescriptorPool(database)
    for name in database.get_services():
        if name.startswith(OURS):
            for method in pool.FindServiceByName(name).methods:
                assert not method.client_streaming
                yield Method(path=f"/{name}/{method.name}", request=method.input_type, channel=channel)


# What answers these goes on for as long as somebody reads: the first message says enough.
ENDLESS = frozenset(("/webhook.v1.DeliveryService/Watch", "/webhook.v1.DeliveryService/Pull"))
# These wait for deliveries: none within this time is an answer, too.
WAITING = frozenset(("/webhook.v1.DeliveryService/Pull", "/webhook.v1.DeliveryService/PullDeliveries"))
WAIT_SECONDS = 1.0


def _all(path: str, answers: Any) -> None:
    for _ in answers:
        if path in ENDLESS:
            answers.cancel()
            return


def unary(channel: Any, path: str, data: bytes, metadata: Metadata = ()) -> grpc.StatusCode:
    """Return the status of a call with one request, and one response or a stream of them."""
    call = channel.unary_stream(path, request_serializer=None, response_deserializer=None)
    timeout = WAIT_SECONDS if path in WAITING else TIMEOUT_SECONDS
    answers = functools.partial(call, data, timeout=timeout, metadata=(*credentials(path), *metadata))
    found = _status(lambda: _all(path, answers()))
    return grpc.StatusCode.OK if path in WAITING and found is grpc.StatusCode.DEADLINE_EXCEEDED else found


def stream(
    channel: Any, path: str, parts: Iterable[bytes], *, timeout_seconds: float = TIMEOUT_SECONDS
) -> grpc.StatusCode:
    """Return the status of a call that sends a stream and reads one."""
    call = channel.stream_stream(path, request_serializer=None, response_deserializer=None)
    return _status(lambda: _all(path, call(iter(parts), timeout=timeout_seconds, metadata=credentials(path))))


def _status(call: Callable[[], object]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# Small changes to bytes, generated by hypothesis.


# The position (as a share of the whole), the number of bytes to remove, and the bytes to insert.
Change: TypeAlias = tuple[float, int, bytes]


def changes(*pieces: bytes, most: int = 4) -> st.SearchStrategy[list[Change]]:
    """Generate changes that insert a few bytes, or one of the pieces."""
    put = st.binary(max_size=4) | st.sampled_from(pieces)
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5), put), min_size=1, max_size=most)


def changed(whole: bytes, made: Sequence[Change]) -> bytes:
    """Return the bytes after these changes, one after the other."""
    found = bytearray(whole)
    for where, length, piece in made:
        begin = int(where * len(found))
        found[begin : begin + length] = piece
    return bytes(found)
