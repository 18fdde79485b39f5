"""The real stack, with the processes that `make run` starts, and what a benchmark asks of its Postgres."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import redis

from dev.benchmarks.bench import SHAPES
from dev.benchmarks.measuring.database import Database
from dev.benchmarks.measuring.meter import Recorded
from dev.embedded import Guard, ports
from dev.harness import plan, supervisor
from dev.harness.load.payloads import Template
from dev.harness.supervisor import StackError
from dev.local.settings import LocalSettings
from services.domain import live
from services.domain.secrets.encryption import Keys, parse_keys
from services.domain.secrets.vault import Secret, Vault
from services.platform.auth import keys
from services.platform.stores import sql

SQL = sql.Queries("dev.benchmarks")
DELIVERIES_PER_STATEMENT = 50_000


class BenchmarkStore(Database):
    """What a benchmark asks of our Postgres, and puts into it."""

    def __init__(self, database_url: str, *, encryption_keys: str, checkpoint: Callable[[], object]) -> None:
        super().__init__(database_url, SQL, checkpoint=checkpoint)
        self._vault = Vault(Keys(parse_keys(encryption_keys)))

    def unfinished(self, subscriptions: Sequence[UUID] | None = None) -> bool:
        """Return whether any delivery, or any to these subscriptions, is unfinished."""
        return bool(self.value("unfinished") if subscriptions is None else self.value("unfinished_of", subscriptions))

    def recorded(self, since: float, until: float, subscriptions: Sequence[UUID] | None = None) -> Recorded:
        """Return the successful attempts since a time, and those between two times, in Unix seconds."""
        row = self.row("recorded", since, until, subscriptions)
        return Recorded(total=row["recorded"], in_window=row["in_window"])

    def insert_scheduled(
        self, count: int, seconds: float, after_seconds: float, event_type: str, payload: Template
    ) -> None:
        """Create scheduled events of the default tenant that are due one after the other over some seconds."""
        begin, end = payload.prefix.decode(), payload.suffix.decode()
        self.execute("insert_scheduled", count, float(seconds), after_seconds, event_type, begin, end)

    def lateness(self, since: float, event_type: str) -> Any:
        """Return how late deliveries of scheduled events began that were due since a time, in Unix seconds."""
        return self.row("lateness", since, event_type)

    def insert_finished(self, count: int, subscription: UUID, *, on_made: Callable[[int], None]) -> None:
        """Create delivered deliveries of the default tenant, with an attempt each."""
        for first in range(0, count, DELIVERIES_PER_STATEMENT):
            number = min(count - first, DELIVERIES_PER_STATEMENT)
            self.execute("insert_finished", number, subscription)
            on_made(first + number)

    def insert_subscriptions(self, targets: Sequence[tuple[UUID, str]], secret: str) -> None:
        """Create subscriptions without the API."""
        made = [subscription for subscription, _ in targets]
        sealed = [self._vault.seal(subscription, [Secret(secret)]) for subscription in made]
        self.execute("insert_subscriptions", made, [url for _, url in targets], sealed)

    def insert_waiting_subscriptions(self, tenant_id: str, count: int) -> None:
        """Make paused subscriptions of a tenant, each with a delivery that is due."""
        for first in range(0, count, DELIVERIES_PER_STATEMENT):
            number = min(count - first, DELIVERIES_PER_STATEMENT)
            self.execute("insert_waiting_subscriptions", tenant_id, number)

    def insert_subscribers(self, tenant_id: str, count: int, event_type: str, target_url: str) -> None:
        """Make subscriptions of a tenant to an event type."""
        self.execute("insert_subscribers", tenant_id, count, event_type, target_url)

    def insert_delivered(self, tenant_id: str, subscription: UUID, count: int, payload: Template) -> list[UUID]:
        """Make deliveries that have ended; return their ids."""
        begin, end = payload.prefix.decode(), payload.suffix.decode()
        return [row["id"] for row in self.rows("insert_delivered", tenant_id, subscription, count, begin, end)]

    def limit_rates(self, subscriptions: Sequence[UUID], per_second: float) -> None:
        """Give subscriptions a rate limit."""
        self.execute("limit_rates", subscriptions, per_second)

    def insert_backlog(
        self, count: int, subscriptions: Sequence[UUID], payload: Template, *, on_made: Callable[[int], None]
    ) -> None:
        """Create events numbered from 0, each with a due delivery to one of the subscriptions in turn."""
        begin, end = payload.prefix.decode(), payload.suffix.decode()
        for first in range(0, count, DELIVERIES_PER_STATEMENT):
            last = min(count, first + DELIVERIES_PER_STATEMENT) - 1
            self.execute("insert_backlog", first, last, list(subscriptions), begin, end)
            on_made(last + 1)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold a snapshot open on a connection of its own, as a backup does."""
        other = self._runner.run(asyncpg.connect(self._url))
        transaction = other.transaction(isolation="repeatable_read", readonly=True)
        self._runner.run(transaction.start())
        self._runner.run(other.fetchval(SQL["unfinished"]))
        try:
            yield
        finally:
            other.terminate()


STOP_TIMEOUT_SECONDS = 6.0
REQUEST_TIMEOUT_SECONDS = 10.0
LEASE_SECONDS = 60
ROLES = plan.ROLES
STORES = ("postgres", "redis")
# The most that an API key may be given.
MAX_REQUESTS_PER_SECOND = 100_000
FIVE, TWO, ONE = SHAPES
# The roles of each process, by shape. The name of a process is that of its roles.
PROCESSES: Mapping[str, Sequence[Sequence[str]]] = {
    FIVE: [(role,) for role in ROLES],
    TWO: [("delivery", "worker", "analytics"), ("gateway", "ingest")],
    ONE: [("gateway", "ingest", "delivery", "worker", "analytics")],
}
# Of a process of several roles. It is less than STOP_TIMEOUT_SECONDS.
GRACE_SECONDS = 5
# Deliveries must be signed.
SECRET = "whsec_YmVuY2htYXJrcyBzaWduIGFzIHdlbGw="  # noqa: S105 - of throw-away subscriptions


class Stack:
    """Created by `running`. A second and third worker are called worker-2 and worker-3, and count as `worker`."""

    def __init__(
        self,
        the_plan: plan.Plan,
        settings: LocalSettings,
        guard: Guard,
        environment: Mapping[str, str],
        *,
        shape: str,
        checkout: Path | None,
        nameserver_port: int | None,
        wal_mb: int,
    ) -> None:
        self._plan = the_plan
        self._processes = {"-".join(roles): roles for roles in PROCESSES[shape]}
        self._checkout = checkout
        self._nameserver_port = nameserver_port
        self._wal_mb = wal_mb
        self._settings = settings
        self._guard = guard
        self._environment = environment
        self._stores = the_plan.stores(guard, lambda _: None)
        # Roles of one process share a port.
        self._grpc_ports = {
            role: next(the_plan.grpc_ports[first] for first in roles if first in the_plan.grpc_ports)
            for roles in self._processes.values()
            for role in roles
            if role in the_plan.grpc_ports
        }
        self._supervisor = supervisor.Supervisor(max_deaths=1)
        # Callers are authenticated, as in production.
        self.api_key = keys.make()
        self._keys = {
            "AUTH_REQUIRED": "true",
            "BOOTSTRAP_ADMIN_KEY": self.api_key,
            "SERVICE_KEY": secrets.token_urlsafe(32),
        }

    # -- addresses --

    @property
    def port(self) -> int:
        """The gateway's."""
        return self._plan.gateway_port

    def grpc_port(self, role: str) -> int:
        """Where a role serves gRPC."""
        return self._grpc_ports[role]

    @property
    def database_url(self) -> str:
        """Postgres, by Unix socket."""
        return self._stores.database_url

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self._plan.logs

    def trees(self) -> dict[str, list[int]]:
        """Return the roots of the process trees of the service and both stores."""
        found: dict[str, list[int]] = {name: [] for name in (*self._processes, *STORES)}
        for part in self._supervisor.parts.values():
            if part.role in ROLES and part.child.pid is not None and part.child.running:
                found[part.name if part.name in found else part.role].append(part.child.pid)
        assert self._stores.postgres is not None
        assert self._stores.valkey is not None
        for name, pid in (("postgres", self._stores.postgres.pid), ("redis", self._stores.valkey.pid)):
            if pid is not None:
                found[name].append(pid)
        return found

    # -- life --

    def start_stores(self) -> None:
        """Start both stores and create the schema."""
        self._supervisor.start_stores((self._stores.postgres, self._stores.valkey))
        assert self._stores.postgres is not None
        if self._wal_mb:
            self._stores.postgres.fill_wal(self._wal_mb)
        if self._checkout is None:
            supervisor.migrate(self.database_url)
        else:
            self._migrate_as(self._checkout)

    def start(self, *, workers: int = 1) -> None:
        """Start every process that is not running, and wait until all are ready."""
        names = [*self._processes, *(f"worker-{number}" for number in range(2, workers + 1))]
        self._supervisor.start(self._part(name) for name in names if name not in self._supervisor.parts)

    def stop(self) -> None:
        """Stop every process except the stores, in order."""
        self._supervisor.stop(stage_seconds=STOP_TIMEOUT_SECONDS, stores=False)

    def close(self) -> None:
        """Stop what is still running, the stores last."""
        self.stop()
        self._stores.close()

    def check(self) -> None:
        """Raise StackError when a process has died."""
        self._supervisor.check()

    # -- operations for benchmarks --

    def create_tenant(self, name: str) -> str:
        """Make a tenant; return an API key of it whose own request rate is no limit here."""
        self._ask("POST", "/admin/tenants", {"id": name})
        key = {"tenant_id": name, "name": name, "role": "write", "requests_per_second": MAX_REQUESTS_PER_SECOND}
        return self._ask("POST", "/admin/api-keys", key)["key"]

    def subscribe(
        self, target_urls: Sequence[str], event_types: Sequence[str] = (), *, api_key: str = ""
    ) -> list[UUID]:
        """Make subscriptions of a key's tenant through the API; return their ids in order."""
        fields = {"event_types": list(event_types), "secret_key": SECRET}
        return [
            UUID(self._ask("POST", "/subscriptions", {"target_url": url, **fields}, api_key=api_key)["id"])
            for url in target_urls
        ]

    def retarget(self, subscription: UUID, target_url: str) -> None:
        """Change a subscription's target; its secret stays."""
        self._ask("PUT", f"/subscriptions/{subscription}", {"target_url": target_url})

    def unsubscribe(self, subscriptions: Sequence[UUID]) -> None:
        """Delete subscriptions, which cancels their waiting deliveries."""
        for subscription in subscriptions:
            self._ask("DELETE", f"/subscriptions/{subscription}")

    @contextlib.contextmanager
    def store(self) -> Iterator[BenchmarkStore]:
        """Yield a connection to Postgres."""
        postgres = self._stores.postgres
        assert postgres is not None
        keys = self._plan.encryption_keys
        checkpoint = partial(postgres.execute, "CHECKPOINT")
        with BenchmarkStore(self.database_url, encryption_keys=keys, checkpoint=checkpoint) as store:
            yield store

    def redis_peak_bytes(self) -> int:
        """Return the peak memory of Redis since its start."""
        return self._redis_says("memory", "used_memory_peak")

    def redis_commands(self) -> int:
        """Return how many commands Redis has processed; this question is one."""
        return self._redis_says("stats", "total_commands_processed")

    def somebody_watches(self) -> bool:
        """Return whether workers tell what becomes of deliveries."""
        with contextlib.closing(redis.Redis.from_url(self._stores.redis_url)) as client:
            return bool(client.exists(str(live.STREAM)))

    def _redis_says(self, section: str, key: str) -> int:
        with contextlib.closing(redis.Redis.from_url(self._stores.redis_url)) as client:
            return int(client.info(section)[key])

    def _migrate_as(self, checkout: Path) -> None:
        environment = {**self._of_checkout(checkout), "DATABASE_URL": self.database_url}
        arguments = [_python(checkout), "-m", "services", "migrate"]
        with (self.logs / "migrate.log").open("wb") as log:
            done = subprocess.run(  # noqa: S603 - our own command line
                arguments,
                check=False,
                cwd=self._plan.data_dir,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        if done.returncode != 0:
            raise StackError(f"{checkout} cannot migrate: see {log.name}")

    @staticmethod
    def _of_checkout(checkout: Path) -> dict[str, str]:
        return {"PYTHONPATH": str(checkout)}

    def _part(self, name: str) -> supervisor.Part:
        roles = self._processes.get(name, [name.partition("-")[0]])
        lead = "gateway" if "gateway" in roles else roles[0]
        urls = self._plan.readiness_urls(lead)
        environment = {**self._environment_of(roles, lead), **self._keys, **self._environment}
        if name not in self._processes:
            port = ports.free_port()
            environment["METRICS_PORT"] = str(port)
            urls = [f"http://127.0.0.1:{port}/readyz"]
        arguments = ["-m", "services", *roles]
        if self._nameserver_port is not None and "worker" in roles:
            arguments = ["-m", "dev.harness.network.resolving", str(self._nameserver_port), *roles]
        python = sys.executable
        if self._checkout is not None:
            environment |= self._of_checkout(self._checkout)
            python = _python(self._checkout)
        # Not in the checkout, whose .env belongs to the developer.
        command = self._plan.run(name, environment, cwd=self._plan.data_dir)
        return supervisor.process(replace(command, arguments=[python, *arguments]), self._guard, urls)

    def _environment_of(self, roles: Sequence[str], lead: str) -> dict[str, str]:
        """Return what the roles of a process need; `lead` is the one whose operations port it has."""
        environment: dict[str, str] = {}
        for role in sorted(roles, key=lambda role: role == lead):
            environment |= self._plan.command(
                role, self._settings, database_url=self.database_url, redis_url=self._stores.redis_url
            ).environment
        if len(roles) > 1:
            environment["SHUTDOWN_GRACE_SECONDS"] = str(GRACE_SECONDS)
        for role, port in self._grpc_ports.items():
            if role in roles:
                environment["GRPC_PORT"] = str(port)
            if "gateway" in roles:
                environment[f"{role.upper()}_ADDR"] = plan.address(self._plan.reach, port)
        return environment

    def _ask(self, method: str, path: str, document: object = None, *, api_key: str = "") -> dict[str, str]:
        """Return the response of the API; nothing for a 204."""
        request = urllib.request.Request(  # noqa: S310 - http, to our own gateway
            f"{self._plan.gateway_url}/api/v1{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {api_key or self.api_key}"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            decoded: dict[str, str] = json.loads(answer.read() or b"{}")
        return decoded


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    shape: str = FIVE,
    checkout: Path | None = None,
    environment: Mapping[str, str] | None = None,
    nameserver_port: int | None = None,
    wal_mb: int = 0,
) -> Iterator[Stack]:
    """Yield a stack with running stores; `start` starts its processes. The context ends all of it.

    The processes get variables such as WORKER_CONCURRENCY from our environment, so that you can try a setting.
    `environment` overrides them. The stores are always the stack's own.
    """
    # Not read from the environment, where it could name someone's database.
    settings = LocalSettings.model_construct(
        _fields_set={"port", "data_dir", "lease_seconds", "processes"},
        port=ports.free_port(),
        data_dir=folder,
        lease_seconds=LEASE_SECONDS,
        processes="five",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with Guard() as guard:
        stack = Stack(
            plan.make(settings),
            settings,
            guard,
            environment or {},
            shape=shape,
            checkout=checkout,
            nameserver_port=nameserver_port,
            wal_mb=wal_mb,
        )
        try:
            stack.start_stores()
            yield stack
        finally:
            stack.close()


def _python(checkout: Path) -> str:
    """Return the Python of another copy of the project; ours if it has none."""
    own = checkout / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable
