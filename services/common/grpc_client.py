"""Channels to the other services."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc


class _Keyed:
    """A channel whose unary calls carry the service key. A client interceptor would make a task for each of them."""

    def __init__(self, channel: grpc.aio.Channel, service_key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {service_key}"),)

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """A call, as a stub makes it."""
        call = self._channel.unary_unary(*arguments, **options)
        own = self._metadata

        def keyed(request: Any, *, metadata: tuple[tuple[str, str], ...] = (), **how: Any) -> Any:
            return call(request, metadata=own + metadata, **how)

        return keyed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


@contextlib.asynccontextmanager
async def channel(address: str, *, service_key: str = "") -> AsyncIterator[grpc.aio.Channel]:
    """A channel that balances over all addresses of a name and comes back quickly after an outage.

    Its calls are made as the service itself, if there is a key of it.
    """
    created = grpc.aio.insecure_channel(
        address,
        options=[
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
        ],
    )
    try:
        yield cast("grpc.aio.Channel", _Keyed(created, service_key)) if service_key else created
    finally:
        await created.close()
