"""Which processes run, with which ports and environment, and where their stores are."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, ports
from dev.embedded.child import Command
from dev.harness.supervisor import DATABASE
from dev.local.settings import ROOT, LocalSettings
from services.domain.secrets import encryption

# In the order in which they start.
ROLES = ("ingest", "delivery", "analytics", "worker", "gateway")
GRPC_ROLES = ("ingest", "delivery", "analytics")
# Roles that need the encryption keys.
ENCRYPTING_ROLES = ("ingest", "delivery", "worker")

# The roles of each process, by its name, in the order in which they start: what PROCESSES chooses.
SHAPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "one": {"service": ROLES},
    "two": {"back": ("delivery", "analytics", "worker"), "front": ("ingest", "gateway")},
    "five": {role: (role,) for role in ROLES},
}

# What `make run` adds when it has the URL of an outbox: beside ingest, which the relay then calls without a connection,
# or as a process of its own.
RELAY = "relay"
RELAY_BESIDE = {"one": "service", "two": "front"}

# As in production, so that examples in the docs work, unless another process uses them.
USUAL_GRPC_PORTS: Mapping[str, int] = {"ingest": 50051, "delivery": 50052, "analytics": 50053}

# The maximum time from the stop signal to the end of a process. supervisor.STOP_STAGES allows for it.
GRACE_SECONDS: Mapping[str, float] = {
    "gateway": 1.5,
    "ingest": 1,
    "worker": 3,
    "delivery": 1,
    "analytics": 1,
    "front": 2.5,
    "back": 4,
    "service": 4,
    RELAY: 1.5,
}


@dataclass(frozen=True, kw_only=True)
class StackStores:
    """Where the processes find their data, and the stores that we run."""

    database_url: str
    redis_url: str
    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    def close(self) -> None:
        """Stop the stores that we run, and remove the folder of the socket."""
        for store in (self.valkey, self.postgres):
            if store:
                store.close()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided before the first process starts."""

    data_dir: Path
    # The roles of each process.
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SHAPES["five"])
    # The address of this machine that the processes connect to.
    reach: str
    gateway_port: int
    # By role.
    grpc_ports: Mapping[str, int]
    metrics_ports: Mapping[str, int]
    # None if the store is not ours.
    postgres_port: int | None
    redis_port: int | None
    encryption_keys: str = field(repr=False)

    @property
    def gateway_url(self) -> str:
        """Return the gateway's URL."""
        return f"http://{address(self.reach, self.gateway_port)}"

    @property
    def metrics_url(self) -> str:
        """Return the URL of the metrics of the process with the gateway; other processes have their own ports."""
        return f"http://{address(self.reach, self.metrics_ports['gateway'])}/metrics"

    @property
    def ports_path(self) -> Path:
        """Return the file with all addresses, for other programs."""
        return self.data_dir / "ports.json"

    @property
    def logs(self) -> Path:
        """Return the folder of the logs, one file per process."""
        return self.data_dir / "logs"

    def roles(self, name: str) -> tuple[str, ...]:
        """Return the roles of a process; one that is named like a role, or ROLE-NUMBER, has that role."""
        return self.processes.get(name) or (name.partition("-")[0],)

    def readiness_urls(self, name: str) -> list[str]:
        """Return the URLs that must respond with 200 before the process counts as started."""
        port = self.metrics_ports.get(name) or self.metrics_ports[self.roles(name)[0]]
        urls = [f"http://{address(self.reach, port)}/readyz"]
        return [*urls, f"{self.gateway_url}/livez"] if "gateway" in self.roles(name) else urls

    def command(self, name: str, settings: LocalSettings, *, database_url: str, redis_url: str) -> Command:
        """Return how to run a process."""
        roles = self.roles(name)
        environment = {
            **os.environ,
            # The stack may be started from a folder other than the checkout.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "ENV": settings.env,
            "LEASE_SECONDS": str(settings.lease_seconds),
            "METRICS_PORT": str(self.metrics_ports[roles[0]]),
            "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS[name]),
            # No load balancer distributes load among the processes of one machine.
            "DRAIN_SECONDS": "0",
        }
        if {*ENCRYPTING_ROLES} & {*roles}:
            environment["ENCRYPTION_KEYS"] = self.encryption_keys
        # Several roles share a port, or have the usual ones, which are their default.
        environment.pop("GRPC_PORT", None)
        grpc_ports = {self.grpc_ports[role] for role in roles if role in GRPC_ROLES}
        if len(grpc_ports) == 1:
            environment["GRPC_PORT"] = str(*grpc_ports)
        if "gateway" in roles:
            environment["PORT"] = str(self.gateway_port)
        if {"gateway", RELAY} & {*roles}:
            for role in GRPC_ROLES:
                environment[f"{role.upper()}_ADDR"] = address(self.reach, self.grpc_ports[role])
        return self.run(name, environment)

    def run(self, name: str, environment: Mapping[str, str], *, cwd: Path | None = None) -> Command:
        """Return how to run a process in this environment; copies of a role are named ROLE-NUMBER."""
        return Command(
            name=name,
            arguments=[sys.executable, "-m", "services", *self.roles(name)],
            log_path=self.logs / f"{name}.log",
            environment=environment,
            cwd=cwd,
        )

    def stores(
        self, guard: Guard, say: Callable[[str], None], *, database_url: str = "", redis_url: str = ""
    ) -> StackStores:
        """Prepare our own stores without starting them; the URLs name other stores. Raise EmbeddedError on failure."""
        postgres = valkey = None
        if self.postgres_port is not None:
            folder, log_path = self.data_dir / "postgres", self.logs / "postgres.log"
            postgres = EmbeddedPostgres(folder, port=self.postgres_port, guard=guard, log_path=log_path, say=say)
            postgres.prepare()
        if self.redis_port is not None:
            folder, log_path = self.data_dir / "valkey", self.logs / "valkey.log"
            valkey = EmbeddedValkey(folder, port=self.redis_port, guard=guard, log_path=log_path)
        return StackStores(
            database_url=postgres.url(DATABASE) if postgres else database_url,
            redis_url=valkey.url() if valkey else redis_url,
            postgres=postgres,
            valkey=valkey,
        )

    def write_ports(self, extra: Mapping[str, Any]) -> None:
        """Write ports.json atomically, readable only by its owner, because URLs can contain passwords."""
        content = {
            "gateway": self.gateway_port,
            **self.grpc_ports,
            "metrics": dict(self.metrics_ports),
            "postgres": self.postgres_port,
            "redis": self.redis_port,
            **extra,
        }
        with tempfile.NamedTemporaryFile("w", dir=self.data_dir, prefix="ports.json.", delete=False) as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        Path(file.name).replace(self.ports_path)


def make(settings: LocalSettings) -> Plan:
    """Choose the ports, and find the keys. Raise OSError if there are too few ports, or a key cannot be stored."""
    processes = SHAPES[settings.processes]
    if settings.outbox_database_url:
        processes = with_relay(settings.processes)
    free = iter(ports.free_ports(2 * len(processes) + 2, avoid=(settings.port,)))
    others = {role: port for roles in processes.values() for port in (next(free),) for role in roles}
    metrics_ports = {role: port for roles in processes.values() for port in (next(free),) for role in roles}
    usual = settings.port not in USUAL_GRPC_PORTS.values() and ports.reserve(settings.host, USUAL_GRPC_PORTS.values())
    return Plan(
        data_dir=settings.data_dir.resolve(),
        processes=processes,
        reach=settings.reach,
        gateway_port=settings.port,
        grpc_ports=USUAL_GRPC_PORTS if usual else {role: others[role] for role in GRPC_ROLES},
        metrics_ports=metrics_ports,
        postgres_port=next(free) if settings.own_postgres else None,
        redis_port=next(free) if settings.own_redis else None,
        encryption_keys=encryption.given_or_kept(settings).strip(),
    )


def with_relay(shape: str) -> Mapping[str, tuple[str, ...]]:
    """Return the processes of a shape, with a relay."""
    name = RELAY_BESIDE.get(shape, RELAY)
    processes = SHAPES[shape]
    return {**processes, name: (*processes.get(name, ()), RELAY)}


def address(host: str, port: int) -> str:
    """Return host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
