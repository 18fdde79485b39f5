"""How many calls that answer with a stream may be in progress, how long each lasts, and how they end.

A stream may last longer than other calls, but not for as long as its reader likes: a client that is sent away from a
connection goes on with another copy only when its stream has ended, and a process that stops waits for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from services.platform import errors
from services.platform.auth.identity import Identity
from services.platform.grpc.places import Places

# Beyond this many a server refuses them; a tenant alone gets half. Each holds what its reader has not read yet.
MAX_STREAMS = 512


class Streams:
    """The streams of a role. Each ends after so many seconds, and all of them when the process begins to stop."""

    def __init__(self, *, seconds: float, message_bytes: int) -> None:
        self._places = Places(MAX_STREAMS, message_bytes=message_bytes)
        self._seconds = seconds
        self._bounds: set[asyncio.Timeout] = set()
        self._ending = False

    def taken(self, caller: Identity) -> contextlib.AbstractContextManager[asyncio.Semaphore | None]:
        """Take a place for a stream; Overloaded if there is none."""
        return self._places.taken(caller)

    @contextlib.asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Let a stream last for as long as it may, and then raise StreamEnded; what is waited for is cancelled."""
        try:
            async with asyncio.timeout(0 if self._ending else self._seconds) as bound:
                self._bounds.add(bound)
                try:
                    yield
                finally:
                    self._bounds.discard(bound)
        except TimeoutError:
            if not bound.expired():  # a statement's own
                raise
            raise errors.StreamEnded("the stream has lasted as long as it may; go on with another call") from None

    def end(self) -> None:
        """End those in progress, and any that begin from now on."""
        self._ending = True
        now = asyncio.get_running_loop().time()
        for bound in self._bounds:
            if not bound.expired():
                bound.reschedule(now)
