"""How long callers wait for ingest, and how often it is asked meanwhile.

What ingest cannot answer now, because it stops or its store is away, is asked again until the deadline: another copy
takes it, or the store is back. Once a request has got no answer for all its time, new ones get a shorter deadline until
ingest stores an event again, so that nobody waits long for a 503.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from services.platform import errors
from services.platform.grpc import errors as grpc_errors

Answer = TypeVar("Answer")

# For requests that come while ingest is known to be unable to answer.
KNOWN_AWAY_SECONDS = 1.0
# A request without an answer says nothing about now after so long without another.
FORGET_SECONDS = 10.0
# Less time than this is not worth a call.
MIN_CALL_SECONDS = 0.05
# The first call leaves time for a second one: to another copy of ingest, or to this one back again.
FIRST_CALL_SHARE = 0.6
# Between two calls; twice as long each time.
RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 0.4

# CANCELLED comes from a server that stops: a call that we cancel ourselves raises asyncio.CancelledError.
_REPEATED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
# What gRPC says of a call that never left this process.
_NOT_SENT = ("connections to all backends failing", "failed to connect to all addresses", "errors resolving")


class Unanswered(Exception):
    """No call was answered before the deadline. `unknown`: one of them may have been acted upon."""

    def __init__(self, *, unknown: bool) -> None:
        super().__init__()
        self.unknown = unknown


class Patience:
    """What a gateway knows about ingest's ability to answer."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        # On time.monotonic(): when a request got no answer last; None once one got an answer.
        self._unanswered_at: float | None = None

    def deadline(self, extra_seconds: float = 0.0) -> float:
        """Return the deadline, on time.monotonic(), of a request that begins now."""
        now, seconds = time.monotonic(), self.timeout_seconds
        if self._unanswered_at is not None and now - self._unanswered_at < FORGET_SECONDS:
            seconds = min(seconds, KNOWN_AWAY_SECONDS)
        return now + seconds + extra_seconds

    def answered(self) -> None:
        """Take down that ingest reaches its store again.

        Only a commit shows that: ingest knows some keys, and refuses some events, without its store.
        """
        self._unanswered_at = None

    async def ask(self, method: Callable[..., Any], request: object, deadline: float) -> tuple[Any, bool]:
        """Call a method until it answers; return the answer, and whether a call before it may have been acted upon.

        AioRpcError when it refuses, Unanswered at the deadline. Only for calls that can be repeated: the same one may
        have been acted upon several times.
        """
        unknown = False
        left = deadline - time.monotonic()
        timeout_seconds, pause = left * FIRST_CALL_SHARE, RETRY_SECONDS
        while True:
            try:
                return await method(request, timeout=timeout_seconds), unknown
            except grpc.aio.AioRpcError as error:
                unknown = unknown or _may_be_done(error)
                if error.code() not in _REPEATED:
                    if unknown:
                        raise Unanswered(unknown=True) from error
                    raise
                left = deadline - time.monotonic()
                wait = min(pause, left / 2)
                timeout_seconds = left - wait
                if timeout_seconds < MIN_CALL_SECONDS:
                    self._unanswered_at = time.monotonic()
                    raise Unanswered(unknown=unknown) from error
            await asyncio.sleep(wait)
            pause = min(2 * pause, MAX_RETRY_SECONDS)


def _may_be_done(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call that failed may have been acted upon: unless its server says that it was not, or never got it."""
    if grpc_errors.is_answer(error):
        return isinstance(grpc_errors.from_rpc_error(error), errors.OutcomeUnknown)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return not (error.details() or "").startswith(_NOT_SENT)
    return error.code() in _REPEATED
