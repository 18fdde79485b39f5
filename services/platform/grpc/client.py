"""Channels to the other services."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias, cast

import grpc

from services.platform import errors, ids
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc.tls import Certificates, Material
from services.platform.process.shares import OWNER, Shares
from services.platform.process.whole import Near
from services.platform.tracing import spans

_Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
_Options: TypeAlias = Sequence[tuple[str, int | str]]

# For the calls that are out on a channel whose certificate was renewed: as long as a call or a stream may take.
CLOSE_GRACE_SECONDS = 90.0

_OPTIONS = (
    # The other services are never behind a proxy: gRPC would ask the one in http_proxy even for 127.0.0.1.
    ("grpc.enable_http_proxy", 0),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A name is looked up again when a server sends the client away; 30 s would be the library's own bound.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


# Calls on behalf of tenants at once, of the 128 that a server takes on a connection.
SHARED_CALLS = 96
# Channels to one address share a connection, unless they are told not to.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


class _Carrying:
    """A channel whose calls carry the service key, and the request and the trace that they belong to.

    A client interceptor would make a task for each of them. Unary calls on behalf of tenants share the channel; streams
    last, and take no place of theirs.
    """

    def __init__(self, channel: grpc.aio.Channel, service_key: str) -> None:
        self._channel = channel
        self._shares = Shares(SHARED_CALLS)
        self._metadata = (("authorization", f"Bearer {service_key}"),) if service_key else ()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a call, as a stub makes it."""
        call: Any = self._channel.unary_unary(*arguments, **options)

        def carrying(request: Any, *, metadata: _Metadata = (), **options: Any) -> Any:
            made = functools.partial(call, request, metadata=self._carried(metadata), **options)
            return made() if OWNER.get() is None else self._shared(made, options.get("timeout"))

        return carrying

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a call whose responses are a stream, as a stub makes it."""
        call: Any = self._channel.unary_stream(*arguments, **options)

        def carrying(request: Any, *, metadata: _Metadata = (), **options: Any) -> Any:
            return call(request, metadata=self._carried(metadata), **options)

        return carrying

    def _carried(self, metadata: _Metadata) -> _Metadata:
        """Return the metadata of a call that is made now."""
        span = spans.CURRENT.get()
        traced = () if span is None else ((spans.TRACEPARENT, span.traceparent),)
        request_id = ids.CURRENT_REQUEST_ID.get()
        asked = () if request_id is None else ((ids.REQUEST_ID_HEADER, request_id),)
        return (*metadata, *self._metadata, *asked, *traced)

    async def _shared(self, made: Callable[[], Any], wait_seconds: float | None) -> Any:
        async with self._shares.taken(wait_seconds=wait_seconds):
            return await made()


class _NearFirst:
    """A channel whose unary calls are made directly while the role that they are for serves in this process.

    A call that this copy of the role refuses because it has too much to do is made again over the network, where
    another copy may answer it.
    """

    def __init__(self, channel: grpc.aio.Channel, near: Callable[[], Near | None]) -> None:
        self._channel = channel
        self._near = near

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return a call, as a stub makes it."""
        far: Any = self._channel.unary_unary(method, *arguments, **options)

        def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: _Metadata = (),
        ) -> Any:
            near = self._near()
            if near is None or not near.serves(method):
                return far(request, timeout=timeout, metadata=metadata)
            return _near_or_far(near, method, far, request, timeout, metadata)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a call whose responses are a stream, as a stub makes it. It is always made over the network."""
        return self._channel.unary_stream(*arguments, **options)


async def _near_or_far(
    near: Near, method: str, far: Callable[..., Any], request: Any, timeout_seconds: float | None, metadata: _Metadata
) -> Any:
    began = time.monotonic()
    try:
        return await near.call(method, request, timeout_seconds, metadata)
    except grpc.aio.AioRpcError as error:
        if not _is_overloaded(error):
            raise
    left_seconds = None if timeout_seconds is None else timeout_seconds - (time.monotonic() - began)
    return await far(request, timeout=left_seconds, metadata=metadata)


def _is_overloaded(error: grpc.aio.AioRpcError) -> bool:
    """Whether this copy of a role has too much to do, rather than a tenant too many calls, or all copies."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    return grpc_errors.from_rpc_error(error).reason is errors.ErrorReason.OVERLOADED


class _Renewed:
    """A channel over TLS that is replaced with each certificate, because a channel's credentials cannot change."""

    def __init__(self, address: str, certificates: Certificates, options: _Options) -> None:
        self._address = address
        self._certificates = certificates
        self._options = options
        self._made_for, self._channel = self._make()
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return a call, as a stub makes it, on the channel that is current when it is called."""
        return self._current("unary_unary", *arguments, **options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return the same for a call whose responses are a stream."""
        return self._current("unary_stream", *arguments, **options)

    def _current(self, kind: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        made_on, method = self._channel, getattr(self._channel, kind)(*arguments, **options)

        def call(*request: Any, **more: Any) -> Any:
            nonlocal made_on, method
            channel = self._now()
            if made_on is not channel:
                made_on, method = channel, getattr(channel, kind)(*arguments, **options)
            return method(*request, **more)

        return call

    async def close(self) -> None:
        """Close the channel, and earlier ones that are still closing."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close()

    def _now(self) -> grpc.aio.Channel:
        if self._made_for is not self._certificates.current:
            old = self._channel
            self._made_for, self._channel = self._make()
            task = asyncio.create_task(old.close(CLOSE_GRACE_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return self._channel

    def _make(self) -> tuple[Material, grpc.aio.Channel]:
        channel = grpc.aio.secure_channel(self._address, self._certificates.of_client(), options=self._options)
        return self._certificates.current, channel


@contextlib.asynccontextmanager
async def channel(
    address: str,
    *,
    service_key: str = "",
    certificates: Certificates | None = None,
    own_connection: bool = False,
    near: Callable[[], Near | None] | None = None,
) -> AsyncIterator[grpc.aio.Channel]:
    """Yield a channel that balances over all addresses of a name and reconnects quickly after an outage.

    Its calls carry the service's own key, if set. With certificates it uses TLS, and the server's certificate must
    match the name in `address`. With a connection of its own its calls never wait for those of other channels: a server
    takes a limited number on each connection. `near` returns the role itself while it serves in this process.
    """
    options = (*_OPTIONS, _OWN_CONNECTION) if own_connection else _OPTIONS
    created: grpc.aio.Channel
    if certificates:
        created = cast("grpc.aio.Channel", _Renewed(address, certificates, options))
    else:
        created = grpc.aio.insecure_channel(address, options=options)
    inner = created if near is None else cast("grpc.aio.Channel", _NearFirst(created, near))
    try:
        yield cast("grpc.aio.Channel", _Carrying(inner, service_key))
    finally:
        await created.close()
