"""What the gateway says of its services: their standard gRPC health checks, asked at most once a second."""

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.gateway.web.backends import Channels
from services.platform.process.probes import Health

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
        # Whether it ever gave an answer, whatever that was.
        self._answered = False
        self._lock = asyncio.Lock()

    async def has_answered(self) -> None:
        """Raise NotServing until the service has answered once, whatever it said."""
        try:
            await self()
        except NotServing:
            if not self._answered:
                raise

    async def __call__(self) -> None:
        """Ask, unless the last answer is fresh."""
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
        self._answered = True
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return None if serving else str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def watch(health: Health, channels: Channels) -> None:
    """Make readiness tell of the services, and wait for the first answer of ingest.

    From then on the gateway is ready whatever becomes of ingest and its store: it can answer, with 503.
    """
    ingest = ServiceCheck(channels.ingest)
    health.add_readiness("ingest", ingest.has_answered)
    health.add_optional("ingest", ingest)
    health.add_optional("delivery", ServiceCheck(channels.delivery))
    health.add_optional("analytics", ServiceCheck(channels.analytics))
