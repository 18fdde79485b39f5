"""The gRPC services behind the gateway, as the routes use them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import grpc
from fastapi import Depends, Request

from protos.webhook.v1 import analytics_pb2_grpc, deliveries_pb2_grpc, ingest_pb2_grpc, subscriptions_pb2_grpc

if TYPE_CHECKING:  # the asynchronous stubs exist for the type checker alone
    from protos.webhook.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub
    from protos.webhook.v1.deliveries_pb2_grpc import DeliveryServiceAsyncStub
    from protos.webhook.v1.ingest_pb2_grpc import IngestServiceAsyncStub
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub


@dataclass(frozen=True, kw_only=True)
class Channels:
    """A channel to each process."""

    ingest: grpc.aio.Channel
    delivery: grpc.aio.Channel
    analytics: grpc.aio.Channel


@dataclass(frozen=True, kw_only=True)
class Backends:
    """A stub of each service, and the time that a call may take."""

    subscriptions: "SubscriptionServiceAsyncStub"
    ingest: "IngestServiceAsyncStub"
    deliveries: "DeliveryServiceAsyncStub"
    analytics: "AnalyticsServiceAsyncStub"
    timeout_seconds: float

    @classmethod
    def over(cls, channels: Channels, *, timeout_seconds: float) -> "Backends":
        """The stubs over these channels."""
        return cls(
            subscriptions=subscriptions_pb2_grpc.SubscriptionServiceStub(channels.ingest),
            ingest=ingest_pb2_grpc.IngestServiceStub(channels.ingest),
            deliveries=deliveries_pb2_grpc.DeliveryServiceStub(channels.delivery),
            analytics=analytics_pb2_grpc.AnalyticsServiceStub(channels.analytics),
            timeout_seconds=timeout_seconds,
        )


async def _of(request: Request) -> Backends:
    backends: Backends = request.app.state.backends
    return backends


# The type of a route's parameter that gets the application's Backends.
Injected = Annotated[Backends, Depends(_of)]
