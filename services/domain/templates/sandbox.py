"""Asks a process of its own to render: time and memory of a source are bounded there (child.py)."""

import asyncio
import contextlib
import os
import signal
import sys

import msgspec

from services.domain.templates.child import LENGTH, Reply, Request
from services.platform.process.shares import OWNER, Shares

# What a request may take by the clock: the process may not get the processor at once.
ANSWER_SECONDS = 10.0
# A process that is gone has not been asked: another one is.
TRIES = 2
_REPLIES = msgspec.msgpack.Decoder(Reply)


class SandboxLost(Exception):
    """The process did not answer. The next request starts another one."""


class Sandbox:
    """Started by the first request. One request is answered at a time; tenants that wait take turns."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turns = Shares(1)
        self._asked: set[asyncio.Task[Reply]] = set()

    async def ask(self, request: Request, tenant_id: str = "") -> Reply:
        """Return the reply; raise SandboxLost. A caller that is cancelled leaves it to be read all the same."""
        asking = asyncio.create_task(self._ask(msgspec.msgpack.encode(request), tenant_id), name="template")
        self._asked.add(asking)
        asking.add_done_callback(self._done)
        return await asyncio.shield(asking)

    def _done(self, asking: "asyncio.Task[Reply]") -> None:
        self._asked.discard(asking)
        if not asking.cancelled():
            asking.exception()  # its caller may have left

    async def close(self) -> None:
        """End the process."""
        for asking in tuple(self._asked):
            asking.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._end()

    async def _ask(self, body: bytes, tenant_id: str) -> Reply:
        OWNER.set(tenant_id)  # of this task alone
        async with self._turns.taken():
            for tried in range(1, TRIES + 1):
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        return await self._exchange(body)
                # uvloop raises RuntimeError for a pipe whose other end is gone.
                except (OSError, EOFError, RuntimeError) as error:
                    await self._end()
                    if tried == TRIES or isinstance(error, TimeoutError):
                        raise SandboxLost(repr(error)) from None
                except BaseException:
                    await self._end()
                    raise
        raise AssertionError("the last try returns or raises")

    async def _exchange(self, body: bytes) -> Reply:
        if self._process is not None and self._process.returncode is not None:
            await self._end()  # what is left of it
        if self._process is None:
            self._process = await _started()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(body)) + body)
        await process.stdin.drain()
        (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return _REPLIES.decode(await process.stdout.readexactly(size))

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(ProcessLookupError):  # it may not have made its group yet
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await process.wait()


async def _started() -> asyncio.subprocess.Process:
    """Start a process that knows nothing of this one's environment.

    It makes a group of its own (child.py): if that were asked for here, Python would run in it before it is replaced,
    between the threads of gRPC, and one in ten would die of it.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.domain.templates.child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"},
    )
