"""A primary, its replica, and sentinels that monitor both: real processes on free ports of 127.0.0.1."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from dev.embedded import Child, EmbeddedValkey, Guard, ports
from dev.embedded.child import Command
from dev.harness.waiting import wait_until_sync

SERVICE = "webhook-redis"
DOWN_AFTER_MILLISECONDS = 500
START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Two servers, and the sentinels that know which one is the primary."""

    servers: list[EmbeddedValkey]
    sentinels: list[Child]
    sentinel_ports: list[int]
    password: str
    sentinel_password: str

    @property
    def url(self) -> str:
        """Return the value of REDIS_URL."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://:{self.password}@{hosts}/{SERVICE}/0?sentinel_password={self.sentinel_password}"

    def primary(self) -> EmbeddedValkey:
        """Return the server that the sentinels consider the primary."""
        with contextlib.closing(self.sentinel()) as client:
            # Not "get-master-addr-by-name", which returns the new one a moment before clients are notified.
            masters: Any = client.sentinel_masters()
            port = masters[SERVICE]["port"]
        return next(server for server in self.servers if server.port == port)

    def sentinel(self, index: int = 0) -> "redis.Redis":
        """Return a client of one of the sentinels."""
        return redis.Redis(port=self.sentinel_ports[index], password=self.sentinel_password)

    def knows(self, index: int) -> bool:
        """Return whether a sentinel has found the replica, in sync, and all the other sentinels."""
        with contextlib.suppress(redis.RedisError), contextlib.closing(self.sentinel(index)) as client:
            in_step = [found for found in client.sentinel_slaves(SERVICE) if found["master-link-status"] == "ok"]
            masters: Any = client.sentinel_masters()
            return (len(in_step), masters[SERVICE]["num-other-sentinels"]) == (1, len(self.sentinels) - 1)
        return False

    def server(self, server: EmbeddedValkey) -> "redis.Redis":
        """Return a client of one of the servers."""
        return redis.Redis(port=server.port, password=self.password)

    def fail_over(self) -> EmbeddedValkey:
        """Kill the primary, wait until the replica is primary, and return that."""
        killed = self.primary()
        killed.kill()
        wait_until_sync(lambda: self.primary() is not killed, START_SECONDS, what="a failover")
        return self.primary()


@contextlib.contextmanager
def running(*, number: int = 1) -> Iterator[Watched]:
    """Start servers and sentinels and wait until they are in sync; stop them when the context ends."""
    folder = Path(tempfile.mkdtemp(prefix="sentinel-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        guard = stack.enter_context(Guard())
        primary, replica = (stack.enter_context(EmbeddedValkey(folder / name, guard=guard)) for name in ("a", "b"))
        watched = Watched(
            servers=[primary, replica],
            sentinels=[],
            sentinel_ports=[],
            password="of-the-servers",
            sentinel_password="of-the-sentinels",
        )
        _replicate(primary, replica, watched.password)
        for index in range(number):
            port = ports.free_port()
            sentinel = _sentinel(folder / f"sentinel-{index}", port, primary, watched, guard)
            stack.callback(sentinel.stop, 5.0)
            sentinel.launch()
            watched.sentinels.append(sentinel)
            watched.sentinel_ports.append(port)
        wait_until_sync(lambda: all(map(watched.knows, range(number))), START_SECONDS, what="sentinels that know all")
        yield watched


def _replicate(primary: EmbeddedValkey, replica: EmbeddedValkey, password: str) -> None:
    for server in (primary, replica):
        with contextlib.closing(redis.Redis(port=server.port)) as client:
            client.config_set("repl-diskless-sync-delay", 0)
            client.config_set("masterauth", password)
            if server is replica:
                client.replicaof("127.0.0.1", str(primary.port))
            client.config_set("requirepass", password)
    with contextlib.closing(redis.Redis(port=replica.port, password=password)) as client:
        wait_until_sync(
            lambda: client.info("replication")["master_link_status"] == "up", START_SECONDS, what="a replica in step"
        )


def _sentinel(folder: Path, port: int, primary: EmbeddedValkey, watched: Watched, guard: Guard) -> Child:
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"bind 127.0.0.1\nport {port}\ndir {folder}\nrequirepass {watched.sentinel_password}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
        f"sentinel auth-pass {SERVICE} {watched.password}\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MILLISECONDS}\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    command = Command(
        name=folder.name,
        arguments=[primary.process.command.arguments[0], str(folder / "sentinel.conf"), "--sentinel"],
        log_path=folder / "log",
        environment={"PATH": os.defpath, "LC_ALL": "C"},
        cwd=folder,
        stop_signal=signal.SIGTERM,
        store=True,
    )
    return Child(command, guard=guard)
