"""Rollouts and a short outage of Postgres under a steady load: no request fails."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from dev.embedded import StopMode, ports
from dev.harness import keys, stores
from dev.harness.keys import Admin, bearer
from dev.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
REQUESTS_PER_SECOND = 50
# Long enough for the load balancer of this file to see that a gateway is stopping, also on a busy machine; copies of
# ingest are chosen by gRPC, which hears of it at once.
GATEWAY_DRAIN_SECONDS = 6
DRAIN_SECONDS = 3
LOOK_SECONDS = 0.1
OUTAGE_SECONDS = 1.3


@dataclass(kw_only=True)
class Copy:
    """One process of a role, which can be restarted."""

    role: str
    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=ports.free_port)
    ops_port: int = field(default_factory=ports.free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it without waiting."""
        port = {"PORT" if self.role == "gateway" else "GRPC_PORT": str(self.port), "METRICS_PORT": str(self.ops_port)}
        with (self.folder / f"{self.role}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services", self.role],
                cwd=self.folder,
                env={**self.environment, **port},
                stdout=log,
                stderr=log,
            )

    def stop(self) -> "subprocess.Popen[bytes]":
        """Send the stop signal without waiting."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process

    async def ready(self) -> bool:
        """Return whether it reports that it is ready."""
        async with httpx.AsyncClient(timeout=60) as client:
            return await self.ready_to(client)

    async def ready_to(self, client: httpx.AsyncClient) -> bool:
        """Return whether it reports to this client that it is ready."""
        try:
            return (await client.get(f"http://127.0.0.1:{self.ops_port}/readyz")).is_success
        except httpx.TransportError:
            return False

    async def restart(self) -> None:
        """Restart copies like a rollout with one unavailable copy."""
        process = self.stop()
        await wait_until(lambda: process.poll() is not None, what=f"the end of {self.role}")
        assert process.returncode == 0
        self.start()
        await wait_until(self.ready, what=f"{self.role} to be ready")


@dataclass(kw_only=True)
class Cluster:
    """Two gateways, two copies of ingest, and a load balancer that checks the gateways' readiness."""

    gateways: list[Copy]
    ingests: list[Copy]
    stores: stores.Stores
    path: str = ""
    key: str = ""
    answers: Counter[int | str] = field(default_factory=Counter)
    sent: int = 0
    slowest_seconds: float = 0.0
    _ready: list[Copy] = field(default_factory=list)

    async def look(self) -> None:
        """Follow the gateways' readiness, until cancelled."""
        # One client: to make one takes longer than to ask. It keeps no connection, since gateways end.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            while True:
                states = await asyncio.gather(*(gateway.ready_to(client) for gateway in self.gateways))
                ready = [gateway for gateway, is_ready in zip(self.gateways, states, strict=True) if is_ready]
                # If none is ready, a load balancer has no better choice.
                self._ready = ready or self.gateways
                await asyncio.sleep(LOOK_SECONDS)

    async def load(self) -> None:
        """Send at a steady rate until cancelled; then wait for the responses."""
        looking = asyncio.create_task(self.look())
        await wait_until(lambda: self._ready)
        sent: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(max_keepalive_connections=50, keepalive_expiry=60)
        async with httpx.AsyncClient(timeout=60, headers=bearer(self.key), limits=limits) as client:
            try:
                began = time.monotonic()
                for number in itertools.count():
                    sent.add(asyncio.create_task(self._send(client, self._ready[number % len(self._ready)])))
                    await asyncio.sleep(began + number / REQUESTS_PER_SECOND - time.monotonic())
            finally:
                looking.cancel()
                await asyncio.gather(looking, *sent, return_exceptions=True)

    async def _send(self, client: httpx.AsyncClient, gateway: Copy) -> None:
        self.sent += 1
        began = time.monotonic()
        try:
            answer = await client.post(f"http://127.0.0.1:{gateway.port}{self.path}", content=b'{"payload": 1}')
            self.answers[answer.status_code] += 1
        except httpx.TransportError as error:
            self.answers[repr(error)] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def under_load(self, least: int) -> AsyncIterator[None]:
        """Send a load until the context ends, and until there are this many responses."""
        self.answers.clear()
        self.slowest_seconds = 0.0
        loading = asyncio.create_task(self.load())

        def answered(count: int) -> bool:
            if loading.done():
                loading.result()
            return self.answers.total() >= count

        try:
            await wait_until(lambda: answered(REQUESTS_PER_SECOND), what="the load")
            yield
            await wait_until(lambda: answered(least), 150, what="the rest of the load")
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Cluster]:
    with stores.running() as own, own.database() as database:
        environment = {
            **keys.ENVIRONMENT,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database,
            "REDIS_URL": own.redis_url(),
            "DATA_DIR": str(short_folder / "rolling"),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "SHUTDOWN_GRACE_SECONDS": "5",
        }
        folder = short_folder / "rolling"
        folder.mkdir()
        ingests = [Copy(role="ingest", folder=folder, environment=environment) for _ in range(2)]
        addresses = {"INGEST_ADDR": "ipv4:" + ",".join(f"127.0.0.1:{ingest.port}" for ingest in ingests)}
        of_gateways = environment | addresses | {"DRAIN_SECONDS": str(GATEWAY_DRAIN_SECONDS)}
        gateways = [Copy(role="gateway", folder=folder, environment=of_gateways) for _ in range(2)]
        copies = [*ingests, *gateways]
        try:
            for one in copies:
                one.start()
            yield Cluster(gateways=gateways, ingests=ingests, stores=own)
        finally:
            for process in [one.stop() for one in copies if one.process and one.process.poll() is None]:
                process.wait(120)


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(running: Cluster) -> Cluster:
    for one in (*running.ingests, *running.gateways):
        await wait_until(one.ready)
    if not running.path:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.gateways[0].port}", timeout=60) as http:
            running.key = await Admin(http).key()
            fields = {"target_url": "http://127.0.0.1:9/"}
            answer = await http.post("/api/v1/subscriptions", json=fields, headers=bearer(running.key))
            running.path = f"/api/v1/webhooks/ingest/{answer.json()['id']}"
    return running


async def test_requests_do_not_fail_while_every_process_is_restarted(cluster: Cluster) -> None:
    async with cluster.under_load(500):
        for one in (*cluster.ingests, *cluster.gateways):
            await one.restart()
    assert set(cluster.answers) == {202}, cluster.answers


async def test_requests_do_not_fail_while_an_ingest_process_dies(cluster: Cluster) -> None:
    async with cluster.under_load(250):
        for ingest in cluster.ingests:
            assert ingest.process is not None
            ingest.process.kill()
            ingest.process.wait()
            ingest.start()
            await wait_until(ingest.ready)
    assert set(cluster.answers) == {202}, cluster.answers


async def test_requests_do_not_fail_while_postgres_is_down_for_a_second(cluster: Cluster) -> None:
    postgres = cluster.stores.postgres
    async with cluster.under_load(350):
        began = time.monotonic()
        await asyncio.to_thread(postgres.stop, StopMode.IMMEDIATE)
        before = cluster.sent
        await wait_until(
            lambda: cluster.sent >= before + OUTAGE_SECONDS * REQUESTS_PER_SECOND, what="the outage to last"
        )
        await asyncio.to_thread(postgres.start)
        outage_seconds = time.monotonic() - began
    if outage_seconds > 2:
        pytest.skip(f"this machine is too busy: Postgres was away for {outage_seconds:.1f} s")
    assert set(cluster.answers) == {202}, cluster.answers


async def test_gateways_stay_ready_and_answer_503_soon_while_postgres_is_away(
    cluster: Cluster,
) -> None:
    postgres = cluster.stores.postgres
    await asyncio.to_thread(postgres.stop, StopMode.IMMEDIATE)
    try:
        url = f"http://127.0.0.1:{cluster.gateways[0].port}{cluster.path}"
        async with httpx.AsyncClient(timeout=60, headers=bearer(cluster.key)) as client:
            first = await client.post(url, content=b'{"payload": 1}')
            assert (first.status_code, first.headers["retry-after"]) == (503, "1")
            for _ in range(5):
                began = time.monotonic()
                answer = await client.post(url, content=b'{"payload": 1}')
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert time.monotonic() - began < 20  # a call that has no deadline would wait until Postgres is back
            ops = f"http://127.0.0.1:{cluster.gateways[0].ops_port}/readyz"

            async def degraded() -> dict[str, str]:
                answer = await client.get(ops)
                assert answer.status_code == 200
                found: dict[str, str] = answer.json().get("degraded", {})
                return found

            assert "ingest" in (await wait_until(degraded) or {})
            ingest = f"http://127.0.0.1:{cluster.ingests[0].ops_port}/readyz"
            answer = await client.get(ingest)
            assert answer.status_code == 200
            assert "postgres" in answer.json()["degraded"]
    finally:
        await asyncio.to_thread(postgres.start)
