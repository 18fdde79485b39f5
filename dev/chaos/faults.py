"""Inject faults at their times, and record when each was active."""

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import redis

from dev.chaos.evidence import Span
from dev.chaos.receiver import OK, Receiver
from dev.chaos.schedule import Fault
from dev.chaos.stack import STOP_TIMEOUT_SECONDS, Stack, in_thread, wait_ready
from dev.embedded import StopMode
from dev.harness.network.proxy import Mode

Action = Callable[[Fault], Awaitable[None]]


class Faults:
    """The faults of one run, on its stack and its receiver."""

    def __init__(self, stack: Stack, receiver: Receiver, say: Callable[[str], None]) -> None:
        self.spans: list[Span] = []
        # Faults that are active now, for the progress line.
        self.on: list[Fault] = []
        # By subject: on a slow machine a fault lasts longer than planned, and the next one of the same process waits.
        self._alone: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stack = stack
        self._receiver = receiver
        self._say = say
        self._actions: dict[str, Action] = {
            "kill": self._kill,
            "stop": self._freeze,
            "restart": self._restart,
            "restart-all": self._rolling_restart,
            "cut": self._cut,
            "receiver": self._misbehave,
            "redis-flush": self._flush,
            "redis-kill": self._kill,
            "redis-restart": self._restart,
            "redis-freeze": self._freeze,
            "redis-away": self._away,
            "postgres-crash": self._crash,
            "postgres-kill": self._kill,
            "postgres-restart": self._restart,
            "postgres-away": self._away,
        }

    async def run(self, schedule: Sequence[Fault], begun_at: float) -> None:
        """Inject all of them, and return when the last is over."""
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                group.create_task(self._at_its_time(fault, begun_at), name=str(fault))

    async def _at_its_time(self, fault: Fault, begun_at: float) -> None:
        await asyncio.sleep(max(0.0, begun_at + fault.at_seconds - time.monotonic()))
        async with self._alone[fault.subject]:
            await self._inject(fault, begun_at)

    async def _inject(self, fault: Fault, begun_at: float) -> None:
        began_at = time.monotonic()
        self.on.append(fault)
        self._say(f"{began_at - begun_at:7.1f} s  {fault.kind.name} of {fault.subject}")
        try:
            await self._action(fault)(fault)
        finally:
            self.on.remove(fault)
            span = Span(kind=fault.kind, subject=fault.subject, began_at=began_at, ended_at=time.monotonic())
            self.spans.append(span)
        self._say(f"{span.ended_at - begun_at:7.1f} s  {fault.kind.name} of {fault.subject} is over")

    def _action(self, fault: Fault) -> Action:
        """Find the method for a fault by the name of its kind, or by its family."""
        return self._actions.get(fault.kind.name) or self._actions[fault.kind.family]

    async def _kill(self, fault: Fault) -> None:
        """Send SIGKILL; the supervisor restarts the process."""
        part = self._stack.parts[fault.subject]
        await in_thread(part.child.kill)
        await wait_ready(part)

    async def _freeze(self, fault: Fault) -> None:
        """Send SIGSTOP, and SIGCONT after a while."""
        child = self._stack.parts[fault.subject].child
        child.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            child.send(signal.SIGCONT)

    async def _restart(self, fault: Fault) -> None:
        """Stop the process in order, and start it again."""
        await self._restart_one(fault.subject)

    async def _rolling_restart(self, fault: Fault) -> None:  # noqa: ARG002 - it is all of them
        for name in self._stack.instances:
            async with self._alone[name]:
                await self._restart_one(name)

    async def _restart_one(self, name: str) -> None:
        part = self._stack.parts[name]
        await in_thread(part.child.stop, STOP_TIMEOUT_SECONDS)
        await wait_ready(part)

    async def _away(self, fault: Fault) -> None:
        """Stop the process, and start it again after a while."""
        part = self._stack.parts[fault.subject]
        part.held = True
        try:
            await in_thread(part.child.stop, STOP_TIMEOUT_SECONDS)
            await asyncio.sleep(fault.seconds)
        finally:
            part.held = False
        await wait_ready(part)

    async def _crash(self, fault: Fault) -> None:
        """Use Postgres's immediate shutdown: it recovers at its start as after a crash."""
        await in_thread(self._stack.postgres.stop, StopMode.IMMEDIATE)
        await wait_ready(self._stack.parts[fault.subject])

    async def _flush(self, fault: Fault) -> None:  # noqa: ARG002 - there is one Redis
        def flush() -> None:
            with (
                contextlib.suppress(redis.exceptions.RedisError),
                contextlib.closing(redis.Redis.from_url(self._stack.redis.url(), socket_timeout=5)) as client,
            ):
                client.flushall()

        await in_thread(flush)

    async def _cut(self, fault: Fault) -> None:
        link = self._stack.links[fault.subject]
        await link.set_mode(Mode(fault.kind.name.rpartition("-")[2]))
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await link.set_mode(Mode.PASS)

    async def _misbehave(self, fault: Fault) -> None:
        endpoint = fault.subject.partition("-")[2]
        self._receiver.modes[endpoint] = fault.kind.name.partition("-")[2]
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._receiver.modes[endpoint] = OK
