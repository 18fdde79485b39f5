"""A gRPC server with health, reflection, metrics, a check of who calls, and one place where errors become statuses."""

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.platform import errors, ids
from services.platform.auth import identity, roles
from services.platform.auth.authenticator import Authenticator, Metadata
from services.platform.auth.identity import Identity
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc import places, tls
from services.platform.grpc.places import Places
from services.platform.process import background, metrics, shares
from services.platform.process.bounds import Refusals
from services.platform.process.lifecycle import Process
from services.platform.settings import GrpcServerSettings
from services.platform.stores import postgres
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind, Span, Tracer

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
# For the calls that are out on a connection whose age is up: as long as a call may take.
CONNECTION_GRACE_MS = 30_000
# Of a call without a deadline of its own. One that has a deadline is cancelled when it passes.
CALL_SECONDS = 30.0
# From the moment that a call is let in, or the message before, to the end of its message.
MESSAGE_SECONDS = 10.0
# On whose behalf keys are looked up, made-up ones too.
KEYS = "keys"

# Of a call, as every method of a servicer has it: async def Name(self, request: pb.X, _context: Context) -> pb.Y.
# These classes take type arguments only in their stubs.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
# Returns the response; None if it has written its responses.
Behavior: TypeAlias = Callable[[Any], Awaitable[Any]]
Parse: TypeAlias = Callable[[bytes], Any]

# The codes that are the server's fault, by OpenTelemetry's conventions.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Register = Callable[[grpc.aio.Server], None]
# Sees the caller, the method, and the request of each call before it is handled.
Enter: TypeAlias = Callable[[Identity, str, Any], Awaitable[None]]


class _Interceptor(grpc.aio.ServerInterceptor):
    """Lets every call in or not, counts and times it, and turns what it raises into a status, whatever its kind.

    To grpcio every method takes a stream of messages. It reads the message of any other before it asks for an answer,
    for as long as that takes, and so would hold what callers send that are refused.
    """

    def __init__(self, authenticator: Authenticator, taken: Places, enter: Enter | None, tracer: Tracer | None) -> None:
        self._authenticator = authenticator
        self._places = taken
        self._refusals = Refusals()
        self._enter = enter
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler  # type: ignore[return-value]  # for an unknown method, which the stubs leave out
        method = handler_call_details.method
        request_id = _metadatum(handler_call_details.invocation_metadata, ids.REQUEST_ID_HEADER)
        ids.CURRENT_REQUEST_ID.set(ids.sane_request_id(request_id))
        shares.OWNER.set(KEYS)
        try:
            caller = await self._authenticator.admit(method, handler_call_details.invocation_metadata)
        except Exception as error:  # noqa: BLE001 - raised again where errors become statuses
            refuse = _answering(method, self._refusing(error))
            return grpc.stream_stream_rpc_method_handler(refuse, None, None)
        span = _span(self._tracer, method, caller, handler_call_details.invocation_metadata)
        answer = _answering(method, _Acting(caller, method, handler, self._enter, self._places), span)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)

    def _refusing(self, error: Exception) -> Behavior:
        async def refuse(_context: object) -> None:
            if isinstance(error, errors.Unauthenticated) and not error.violations:  # a gateway's caller has violations
                await self._refusals.pause()
            raise error

        return refuse


class _Acting:
    """A method for a caller that was let in: receives what it is sent, in time and within the caller's places."""

    def __init__(self, caller: Identity, method: str, handler: Handler, enter: Enter | None, taken: Places) -> None:
        self._caller = caller
        self._method = method
        self._parse = handler.request_deserializer
        self._many_requests, self._many_responses = handler.request_streaming, handler.response_streaming
        # One of them is set.
        self._inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        self._enter = enter
        self._places = taken

    async def __call__(self, context: Any) -> Any:
        """Return the response; None if there may be many, which are written."""
        identity.CALLER.set(self._caller)
        # A gateway calls for many tenants at once: what it asks by one method does not wait for what it asks by others.
        of_gateway = self._caller.role is roles.Role.SERVICE
        shares.OWNER.set(self._method if of_gateway else self._caller.tenant_id)
        with self._places.taken(self._caller) as receiving:
            if self._many_requests:
                return await self._respond(context, self._messages(context, receiving))
            sent = await _received(context, receiving)
            if sent is grpc.aio.EOF:
                raise errors.InvalidArgument("the call has no message")
            return await postgres.repeat_rolled_back(functools.partial(self._of_one, context, sent))

    async def _of_one(self, context: Any, sent: bytes) -> Any:
        return await self._respond(context, await self._entered(sent))

    async def _messages(self, context: Any, receiving: asyncio.Semaphore | None) -> AsyncIterator[Any]:
        while (sent := await _received(context, receiving)) is not grpc.aio.EOF:
            yield await self._entered(sent)

    async def _entered(self, sent: bytes) -> Any:
        request = _parsed(self._parse, sent)
        if self._enter:
            await self._enter(self._caller, self._method, request)
        return request

    async def _respond(self, context: Any, request: Any) -> Any:
        found = self._inner(request, context)
        if not self._many_responses:
            return await found
        if inspect.isawaitable(found):  # it writes its responses itself
            return await found
        async for response in found:
            await context.write(response)
        return None


def _span(tracer: Tracer | None, method: str, caller: Identity, metadata: Metadata) -> Span | None:
    """Return the span of a call, if it is traced. The service's own calls belong to the trace that makes them."""
    if tracer is None or method.startswith(roles.OF_GRPC):
        return None
    found = _metadatum(metadata, spans.TRACEPARENT)
    name = method.removeprefix("/")
    begin = tracer.follow if caller.internal else tracer.enter
    return begin(name, Kind.SERVER, found, {"rpc.system.name": "grpc", "rpc.method": name})


def _metadatum(metadata: Metadata, wanted: str) -> str | None:
    return next((str(value) for name, value in metadata if name == wanted), None)


def _answering(method: str, inner: Behavior, span: Span | None = None) -> Callable[[Any, Any], Awaitable[Any]]:
    """Wrap a method so that it is counted, timed, and traced, and its errors become statuses."""
    duration = metrics.RPC_SECONDS.labels(method)

    async def answer(_messages: object, context: Any) -> Any:
        started = time.perf_counter()
        code = "CANCELLED"  # by the caller, unless it ends in one of the ways below
        metrics.RPC_IN_FLIGHT.inc()
        if span is not None:
            spans.CURRENT.set(span)
        try:
            # A deadline that passes cancels this, and the statement that is out; what must be whole is shielded.
            if context.time_remaining() is None:
                async with asyncio.timeout(CALL_SECONDS):
                    response = await inner(context)
            else:
                response = await inner(context)
            code = "OK"
            return response
        except grpc.aio.AbortError:  # a servicer of grpcio's own has answered, such as health
            code = context.code().name
            raise
        except Exception as error:  # noqa: BLE001 - the one place where errors become statuses
            refused = errors.classify(error) or _bug(method, error)
            code = grpc_errors.to_code_name(refused)
            status = grpc_errors.to_status(refused)
            await context.abort(refused.code, status.message, ((grpc_errors.DETAILS_KEY, status.SerializeToString()),))
        finally:
            metrics.RPC_IN_FLIGHT.dec()
            metrics.RPC_REQUESTS.labels(method, code).inc()
            duration.observe(time.perf_counter() - started)
            if span is not None:
                span.set({"rpc.response.status_code": code})
                span.end(error="" if code == "OK" else code, failed=code in _FAILURES)

    return answer


async def _received(context: Any, receiving: asyncio.Semaphore | None) -> Any:
    """Return the next message, or EOF; RequestTimeout if it does not arrive in time."""
    left_seconds = context.time_remaining()
    if left_seconds is not None and left_seconds <= MESSAGE_SECONDS:  # a timer would be for nothing
        return await _read(context, receiving)
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            return await _read(context, receiving)
    except TimeoutError:
        raise errors.RequestTimeout("the message did not arrive in time") from None


async def _read(context: Any, receiving: asyncio.Semaphore | None) -> Any:
    if receiving is None:
        return await context.read()
    async with receiving:
        return await context.read()


def _parsed(parse: Parse | None, request: bytes) -> Any:
    try:
        return parse(request) if parse else request
    except DecodeError:
        raise errors.InvalidArgument("the request cannot be decoded") from None


def _bug(method: str, error: Exception) -> errors.WebhookError:
    log.error("a call failed because of a bug", method=method, exc_info=error)
    return errors.WebhookError("internal error; it was logged")


@contextlib.asynccontextmanager
async def serving(
    process: Process,
    settings: GrpcServerSettings,
    services: Sequence[str],
    register: Register,
    authenticator: Authenticator,
    enter: Enter | None = None,
) -> AsyncIterator[int]:
    """Serve until the context ends, then let calls in flight finish; yield the port.

    `services` are full names; their health says whether they can serve requests. `enter` sees each call
    of every caller first.
    """
    certificates = tls.following(process, settings)
    # An item may carry its payload and the body that was signed.
    message_bytes = 2 * settings.max_payload_bytes + (2 << 20)
    taken = Places(places.MAX_CALLS, message_bytes=message_bytes)
    server = grpc.aio.server(
        interceptors=[_Interceptor(authenticator, taken, enter, process.tracer)],
        options=[
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
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
        ],
    )
    register(server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    for service in ("", *services):
        await servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if certificates:
            port = server.add_secure_port(address, certificates.of_server())
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise SystemExit(f"cannot listen on {address}: {error}") from None
    await server.start()
    log.info("gRPC server is listening", port=port, tls=settings.grpc_tls)
    follower = process.spawn("grpc_health", _follow_readiness(process, servicer, ("", *services)))
    try:
        yield port
    finally:
        await process.cancel(follower)
        await servicer.enter_graceful_shutdown()
        await server.stop(settings.shutdown_grace_seconds / 2)


async def _follow_readiness(process: Process, servicer: health.aio.HealthServicer, services: Sequence[str]) -> None:
    async def step() -> None:
        failing = await process.health.serving()
        status = health_pb2.HealthCheckResponse
        serving_status = status.NOT_SERVING if failing else status.SERVING
        for service in services:
            await servicer.set(service, serving_status)

    await background.repeat(step, interval_seconds=HEALTH_INTERVAL_SECONDS)
