"""The real stack with a proxy on every connection, restarted whenever a process has died."""

import asyncio
import contextlib
import functools
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from dev.chaos.schedule import DELIVERIES, INGESTS, INSTANCES, STORE_USERS
from dev.embedded import Child, EmbeddedPostgres, EmbeddedValkey, Guard, ports
from dev.embedded.child import Command
from dev.harness import supervisor
from dev.harness.proxy import Proxy, proxying
from dev.harness.supervisor import migrate
from services.platform.auth import keys

# Blocking calls beside the loop.


T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """As asyncio.to_thread, but a cancellation waits for the end of the call.

    What is just being started would otherwise run on after everything was stopped.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        raise


# Which processes run, on which ports, with which environment; every connection between two parts passes a proxy.


ROOT = Path(__file__).resolve().parents[2]


RECEIVER_LINK = "workers>receiver"

# Shorter than in production, so that a run ends: what is lost with a worker is found after LEASE_SECONDS.
LEASE_SECONDS = 20.0


DELIVERY_TIMEOUT_SECONDS = 5.0


RETRY_LIMIT = 8
# After Postgres was away no lease is taken for lost; the dispatcher's constant.
GUARD_SECONDS = 10.0


TUNING: Mapping[str, str] = {
    "ENV": "development",
    "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "DELIVERY_TIMEOUT_SECONDS": f"{DELIVERY_TIMEOUT_SECONDS:g}",
    "RETRY_LIMIT": f"{RETRY_LIMIT}",
    "RETRY_BASE_SECONDS": "1",
    "RETRY_CAP_SECONDS": "8",
    "WORKER_CONCURRENCY": "256",
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Ports and links. A link is named FROM>TO; its port is the proxy's."""

    folder: Path
    # Callers are authenticated, as they are in production.
    api_key: str = field(repr=False)
    service_key: str = field(repr=False)
    gateway_port: int
    postgres_port: int
    redis_port: int
    receiver_port: int
    grpc_ports: Mapping[str, int]
    metrics_ports: Mapping[str, int]
    links: Mapping[str, int]

    @property
    def base_url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def target_url(self, endpoint: str) -> str:
        """Where workers reach an endpoint of the receiver."""
        return f"http://127.0.0.1:{self.links[RECEIVER_LINK]}/{endpoint}"

    def target_port(self, link: str) -> int:
        """The port behind a link's proxy."""
        to = link.partition(">")[2]
        stores = {"postgres": self.postgres_port, "redis": self.redis_port, "receiver": self.receiver_port}
        return stores[to] if to in stores else self.grpc_ports[to]

    def readiness_urls(self, name: str) -> list[str]:
        """What answers 200 when the process serves."""
        urls = [f"http://127.0.0.1:{self.metrics_ports[name]}/readyz"]
        return [*urls, f"{self.base_url}/livez"] if name == "gateway" else urls

    def command(self, name: str, *, database_url: str) -> Command:
        """How to run a process; `database_url` is that of Postgres itself."""
        role = name.partition("-")[0]
        environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **TUNING,
            "AUTH_REQUIRED": "true",
            "BOOTSTRAP_ADMIN_KEY": self.api_key,
            "SERVICE_KEY": self.service_key,
            # For the key that secrets are encrypted with.
            "DATA_DIR": str(self.folder),
            "METRICS_PORT": str(self.metrics_ports[name]),
        }
        if name in STORE_USERS:
            environment["DATABASE_URL"] = _with_port(database_url, self.links[f"{name}>postgres"])
            environment["REDIS_URL"] = f"redis://127.0.0.1:{self.links[f'{name}>redis']}/0"
        if name in self.grpc_ports:
            environment["GRPC_PORT"] = str(self.grpc_ports[name])
        if role == "gateway":
            environment["PORT"] = str(self.gateway_port)
            for variable, names in (("INGEST", INGESTS), ("DELIVERY", DELIVERIES), ("ANALYTICS", ["analytics"])):
                addresses = ",".join(f"127.0.0.1:{self.links[f'gateway>{to}']}" for to in names)
                # gRPC's own way to write several addresses.
                environment[f"{variable}_ADDR"] = f"ipv4:{addresses}"
        return Command(
            name=name,
            arguments=[sys.executable, "-m", "services", role],
            log_path=self.folder / "logs" / f"{name}.log",
            environment=environment,
            # Not the checkout, whose .env is the developer's.
            cwd=self.folder,
        )


def make_plan(folder: Path) -> Plan:
    """Chooses the ports. Raises OSError when there are not enough free ones."""
    grpc_names = [*INGESTS, *DELIVERIES, "analytics"]
    links = [
        *(f"gateway>{name}" for name in grpc_names),
        *(f"{name}>{store}" for name in STORE_USERS for store in ("postgres", "redis")),
        RECEIVER_LINK,
    ]
    free = iter(ports.free_ports(4 + len(grpc_names) + len(INSTANCES) + len(links)))
    return Plan(
        folder=folder.resolve(),
        api_key=keys.make(),
        service_key=secrets.token_urlsafe(32),
        gateway_port=next(free),
        postgres_port=next(free),
        redis_port=next(free),
        receiver_port=next(free),
        grpc_ports={name: next(free) for name in grpc_names},
        metrics_ports={name: next(free) for name in INSTANCES},
        links={link: next(free) for link in links},
    )


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))


# The real stack: stores and processes of our own, started again whenever one has died, as a supervisor would.


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
        while not (self.child.running and await in_thread(self.is_ready)):
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
            await in_thread(self.parts[name].launch)
        await asyncio.gather(*(self.parts[name].wait_ready() for name in names))

    async def keep(self) -> None:
        """Starts what has died and is not held, for ever."""
        while True:
            for part in self.parts.values():
                if not part.held and not part.child.running:
                    await in_thread(part.launch)
            await asyncio.sleep(TICK_SECONDS)

    async def stop_processes(self) -> None:
        """Stops all but the stores in good order; nothing starts them again."""
        for name in INSTANCES:
            self.parts[name].held = True
        for roles in STOP_STAGES:
            children = [self.parts[name].child for name in INSTANCES if name.partition("-")[0] in roles]
            await asyncio.gather(*(in_thread(child.stop, STOP_TIMEOUT_SECONDS) for child in children))


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
        await in_thread(postgres.start)
        await in_thread(redis.start)
        await in_thread(postgres.ensure_database, DATABASE)
        await in_thread(migrate, postgres.url(DATABASE))
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
    is_ready = functools.partial(supervisor.all_ready, plan.readiness_urls(name))
    return Part(child=child, launch=child.launch, is_ready=is_ready)
