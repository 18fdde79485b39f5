"""Whether the gateway can serve: its services' standard gRPC health checks, asked at most once a second."""

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.ops import Health
from services.gateway.backends import Channels

CHECK_TIMEOUT_SECONDS = 0.5
FRESH_SECONDS = 1.0


class NotServing(Exception):
    """The service is away, or says that it cannot serve."""


class ServiceCheck:
    """Raises NotServing unless a service answers SERVING; an answer is good for a second, for all who ask."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # not in its stubs
        self._asked = -FRESH_SECONDS
        self._failure: str | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> None:
        """Asks, unless the last answer is fresh."""
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._failure = await self._ask()
                self._asked = time.monotonic()
        if self._failure is not None:
            raise NotServing(self._failure)

    async def _ask(self) -> str | None:
        try:
            answer = await self._check(health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return None if serving else str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def watch(health: Health, channels: Channels) -> None:
    """Makes readiness need ingest, without which nothing is accepted, and tell of the others."""
    health.add_readiness("ingest", ServiceCheck(channels.ingest))
    health.add_optional("delivery", ServiceCheck(channels.delivery))
    health.add_optional("analytics", ServiceCheck(channels.analytics))
