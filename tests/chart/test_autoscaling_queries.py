"""A real Prometheus answers what HPA and KEDA ask: of a running stack, scraped as the pods of a cluster would be."""

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from services.embedded.ports import free_port
from tests.chart import rendering
from tests.chart.rendering import ROOT, Object
from tests.integration.delivery import world as worlds
from tests.support import receiver as receivers
from tests.support import stack as stacks
from tests.support.receiver import Reply
from tests.support.stack import Stack
from tests.support.waiting import wait_until, wait_until_sync

SLOTS, DEPTH, BUSY = 8, 300, 2
# The stack stands for two releases, of which one has two pods of each kind: two dispatchers, two workers.
PODS = [("webhook", "demo", 0), ("webhook", "demo", 1), ("elsewhere", "other", 0)]
RELABELING: list[Object] = yaml.safe_load(
    next(
        found["data"]["prometheus.yml"]
        for found in rendering.parsed((ROOT / "kind/prometheus.yaml").read_text())
        if found["kind"] == "ConfigMap"
    )
)["scrape_configs"][0]["relabel_configs"]
RULES: dict[str, Object] = {
    rule["name"]["as"]: rule
    for rule in yaml.safe_load((rendering.CHART / "files/prometheus-adapter-rules.yaml").read_text())
}


class Prometheus:
    """The HTTP API of a server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def get(self, path: str, **parameters: Any) -> Any:
        """What it answers; fails where it answers an error."""
        answer = self._http.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def answers(self, query: str) -> dict[str, float]:
        """The values at this moment, by the labels of their series."""
        found = self.get("/query", query=query)["result"]
        return {json.dumps(each["metric"], sort_keys=True): float(each["value"][1]) for each in found}

    def all_up(self) -> bool:
        """Whether each target was scraped; not yet while it starts."""
        try:
            targets = self.get("/targets", state="active")["activeTargets"]
        except httpx.TransportError:
            return False
        return bool(targets) and all(target["health"] == "up" for target in targets)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


def target(port: int, component: str, namespace: str, release: str, number: int, **more: str) -> Object:
    """A process, with what the discovery of Kubernetes says of a pod."""
    found = {
        "__meta_kubernetes_namespace": namespace,
        "__meta_kubernetes_pod_name": f"{release}-{component}-{number}",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_container_port_name": "metrics",
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": "webhook-service",
        "__meta_kubernetes_pod_label_app_kubernetes_io_instance": release,
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
    } | more
    # Prometheus merges targets of the same address and labels: what tells pods apart here is the label `pod`.
    return {"targets": [f"127.0.0.1:{port}"], "labels": found}


@contextlib.contextmanager
def scraping(targets: list[Object]) -> Iterator[Prometheus]:
    """A server that has scraped each target."""
    program = shutil.which("prometheus")
    assert program, "prometheus is not on PATH: install it (Debian: apt-get install prometheus)"
    folder, port = Path(tempfile.mkdtemp(prefix="prometheus-")), free_port()
    jobs = [
        {"job_name": name, "relabel_configs": RELABELING, "static_configs": targets} for name in ("pods", "pods-again")
    ]
    configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        server = Prometheus(f"http://127.0.0.1:{port}")
        try:
            wait_until_sync(server.all_up, 30, what="the processes to be scraped")
            yield server
        finally:
            server.close()
            process.terminate()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    with stacks.running(folder / "stack", environment={"WORKER_CONCURRENCY": str(SLOTS)}) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def prometheus(stack: Stack) -> AsyncIterator[Prometheus]:
    """With deliveries that wait, and requests that are out for a while."""
    ports = stack.ports
    targets = [
        target(ports["metrics"][component], component, *pod)
        for component, pod in itertools.product(rendering.COMPONENTS, PODS)
    ]
    dropped = [
        {"__meta_kubernetes_pod_phase": "Succeeded"},
        {"__meta_kubernetes_pod_container_port_name": "grpc"},
        {"__meta_kubernetes_pod_label_app_kubernetes_io_name": "another"},
    ]
    targets += [target(1, "worker", "webhook", "demo", 9, **labels) for labels in dropped]
    with scraping(targets) as server:
        async with worlds.opened(ports["database_url"], ports["redis_url"]) as world, receivers.receiving() as receiver:
            receiver.script(then=Reply(delay_seconds=12.0))
            waiting, slow = [await world.subscription(receiver.url()) for _ in range(2)]
            # As if they had been rung for: they wait, and nobody sends them.
            await world.deliver_many(waiting, DEPTH, due_in=600)
            await world.deliver_many(slow, BUSY)

            def measured() -> bool:
                raw = (
                    server.answers("webhook_queue_depth"),
                    server.answers("webhook_worker_busy_slots{component='worker'}"),
                )
                return [set(each.values()) for each in raw] == [{float(DEPTH)}, {float(BUSY)}]

            await wait_until(measured, 12, what="the gauges to be scraped")
            yield server


def asked(name: str, namespace: str, release: str) -> str:
    """The query that the adapter makes of a rule: for the namespace of the HPA, and what the HPA selects."""
    matchers = f'namespace="{namespace}",namespace="{namespace}",release="{release}"'
    series = re.match(r"\w+", RULES[name]["seriesQuery"])
    assert series
    query: str = RULES[name]["metricsQuery"]
    return query.replace("<<.Series>>", series[0]).replace("<<.LabelMatchers>>", matchers)


def labels(namespace: str, release: str) -> str:
    return json.dumps({"namespace": namespace, "release": release})


async def test_the_adapter_finds_the_series_of_every_release(prometheus: Prometheus) -> None:
    for rule in RULES.values():
        found = prometheus.get("/series", **{"match[]": rule["seriesQuery"]})
        assert {(each["namespace"], each["release"]) for each in found} == {("webhook", "demo"), ("elsewhere", "other")}
        assert {each["pod"].rpartition("-")[2] for each in found} == {"0", "1"}


async def test_the_depth_of_a_release_is_counted_once_whatever_measures_it(prometheus: Prometheus) -> None:
    for namespace, release in (("webhook", "demo"), ("elsewhere", "other")):
        answer = prometheus.answers(asked("webhook_queue_depth", namespace, release))
        assert answer == {labels(namespace, release): DEPTH}
    assert prometheus.answers(asked("webhook_queue_depth", "webhook", "other")) == {}


async def test_each_worker_counts_by_the_share_of_its_slots_that_is_busy(prometheus: Prometheus) -> None:
    share = BUSY / SLOTS
    for namespace, release, workers in (("webhook", "demo", 2), ("elsewhere", "other", 1)):
        answer = prometheus.answers(asked("webhook_busy_workers", namespace, release))
        assert answer == {labels(namespace, release): workers * share}


async def test_keda_is_answered_the_same(prometheus: Prometheus) -> None:
    (scaled,) = rendering.of_kind(rendering.scenario("keda"), "ScaledObject")
    answers = [prometheus.answers(trigger["metadata"]["query"]) for trigger in scaled["spec"]["triggers"]]
    assert answers == [{"{}": DEPTH}, {"{}": 2 * BUSY / SLOTS}]
