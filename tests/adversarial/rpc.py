"""A client of gRPC that sends any bytes, and answers with the status that they got."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.adversarial import access

TIMEOUT_SECONDS = 10.0
OURS = "webhook.v1."

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method of a server, by the path that it is called by."""

    path: str
    request: Descriptor
    channel: Any

    def call(self, data: bytes, metadata: Metadata = ()) -> grpc.StatusCode:
        """The status of a call with these bytes."""
        return unary(self.channel, self.path, data, metadata)


def methods(channel: Any) -> Iterator[Method]:
    """Every method of this project's services, as reflection tells of them; all of them are unary."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    for name in database.get_services():
        if name.startswith(OURS):
            for method in pool.FindServiceByName(name).methods:
                assert not method.client_streaming
                assert not method.server_streaming
                yield Method(path=f"/{name}/{method.name}", request=method.input_type, channel=channel)


def unary(channel: Any, path: str, data: bytes, metadata: Metadata = ()) -> grpc.StatusCode:
    """The status of a unary call."""
    call = channel.unary_unary(path, request_serializer=None, response_deserializer=None)
    return _status(lambda: call(data, timeout=TIMEOUT_SECONDS, metadata=(*access.metadata(path), *metadata)))


def stream(
    channel: Any, path: str, parts: Iterable[bytes], *, timeout_seconds: float = TIMEOUT_SECONDS
) -> grpc.StatusCode:
    """The status of a call that sends a stream and reads one."""
    call = channel.stream_stream(path, request_serializer=None, response_deserializer=None)
    return _status(lambda: list(call(iter(parts), timeout=timeout_seconds, metadata=access.metadata(path))))


def _status(call: Callable[[], object]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
