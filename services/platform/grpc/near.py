"""Calls to a role of the same process: made directly, and like those by gRPC in all that caller and servicer see.

The caller awaits the same stub, and gets AioRpcError with the same code, message and details. The servicer is called
through the same Calls, in a task and a context of its own. Neither sees changes that the other makes to a message.
"""

import asyncio
import contextvars
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message

from services.platform.auth.authenticator import Metadata
from services.platform.grpc.calls import Calls, Handler

# As gRPC's own words.
_LATE = "Deadline Exceeded"
_CUT = "the role is stopping"
_TOO_LARGE = "CLIENT: Received message larger than max ({} vs. {})"

_AnyMessage = TypeVar("_AnyMessage", bound=Message)


class Near:
    """A role that serves in this process: its methods, and the calls to them that are in progress.

    What it makes of a call is run in a copy of `base`, the context of the role, so that nothing of the caller's is seen
    there, and nothing that is set there by the caller.
    """

    def __init__(
        self, calls: Calls, methods: Mapping[str, Handler], base: contextvars.Context, *, message_bytes: int
    ) -> None:
        self._calls = calls
        self._message_bytes = message_bytes
        copied: Any = _copied  # in place of a deserializer
        self._methods: Mapping[str, Handler] = {
            path: grpc.unary_unary_rpc_method_handler(handler.unary_unary, copied, None)
            for path, handler in methods.items()
            if handler.unary_unary is not None
        }
        self._base = base
        self._tasks: set[asyncio.Task[Any]] = set()

    def serves(self, method: str) -> bool:
        """Whether this method can be called here."""
        return method in self._methods

    async def call(self, method: str, request: Message, timeout_seconds: float | None, metadata: Metadata) -> Any:
        """Make a call; raise AioRpcError as gRPC does."""
        self._check(request, timeout_seconds)
        context = _Context(request, timeout_seconds, metadata)
        loop = asyncio.get_running_loop()
        # Not the task itself: as with gRPC, who is cancelled or late does not wait for the servicer to end.
        in_time: asyncio.Future[bool] = loop.create_future()
        task = loop.create_task(self._answer(method, context), name=method, context=self._base.copy())
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, in_time))
        timer = None
        if timeout_seconds is not None:
            timer = loop.call_later(timeout_seconds, _settle, in_time, False)  # noqa: FBT003 - not in time
        try:
            if not await in_time:
                raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, _LATE)
        except BaseException:
            task.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return _response(task, context)

    def _check(self, request: Message, timeout_seconds: float | None) -> None:
        """Refuse what gRPC would not let through."""
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, _LATE)
        if (size := request.ByteSize()) > self._message_bytes:
            raise _error(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LARGE.format(size, self._message_bytes))

    def _ended(self, in_time: "asyncio.Future[bool]", task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # which may be of no interest to anybody any more
        _settle(in_time, True)  # noqa: FBT003 - in time

    async def stop(self, grace_seconds: float) -> None:
        """Let calls in progress finish within the grace period; cut the others."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=grace_seconds)
        for task in tuple(self._tasks):
            task.cancel()

    async def _answer(self, method: str, context: "_Context") -> Any:
        answer = await self._calls.admitted(method, self._methods[method], context.metadata)
        return await answer(None, context)


class _Context:
    """The part of grpc.aio.ServicerContext that servicers use, for a call with one request and one response."""

    def __init__(self, request: Message, timeout_seconds: float | None, metadata: Metadata) -> None:
        self._request: Message | None = request
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self.metadata = metadata
        # What the call was aborted with.
        self.error: grpc.aio.AioRpcError | None = None

    def invocation_metadata(self) -> Metadata:
        return self.metadata

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()

    async def read(self) -> Any:
        request, self._request = self._request, None
        return grpc.aio.EOF if request is None else request

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        self.error = _error(code, details, trailing_metadata)
        raise grpc.aio.AbortError

    def code(self) -> grpc.StatusCode:
        return self.error.code() if self.error else grpc.StatusCode.OK


def _settle(future: "asyncio.Future[bool]", value: bool) -> None:  # noqa: FBT001 - the future's value
    if not future.done():
        future.set_result(value)


def _response(task: asyncio.Task[Any], context: _Context) -> Any:
    """Return a copy of the response of a task that has ended; raise what the call was aborted with."""
    if task.cancelled():
        raise _error(grpc.StatusCode.CANCELLED, _CUT)
    if context.error is not None:
        raise context.error
    return _copied(task.result())


def _error(
    code: grpc.StatusCode, details: str, trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing_metadata), details)


def _copied(message: _AnyMessage) -> _AnyMessage:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
