"""Calls to ingest, repeated until a deadline: another replica may take over, or the store may return.

If a request gets no response in all its time, later ones get a shorter deadline until ingest stores an event again, so
that clients do not wait long for a 503.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from services.platform import errors
from services.platform.grpc import errors as grpc_errors

Answer = TypeVar("Answer")

# The deadline of requests that arrive while ingest is known not to respond.
KNOWN_AWAY_SECONDS = 1.0
# How long after a request without a response ingest is assumed not to respond.
FORGET_SECONDS = 10.0
# A call with less time than this is not made.
MIN_CALL_SECONDS = 0.05
# The first call leaves time for a second one.
FIRST_CALL_SHARE = 0.6
# Pause between two calls, doubled each time.
RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 0.4

# CANCELLED comes from a server that stops: cancelling a call here raises asyncio.CancelledError.
_REPEATED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
# gRPC's messages for a call that never left this process.
_NOT_SENT = ("connections to all backends failing", "failed to connect to all addresses", "errors resolving")


class Unanswered(Exception):
    """No call got a response before the deadline. `unknown`: one of them may have been carried out."""

    def __init__(self, *, unknown: bool) -> None:
        super().__init__()
        self.unknown = unknown


class Retries:
    """Repeats calls to ingest, and remembers whether ingest responds."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        # On time.monotonic(): when a request last got no response; None after an event was stored.
        self._unanswered_at: float | None = None
        # When an event was last stored.
        self._stored_at = -math.inf

    def deadline(self, extra_seconds: float = 0.0) -> float:
        """Return the deadline, on time.monotonic(), of a request that begins now."""
        now, seconds = time.monotonic(), self.timeout_seconds
        if self._unanswered_at is not None and now - self._unanswered_at < FORGET_SECONDS:
            seconds = min(seconds, KNOWN_AWAY_SECONDS)
        return now + seconds + extra_seconds

    def note_stored(self) -> None:
        """Note that ingest reaches its store.

        Only a commit shows that: ingest has some keys cached, and refuses some events without its store.
        """
        self._unanswered_at = None
        self._stored_at = time.monotonic()

    async def call(self, method: Callable[..., Any], request: object, deadline: float) -> tuple[Any, bool]:
        """Call a method until it responds; return the response, and whether an earlier call may have been carried out.

        Raise AioRpcError if the method refuses, Unanswered at the deadline. Only for calls that are safe to repeat.
        """
        unknown = False
        began_at = time.monotonic()
        left = deadline - began_at
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
                    # Where events were stored meanwhile, it is only this request that gets no response.
                    if self._stored_at < began_at:
                        self._unanswered_at = time.monotonic()
                    raise Unanswered(unknown=unknown) from error
            await asyncio.sleep(wait)
            pause = min(2 * pause, MAX_RETRY_SECONDS)


def _may_be_done(error: grpc.aio.AioRpcError) -> bool:
    """Return whether a failed call may have been carried out: unless its server says no, or never received it."""
    if grpc_errors.is_answer(error):
        return isinstance(grpc_errors.from_rpc_error(error), errors.OutcomeUnknown)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return not (error.details() or "").startswith(_NOT_SENT)
    return error.code() in _REPEATED
