"""The gRPC server of a process: health, reflection, and the calls of each role that serves."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.platform.auth import roles
from services.platform.auth.authenticator import Authenticator, Metadata
from services.platform.grpc import places, tls
from services.platform.grpc.calls import Calls, Enter, Handler
from services.platform.grpc.near import Near
from services.platform.grpc.places import Places
from services.platform.grpc.streams import Streams
from services.platform.grpc.tls import Certificates
from services.platform.process import background
from services.platform.process.lifecycle import Process
from services.platform.process.whole import Whole
from services.platform.settings import GrpcServerSettings

log = structlog.get_logger(__name__)

HEALTH_INTERVAL_SECONDS = 1.0
# Calls in progress on one connection; a client keeps the others back until one has ended.
MAX_STREAMS = 128
# Of one process; further ones are closed as they come, so that files are left for the stores.
MAX_CONNECTIONS = 4096
# What a call may send before anybody reads it.
WINDOW_BYTES = 64 << 10
# A soft limit: half as much again is still taken now and then.
MAX_METADATA_BYTES = 16 << 10
# For the calls that are out on a connection whose age is up: as long as a call may take, beside the time that a stream
# lasts, which is that age again.
CONNECTION_GRACE_SECONDS = 30.0

Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Register = Callable[[grpc.aio.Server], None]


class _Interceptor(grpc.aio.ServerInterceptor):
    """Has each call answered by the role that its service belongs to.

    To grpcio every method takes a stream of messages. It reads the message of any other before it asks for an answer,
    for as long as that takes, and so would hold what callers send that are refused.
    """

    def __init__(self) -> None:
        self._calls: list[Calls] = []
        self._by_service: dict[str, Calls] = {}

    def add(self, services: Sequence[str], calls: Calls) -> None:
        """Add the services of a role."""
        self._calls.append(calls)
        self._by_service |= dict.fromkeys(services, calls)

    def end_streams(self) -> None:
        """End the streams of all roles."""
        for calls in self._calls:
            calls.streams.end()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler  # type: ignore[return-value]  # for an unknown method, which the stubs leave out
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        answer = await self._of(method, metadata).admitted(method, handler, metadata)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)

    def _of(self, method: str, metadata: Metadata) -> Calls:
        """Return the calls of the role that serves a method; for those of gRPC, of the role whose key they have."""
        if not method.startswith(roles.OF_GRPC):
            return self._by_service.get(method.split("/")[1], self._calls[0])
        return next((calls for calls in self._calls if calls.knows(metadata)), self._calls[0])


class _Methods:
    """Takes the methods of servicers down while they are added to a server."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.found: dict[str, Handler] = {}
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.found |= {f"/{service}/{name}": handler for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, dict(handlers))


class _Server:
    """The server of a process. It starts once all roles that serve have added themselves, and stops with the first."""

    def __init__(self, whole: Whole, settings: GrpcServerSettings, certificates: Certificates | None) -> None:
        self._whole = whole
        self._host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._certificates = certificates
        # An item may carry its payload and the body that was signed.
        self.message_bytes = 2 * settings.max_payload_bytes + (2 << 20)
        self._interceptor = _Interceptor()
        self._grpc = grpc.aio.server(interceptors=[self._interceptor], options=_options(settings, self.message_bytes))
        self._health = health.aio.HealthServicer()
        self._of_health = _Methods(self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._of_health)  # type: ignore[arg-type]
        # By role: its services, and whether they can do what they are asked.
        self._services: dict[str, tuple[str, ...]] = {}
        self._serving: dict[str, bool] = {}
        # By the number that settings have: the same one for several roles is one port.
        self._ports: dict[int, int] = {}
        self._stopped: asyncio.Task[None] | None = None

    async def add(
        self, role: str, services: Sequence[str], register: Register, calls: Calls, port: int
    ) -> tuple[int, Near]:
        """Add a role; return its port, and how it is called without the server."""
        methods = _Methods(self._grpc)
        register(methods)  # type: ignore[arg-type]  # what the generated functions use of a server
        self._interceptor.add(services, calls)
        self._services[role], self._serving[role] = tuple(services), False
        for service in ("", *services):
            await self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        if port not in self._ports:
            self._ports[port] = self._listen(port)
        if len(self._services) == self._whole.servers:
            names = [name for listed in self._services.values() for name in listed]
            reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
            await self._grpc.start()
            log.info("gRPC server is listening", ports=sorted(self._ports.values()), tls=self._certificates is not None)
        found = methods.found | self._of_health.found
        return self._ports[port], Near(calls, found, contextvars.copy_context(), message_bytes=self.message_bytes)

    def _listen(self, port: int) -> int:
        address = f"{self._host}:{port}"
        try:
            if self._certificates:
                return self._grpc.add_secure_port(address, self._certificates.of_server())
            return self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise SystemExit(f"cannot listen on {address}: {error}") from None

    async def follow(self, role: str, check: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        """Tell callers whether the services of a role can do what they are asked, until cancelled."""
        status = health_pb2.HealthCheckResponse

        async def step() -> None:
            self._serving[role] = not await check()
            for service in self._services[role]:
                await self._health.set(service, status.SERVING if self._serving[role] else status.NOT_SERVING)
            await self._health.set("", status.SERVING if all(self._serving.values()) else status.NOT_SERVING)

        await background.repeat(step, interval_seconds=HEALTH_INTERVAL_SECONDS)

    async def stop(self, grace_seconds: float) -> None:
        """Let calls in flight finish, of all roles at once: they stop together."""
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop(grace_seconds), name="grpc_stop")
        await asyncio.shield(self._stopped)

    async def _stop(self, grace_seconds: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._interceptor.end_streams()
        await self._grpc.stop(grace_seconds)


def _options(settings: GrpcServerSettings, message_bytes: int) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        # The window of a call grows only while somebody reads its message.
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", 10_000),
        # Who pings more often is sent away with ENHANCE_YOUR_CALM; who does not answer is gone.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A client that is sent away looks the name up again, and so finds copies that came after it had connected.
        ("grpc.max_connection_age_ms", round(settings.grpc_max_connection_age_seconds * 1000)),
        (
            "grpc.max_connection_age_grace_ms",
            round((settings.grpc_max_connection_age_seconds + CONNECTION_GRACE_SECONDS) * 1000),
        ),
    )


@contextlib.asynccontextmanager
async def serving(
    process: Process,
    settings: GrpcServerSettings,
    services: Sequence[str],
    register: Register,
    authenticator: Authenticator,
    enter: Enter | None = None,
) -> AsyncIterator[int]:
    """Serve a role until the context ends, then let its calls in flight finish; yield the port.

    `services` are full names; their health says whether they can serve requests. `enter` sees each call
    of every caller first.
    """
    certificates = tls.following(process, settings)

    @contextlib.asynccontextmanager
    async def created() -> AsyncIterator[_Server]:
        yield _Server(process.whole, settings, certificates)

    async with process.whole.share("grpc_server", created) as server:
        taken = Places(places.MAX_CALLS, message_bytes=server.message_bytes)
        streams = Streams(seconds=settings.grpc_max_connection_age_seconds, message_bytes=server.message_bytes)
        calls = Calls(process.role, authenticator, taken, streams, enter, process.tracer)
        port, near = await server.add(process.role, services, register, calls, settings.grpc_port)
        follower = process.spawn("grpc_health", server.follow(process.role, process.health.serving))
        process.whole.near[process.role] = near
        try:
            yield port
        finally:
            del process.whole.near[process.role]
            await process.cancel(follower)
            grace_seconds = process.whole.seconds_to_stop(settings.shutdown_grace_seconds) / 2
            await asyncio.gather(server.stop(grace_seconds), near.stop(grace_seconds))
