"""Which processes run, on which ports, with which environment; every connection between two parts passes a proxy."""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dev.chaos.kinds import DELIVERIES, INGESTS, INSTANCES, STORE_USERS
from dev.embedded import ports
from dev.embedded.child import Command
from services.platform.auth import keys

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


def make(folder: Path) -> Plan:
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
