"""A Redis cluster of real processes on free ports: three primaries, and a replica of the one with our keys."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from dev.embedded import EmbeddedValkey, Guard, ports
from dev.harness.waiting import wait_until_sync
from services.platform.stores.redis_primary import PREFIX

SLOT = key_slot(PREFIX.encode())
SLOTS = [(0, 5460), (5461, 10922), (10923, 16383)]
NODE_TIMEOUT_MILLISECONDS = 1000
START_SECONDS = 60.0
HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Its nodes; the last one is the replica."""

    nodes: list[EmbeddedValkey]
    password: str

    @property
    def url(self) -> str:
        """Return the value of REDIS_URL."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self.password}@{hosts}"

    def primary(self) -> EmbeddedValkey:
        """Return the node that has our slot, according to one of the others."""
        with contextlib.closing(self.server(self.nodes[0])) as client:
            (port,) = (port for first, last, (_, port, *_), *_ in slots(client) if first <= SLOT <= last)
        return next(node for node in self.nodes if node.port == port)

    def server(self, node: EmbeddedValkey) -> "redis.Redis":
        """Return a client of one of the nodes."""
        return redis.Redis(host=HOST, port=node.port, password=self.password)

    def fail_over(self) -> EmbeddedValkey:
        """Kill the primary of our slot, wait until the replica is primary, and return that."""
        killed = self.primary()
        killed.kill()
        wait_until_sync(lambda: self.primary() is not killed, START_SECONDS, what="a failover")
        return self.primary()

    def move(self) -> EmbeddedValkey:
        """Empty our slot, move it to another primary, and return that."""
        target, _, source, _ = self.nodes
        with contextlib.closing(self.server(source)) as client:
            client.flushall()
        with contextlib.closing(self.server(target)) as client:
            run(client, "CLUSTER BUMPEPOCH")
            target_id = run(client, "CLUSTER MYID").decode()
        for node in self.nodes[:3]:
            with contextlib.closing(self.server(node)) as client:
                run(client, f"CLUSTER SETSLOT {SLOT} NODE {target_id}")
        return target


def run(client: "redis.Redis", command: str) -> Any:
    """Run a command and return the raw answer."""
    untyped: Any = client.execute_command
    return untyped(*command.split())


def slots(client: "redis.Redis") -> Any:
    """Return the ranges of slots with their nodes."""
    return run(client, "CLUSTER SLOTS")


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster and wait until its nodes agree; stop it when the context ends."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        guard = stack.enter_context(Guard())
        bus_ports = [ports.free_port() for _ in range(4)]
        nodes = [stack.enter_context(_node(folder / str(port), guard, port)) for port in bus_ports]
        _join(nodes, bus_ports)
        cluster = Cluster(nodes=nodes, password="of-the-nodes")
        for node in nodes:
            with contextlib.closing(redis.Redis(host=HOST, port=node.port)) as client:
                client.config_set("masterauth", cluster.password)
                client.config_set("requirepass", cluster.password)
        with contextlib.closing(cluster.server(nodes[-1])) as client:
            wait_until_sync(
                lambda: client.info("replication").get("master_link_status") == "up",
                START_SECONDS,
                what="a replica in step",
            )
        yield cluster


def _node(folder: Path, guard: Guard, bus_port: int) -> EmbeddedValkey:
    settings = {
        "cluster-enabled": "yes",
        "cluster-port": str(bus_port),
        "cluster-node-timeout": str(NODE_TIMEOUT_MILLISECONDS),
        "repl-diskless-sync-delay": "0",
    }
    return EmbeddedValkey(folder, guard=guard, settings=settings)


def _join(nodes: list[EmbeddedValkey], bus_ports: list[int]) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(redis.Redis(host=HOST, port=node.port))) for node in nodes]
        for client, (first, last) in zip(clients, SLOTS, strict=False):
            run(client, f"CLUSTER ADDSLOTSRANGE {first} {last}")
        for node, bus_port in zip(nodes[1:], bus_ports[1:], strict=True):
            run(clients[0], f"CLUSTER MEET {HOST} {node.port} {bus_port}")
        wait_until_sync(lambda: all(map(_agrees, clients)), START_SECONDS, what="nodes of one mind")
        run(clients[-1], f"CLUSTER REPLICATE {run(clients[-2], 'CLUSTER MYID').decode()}")


def _agrees(client: "redis.Redis") -> bool:
    return b"cluster_state:ok" in run(client, "CLUSTER INFO") and len(slots(client)) == len(SLOTS)
