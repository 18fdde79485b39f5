"""The real stack: stores and processes of our own, started again whenever one has died, as a supervisor would."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from dev.chaos import threads
from dev.chaos.kinds import INSTANCES
from dev.chaos.plan import Plan
from dev.chaos.proxy import Proxy, proxying
from dev.embedded import Child, EmbeddedPostgres, EmbeddedValkey, Guard
from dev.local import readiness
from dev.local.migrations import migrate

DATABASE = "webhook"
TICK_SECONDS = 0.1
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 12.0
# In this order, each stage at once: no more requests come in first, and workers record before the dispatchers go.
STOP_STAGES = (("gateway",), ("ingest",), ("worker",), ("delivery", "analytics"))


@dataclass(kw_only=True)
class Part:
    """One process. While it is `held` nobody starts it again."""

    child: Child
    launch: Callable[[], None]
    is_ready: Callable[[], bool]
    held: bool = False

    async def wait_ready(self) -> None:
        """Waits until it serves; TimeoutError when it does not."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not (self.child.running and await threads.run(self.is_ready)):
            if time.monotonic() > deadline:
                last = " | ".join(self.child.last_lines(3))
                raise TimeoutError(f"{self.child.name} is not ready after {READY_TIMEOUT_SECONDS:g} s: {last}")
            await asyncio.sleep(TICK_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Made by `running`. Parts are named as in kinds.py, and the stores "postgres" and "redis"."""

    plan: Plan
    postgres: EmbeddedPostgres
    redis: EmbeddedValkey
    parts: Mapping[str, Part]
    links: Mapping[str, Proxy]

    @property
    def database_url(self) -> str:
        """Postgres itself, past all proxies."""
        return self.postgres.url(DATABASE)

    async def start(self, names: tuple[str, ...]) -> None:
        """Starts parts and waits until all of them serve."""
        for name in names:
            await threads.run(self.parts[name].launch)
        await asyncio.gather(*(self.parts[name].wait_ready() for name in names))

    async def keep(self) -> None:
        """Starts what has died and is not held, for ever."""
        while True:
            for part in self.parts.values():
                if not part.held and not part.child.running:
                    await threads.run(part.launch)
            await asyncio.sleep(TICK_SECONDS)

    async def stop_processes(self) -> None:
        """Stops all but the stores in good order; nothing starts them again."""
        for name in INSTANCES:
            self.parts[name].held = True
        for roles in STOP_STAGES:
            children = [self.parts[name].child for name in INSTANCES if name.partition("-")[0] in roles]
            await asyncio.gather(*(threads.run(child.stop, STOP_TIMEOUT_SECONDS) for child in children))


@contextlib.asynccontextmanager
async def running(plan: Plan, say: Callable[[str], None]) -> AsyncIterator[Stack]:
    """A stack that serves; everything of it ends with the context, or with this process."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as cleanup:
        # First of all, so that nobody else sits down on their ports.
        links = {
            name: await cleanup.enter_async_context(proxying(name, port=port, target_port=plan.target_port(name)))
            for name, port in plan.links.items()
        }
        guard = cleanup.enter_context(Guard())
        logs = plan.folder / "logs"
        postgres = EmbeddedPostgres(
            plan.folder / "postgres", port=plan.postgres_port, guard=guard, log_path=logs / "postgres.log", say=say
        )
        cleanup.callback(postgres.close)
        redis = EmbeddedValkey(plan.folder / "redis", port=plan.redis_port, guard=guard, log_path=logs / "redis.log")
        cleanup.callback(redis.close)
        await threads.run(postgres.start)
        await threads.run(redis.start)
        await threads.run(postgres.ensure_database, DATABASE)
        await threads.run(migrate, postgres.url(DATABASE))
        parts = {
            "postgres": Part(child=postgres.process, launch=postgres.launch, is_ready=postgres.is_ready),
            "redis": Part(child=redis.process, launch=redis.launch, is_ready=redis.is_ready),
            **{name: _process(name, plan, postgres, guard) for name in INSTANCES},
        }
        for name in INSTANCES:
            cleanup.callback(parts[name].child.kill)
        stack = Stack(plan=plan, postgres=postgres, redis=redis, parts=parts, links=links)
        say("the stores run, and the schema is made")
        await stack.start(tuple(name for name in INSTANCES if name != "gateway"))
        await stack.start(("gateway",))
        keeper = asyncio.create_task(stack.keep(), name="keeper")
        try:
            yield stack
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await stack.stop_processes()


def _process(name: str, plan: Plan, postgres: EmbeddedPostgres, guard: Guard) -> Part:
    child = Child(plan.command(name, database_url=postgres.tcp_url(DATABASE)), guard=guard)
    is_ready = functools.partial(readiness.all_ready, plan.readiness_urls(name))
    return Part(child=child, launch=child.launch, is_ready=is_ready)
