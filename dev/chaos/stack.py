"""The real stack with a proxy on every connection. Dead processes are restarted."""

import asyncio
import contextlib
import functools
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from dev.chaos.schedule import Shape
from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, ports
from dev.harness import keys as harness_keys
from dev.harness import plan
from dev.harness.network.proxy import Proxy, proxying
from dev.harness.supervisor import DATABASE, READY_TIMEOUT_SECONDS, TICK_SECONDS, Part, Supervisor, migrate, process
from services.platform.auth import keys

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object, on_cancel: Callable[[], None] = lambda: None) -> T:
    """Like asyncio.to_thread, but a cancellation waits for the call to end.

    Otherwise a process that is just starting would keep running after everything was stopped.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        on_cancel()
        await asyncio.wait({call})
        raise


ROOT = Path(__file__).resolve().parents[2]
RECEIVER_LINK = "workers>receiver"

# Shorter than in production, so that a run ends: deliveries of a lost worker are found after LEASE_SECONDS.
LEASE_SECONDS = 20.0
DELIVERY_TIMEOUT_SECONDS = 5.0
RETRY_LIMIT = 8
# The dispatcher's constant: after an outage of Postgres, no lease is expired for this long.
GUARD_SECONDS = 10.0
TUNING: Mapping[str, str] = {
    "ENV": "development",
    "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "DELIVERY_TIMEOUT_SECONDS": f"{DELIVERY_TIMEOUT_SECONDS:g}",
    "RETRY_LIMIT": f"{RETRY_LIMIT}",
    "RETRY_BASE_SECONDS": "1",
    "RETRY_CAP_SECONDS": "8",
    "WORKER_CONCURRENCY": "256",
    # So that endpoints that fail again and again are not left alone for minutes.
    "BREAKER_COOLDOWN_SECONDS": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True, kw_only=True)
class Plan(plan.Plan):
    """Ports and links. A link is named FROM>TO; its port is the proxy's."""

    # Callers are authenticated, as in production.
    api_key: str = field(repr=False)
    service_key: str = field(repr=False)
    receiver_port: int
    # Of each process with a gateway; events are sent to the first.
    gateway_ports: Mapping[str, int]
    links: Mapping[str, int]

    def readiness_urls(self, name: str) -> list[str]:
        """Return what must respond with 200 before a process counts as started: of several gateways, each its own."""
        return [f"http://{plan.address(self.reach, self.metrics_ports[name])}/readyz"]

    def target_url(self, endpoint: str) -> str:
        """Return the URL at which workers reach an endpoint of the receiver."""
        return f"http://127.0.0.1:{self.links[RECEIVER_LINK]}/{endpoint}"

    def target_port(self, link: str) -> int:
        """Return the port behind a link's proxy."""
        to = link.partition(">")[2]
        behind = {"postgres": self.postgres_port, "redis": self.redis_port, "receiver": self.receiver_port}
        return behind.get(to) or self.grpc_ports[to]

    def process(self, name: str, guard: Guard, *, database_url: str) -> Part:
        """Return the part that runs a process; `database_url` is the direct URL of Postgres."""
        environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **TUNING,
            "AUTH_REQUIRED": "true",
            "BOOTSTRAP_ADMIN_KEY": self.api_key,
            "SERVICE_KEY": self.service_key,
            "ENCRYPTION_KEYS": self.encryption_keys,
            "METRICS_PORT": str(self.metrics_ports[name]),
        }
        roles = self.roles(name)
        if f"{name}>postgres" in self.links:
            environment["DATABASE_URL"] = _with_port(database_url, self.links[f"{name}>postgres"])
            environment["REDIS_URL"] = f"redis://127.0.0.1:{self.links[f'{name}>redis']}/0"
        if name in self.grpc_ports:
            environment["GRPC_PORT"] = str(self.grpc_ports[name])
        if "gateway" in roles:
            environment["PORT"] = str(self.gateway_ports[name])
            for role in plan.GRPC_ROLES:
                others = [to for to in self.processes if role in self.roles(to) and to != name]
                # The only copy of a role is in this process.
                there = [self.links[f"{name}>{to}"] for to in others] or [self.grpc_ports[name]]
                # gRPC's syntax for several addresses.
                environment[f"{role.upper()}_ADDR"] = f"ipv4:{','.join(f'127.0.0.1:{port}' for port in there)}"
        # Not in the checkout, whose .env belongs to the developer.
        return process(self.run(name, environment, cwd=self.data_dir), guard, self.readiness_urls(name))


def make_plan(folder: Path, shape: Shape) -> Plan:
    """Choose the ports. Raise OSError if there are not enough free ones."""
    grpc_names, gateways = shape.having(*plan.GRPC_ROLES), shape.having("gateway")
    links = [
        *shape.calls,
        *(f"{name}>{store}" for name in shape.store_users for store in ("postgres", "redis")),
        RECEIVER_LINK,
    ]
    free = iter(ports.free_ports(3 + len(gateways) + len(grpc_names) + len(shape.instances) + len(links)))
    gateway_ports = {name: next(free) for name in gateways}
    return Plan(
        data_dir=folder.resolve(),
        processes=shape.instances,
        reach="127.0.0.1",
        encryption_keys=harness_keys.ENCRYPTION_KEY,
        api_key=keys.make(),
        service_key=secrets.token_urlsafe(32),
        gateway_port=gateway_ports[gateways[0]],
        gateway_ports=gateway_ports,
        postgres_port=next(free),
        redis_port=next(free),
        receiver_port=next(free),
        grpc_ports={name: next(free) for name in grpc_names},
        metrics_ports={name: next(free) for name in shape.instances},
        links={link: next(free) for link in links},
    )


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))


STOP_TIMEOUT_SECONDS = 12.0


async def wait_ready(part: Part) -> None:
    """Wait until a part is ready; TimeoutError if it does not become ready."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not (part.child.running and await in_thread(part.is_ready)):
        if time.monotonic() > deadline:
            last = " | ".join(part.child.last_lines(3))
            raise TimeoutError(f"{part.name} is not ready after {READY_TIMEOUT_SECONDS:g} s: {last}")
        await asyncio.sleep(TICK_SECONDS)


@dataclass(kw_only=True)
class Stack:
    """Created by `running`. Parts are named as in schedule.py, and the stores "postgres" and "redis"."""

    postgres: EmbeddedPostgres
    redis: EmbeddedValkey
    links: Mapping[str, Proxy]
    supervisor: Supervisor
    # The processes in the order in which they start.
    instances: Sequence[str]
    _keeper: "asyncio.Future[None] | None" = None

    @property
    def database_url(self) -> str:
        """Return the direct URL of Postgres, without a proxy."""
        return self.postgres.url(DATABASE)

    @property
    def parts(self) -> Mapping[str, Part]:
        """Return the parts that faults can hit."""
        return {"redis" if name == "valkey" else name: part for name, part in self.supervisor.parts.items()}

    async def start(self, the_plan: Plan, guard: Guard) -> None:
        """Start the processes, and from then on restart those that die."""
        database_url = self.postgres.tcp_url(DATABASE)
        new = [the_plan.process(name, guard, database_url=database_url) for name in self.instances]
        await in_thread(self.supervisor.start, new, on_cancel=self.supervisor.request_stop)
        self._keeper = asyncio.ensure_future(asyncio.to_thread(self.supervisor.watch))

    async def stop_processes(self) -> None:
        """Stop everything except the stores, in order; nothing restarts them."""
        self.supervisor.request_stop()
        if self._keeper:
            await self._keeper
        await in_thread(functools.partial(self.supervisor.stop, stage_seconds=STOP_TIMEOUT_SECONDS, stores=False))


@contextlib.asynccontextmanager
async def running(the_plan: Plan, say: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Yield a running stack, which ends with the context or with this process."""
    the_plan.data_dir.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as cleanup:
        # Do this first, so that no other process takes their ports.
        links = {
            name: await cleanup.enter_async_context(proxying(name, port=port, target_port=the_plan.target_port(name)))
            for name, port in the_plan.links.items()
        }
        guard = cleanup.enter_context(Guard())
        stores = await in_thread(the_plan.stores, guard, say)
        cleanup.callback(stores.close)
        postgres, redis = stores.postgres, stores.valkey
        assert postgres is not None
        assert redis is not None
        supervisor = Supervisor(max_deaths=None)
        instances = tuple(the_plan.processes)
        stack = Stack(postgres=postgres, redis=redis, links=links, supervisor=supervisor, instances=instances)
        cleanup.push_async_callback(stack.stop_processes)
        await in_thread(stack.supervisor.start_stores, (postgres, redis), on_cancel=stack.supervisor.request_stop)
        await in_thread(migrate, postgres.url(DATABASE))
        say("the stores run, and the schema is made")
        await stack.start(the_plan, guard)
        yield stack
