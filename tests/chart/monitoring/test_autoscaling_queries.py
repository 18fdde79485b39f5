"""A real Prometheus answers the queries of HPA and KEDA about a running stack, scraped like the pods of a cluster."""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from dev.harness import receiver as receivers
from dev.harness import stack as stacks
from dev.harness.receiver import Reply
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.chart import rendering
from tests.chart.monitoring import prometheus
from tests.chart.monitoring.prometheus import Prometheus
from tests.chart.rendering import Object
from tests.delivery import world as worlds

SLOTS, DEPTH, BUSY = 8, 300, 2
# The stack stands for two releases. One of them has two pods of each kind: two dispatchers, two workers.
DEMO, OTHER = {"namespace": "webhook", "release": "demo"}, {"namespace": "elsewhere", "release": "other"}
PODS: list[dict[str, Any]] = [DEMO | {"number": 0}, DEMO | {"number": 1}, OTHER | {"number": 0}]
# Each pod is scraped twice.
JOBS = ("pods", "pods-again")
# What Prometheus also finds, but must not scrape.
DROPPED = {"phase": "Succeeded", "container_port_name": "grpc", "label_app_kubernetes_io_name": "another"}
RULES: dict[str, Object] = {
    rule["name"]["as"]: rule
    for rule in yaml.safe_load((rendering.CHART / "files/prometheus-adapter-rules.yaml").read_text())
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    with stacks.running(folder / "stack", environment={"WORKER_CONCURRENCY": str(SLOTS)}) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scraped(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A stack with waiting deliveries, and with requests in flight for a while."""
    targets = [target for pod in PODS for target in prometheus.pods(stack, **pod)]
    up = len(JOBS) * len(targets)
    for label, value in DROPPED.items():
        target = prometheus.pod(1, "worker", number=9)
        target["labels"][f"__meta_kubernetes_pod_{label}"] = value
        targets.append(target)
    folder = tmp_path_factory.mktemp("scraping") / "prometheus"
    with prometheus.scraping(targets, folder, up=up, jobs=JOBS) as server:
        ports = stack.ports
        async with worlds.opened(ports["database_url"], ports["redis_url"]) as world, receivers.receiving() as receiver:
            receiver.script(then=Reply(hang=True))
            waiting, slow = [await world.subscription(receiver.url(), timeout_seconds=30) for _ in range(2)]
            # As if they had been rung for: they wait, and nobody sends them.
            await world.deliver_many(waiting, DEPTH, due_in=600)
            await world.deliver_many(slow, BUSY)

            def measured() -> bool:
                raw = ("webhook_queue_depth", "webhook_worker_busy_slots{component='worker'}")
                return [{value for _, value in server.now(each)} for each in raw] == [{float(DEPTH)}, {float(BUSY)}]

            await wait_until(measured, what="the gauges to be scraped")
            yield server


def asked(name: str, namespace: str, release: str) -> str:
    """Return the query that the adapter makes of a rule, for the HPA's namespace and selector."""
    matchers = f'namespace="{namespace}",namespace="{namespace}",release="{release}"'
    series = re.match(r"\w+", RULES[name]["seriesQuery"])
    assert series
    query: str = RULES[name]["metricsQuery"]
    return query.replace("<<.Series>>", series[0]).replace("<<.LabelMatchers>>", matchers)


async def test_the_adapter_finds_the_series_of_every_release(scraped: Prometheus) -> None:
    for rule in RULES.values():
        found = scraped.series(rule["seriesQuery"])
        assert {(each["namespace"], each["release"]) for each in found} == {("webhook", "demo"), ("elsewhere", "other")}
        assert {each["pod"].rpartition("-")[2] for each in found} == {"0", "1"}


async def test_the_depth_of_a_release_is_counted_once(scraped: Prometheus) -> None:
    for labels in (DEMO, OTHER):
        assert scraped.now(asked("webhook_queue_depth", **labels)) == [(labels, DEPTH)]
    assert scraped.now(asked("webhook_queue_depth", "webhook", "other")) == []


async def test_workers_are_counted_by_their_share_of_busy_slots(scraped: Prometheus) -> None:
    for labels, workers in ((DEMO, 2), (OTHER, 1)):
        assert scraped.now(asked("webhook_busy_workers", **labels)) == [(labels, workers * BUSY / SLOTS)]


async def test_keda_is_answered_the_same(scraped: Prometheus) -> None:
    (scaled,) = rendering.of_kind(rendering.scenario("keda"), "ScaledObject")
    answers = [scraped.now(trigger["metadata"]["query"]) for trigger in scaled["spec"]["triggers"]]
    assert answers == [[({}, DEPTH)], [({}, 2 * BUSY / SLOTS)]]
