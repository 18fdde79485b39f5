"""What happens to a call between its transport and the servicer, the same for near and far calls.

A far call comes by gRPC (server.py), a near one from another role of the same process (near.py).
"""

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from services.platform import errors, ids
from services.platform.auth import identity, roles
from services.platform.auth.authenticator import Authenticator, Metadata
from services.platform.auth.identity import Identity
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc.places import Places
from services.platform.grpc.streams import Streams
from services.platform.process import logs, metrics, shares
from services.platform.process.bounds import Refusals
from services.platform.stores import postgres
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind, Span, Tracer

log = structlog.get_logger(__name__)

# Of a call without a deadline of its own, unless it answers with a stream. One that has a deadline is cancelled when it
# passes.
CALL_SECONDS = 30.0
# From the moment that a call is let in, or the message before, to the end of its message.
MESSAGE_SECONDS = 10.0
# On whose behalf keys are looked up, made-up ones too.
KEYS = "keys"

# Of a call, as every method of a servicer has it: async def Name(self, request: pb.X, _context: Context) -> pb.Y.
# These classes take type arguments only in their stubs.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# Returns the response; None if it has written its responses.
Behavior: TypeAlias = Callable[[Any], Awaitable[Any]]
Answer: TypeAlias = Callable[[Any, Any], Awaitable[Any]]
Parse: TypeAlias = Callable[[Any], Any]
# Finds the caller again; Unauthenticated once their key was revoked or has expired.
Admit: TypeAlias = Callable[[], Awaitable[Identity]]
# Sees the caller, the method, and the request of each call before it is handled.
Enter: TypeAlias = Callable[[Identity, str, Any], Awaitable[None]]

# The codes that are the server's fault, by OpenTelemetry's conventions.
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class Calls:
    """Lets the calls of a role in or not, counts and times them, and turns what they raise into a status.

    `taken` is how many calls may be in progress, beside `streams`; `enter` sees each call of every caller first.
    """

    def __init__(
        self,
        role: str,
        authenticator: Authenticator,
        taken: Places,
        streams: Streams,
        enter: Enter | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._role = role
        self._authenticator = authenticator
        self._places = taken
        self.streams = streams
        self._refusals = Refusals()
        self._enter = enter
        self._tracer = tracer

    def knows(self, metadata: Metadata) -> bool:
        """Whether the metadata has the service key of this role."""
        return self._authenticator.is_of_gateway(metadata)

    async def admitted(self, method: str, handler: Handler, metadata: Metadata) -> Answer:
        """Return a function that completes a call: with its response, or with the error for a refused caller.

        It is awaited in a context of its own, in which the caller, the request and the trace are set.
        """
        logs.ROLE.set(self._role)
        request_id = _metadatum(metadata, ids.REQUEST_ID_HEADER)
        ids.CURRENT_REQUEST_ID.set(ids.sane_request_id(request_id))
        shares.OWNER.set(KEYS)
        admit = functools.partial(self._authenticator.admit, method, metadata)
        try:
            caller = await admit()
        except Exception as error:  # noqa: BLE001 - raised again where errors become statuses
            return _answering(method, self._refusing(error))
        identity.ADMIT.set(admit)
        span = _span(self._tracer, method, caller, metadata)
        if _is_stream(method, handler):
            streaming = _Streaming(caller, method, handler, self._enter, self.streams, admit)
            return _answering(method, streaming, span, lasting=True)
        return _answering(method, _Acting(caller, method, handler, self._enter, self._places), span)

    def _refusing(self, error: Exception) -> Behavior:
        async def refuse(_context: object) -> None:
            if isinstance(error, errors.Unauthenticated) and not error.violations:  # a gateway's caller has violations
                await self._refusals.pause()
            raise error

        return refuse


class _Taken(Protocol):
    """Places for calls in progress."""

    def taken(self, caller: Identity) -> contextlib.AbstractContextManager[asyncio.Semaphore | None]:
        """Take one."""
        ...


class _Acting:
    """A method for a caller that was let in: receives what it is sent, in time and within the caller's places."""

    def __init__(self, caller: Identity, method: str, handler: Handler, enter: Enter | None, taken: _Taken) -> None:
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
            return await self._answer(context, sent)

    async def _answer(self, context: Any, sent: bytes) -> Any:
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
        async with contextlib.aclosing(found):
            async for response in found:
                await self._write(context, response)
        return None

    async def _write(self, context: Any, response: Any) -> None:
        await context.write(response)


class _Streaming(_Acting):
    """A method that answers one request with many responses, for as long as a stream may last.

    It is not repeated when Postgres rolls it back, since some responses may have been sent. A caller who may not make
    the call any more gets no further one.
    """

    def __init__(
        self, caller: Identity, method: str, handler: Handler, enter: Enter | None, streams: Streams, admit: Admit
    ) -> None:
        super().__init__(caller, method, handler, enter, streams)
        self._streams = streams
        self._admit = admit

    async def _answer(self, context: Any, sent: bytes) -> Any:
        async with self._streams.bounded():
            return await self._of_one(context, sent)

    async def _write(self, context: Any, response: Any) -> None:
        await self._admit()  # found in memory for seconds
        await super()._write(context, response)


def _is_stream(method: str, handler: Handler) -> bool:
    """Whether a call may last: gRPC's own methods end like others, and who sends many messages has to send them."""
    return handler.response_streaming and not handler.request_streaming and not method.startswith(roles.OF_GRPC)


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


def _answering(
    method: str, inner: Behavior, span: Span | None = None, *, lasting: bool = False
) -> Callable[[Any, Any], Awaitable[Any]]:
    """Wrap a method so that it is counted, timed, and traced, and its errors become statuses.

    A `lasting` one has no deadline but its caller's.
    """
    duration = metrics.RPC_SECONDS.labels(method)

    async def answer(_messages: object, context: Any) -> Any:
        started = time.perf_counter()
        code = "CANCELLED"  # by the caller, unless it ends in one of the ways below
        metrics.RPC_IN_FLIGHT.inc()
        if span is not None:
            spans.CURRENT.set(span)
        try:
            # A deadline that passes cancels this, and the statement that is out; what must be whole is shielded.
            if context.time_remaining() is None and not lasting:
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
            await context.abort(
                grpc_errors.status_code(refused),
                status.message,
                ((grpc_errors.DETAILS_KEY, status.SerializeToString()),),
            )
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
