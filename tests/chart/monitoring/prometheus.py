"""A real Prometheus that scrapes processes of this machine like pods, with the relabeling of kind."""

import contextlib
import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped]  # its types are in no lock

from dev.embedded.ports import free_port
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until_sync
from tests.chart import rendering
from tests.chart.rendering import ROOT, Object

NAMESPACE, RELEASE = rendering.NAMESPACE, "demo"
RELABELING: list[Object] = yaml.safe_load(
    next(
        found["data"]["prometheus.yml"]
        for found in rendering.parsed((ROOT / "kind/prometheus.yaml").read_text())
        if found["kind"] == "ConfigMap"
    )
)["scrape_configs"][0]["relabel_configs"]
SCRAPE_SECONDS = 1
START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 10.0


class QueryError(Exception):
    """Prometheus rejects the expression; the message is its own."""


class Prometheus:
    """The HTTP API of a server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        # The start of the queried time range.
        self.started = time.time()

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        with contextlib.suppress(httpx.HTTPError):
            return self._http.get("/-/ready").status_code == 200
        return False

    def sees(self, targets: int) -> bool:
        """Return whether it has scraped this many targets. It takes some seconds until it knows them."""
        found = self._get("/api/v1/targets", state="active")["activeTargets"]
        return [target["health"] for target in found] == ["up"] * targets

    def values(self, expr: str) -> list[float]:
        """Return the numbers of all series since the start, second by second; without those that are NaN (0/0)."""
        found = self._get("/api/v1/query_range", query=expr, start=self.started, end=time.time(), step=SCRAPE_SECONDS)
        values = [float(value) for series in found["result"] for _, value in series["values"]]
        return [value for value in values if math.isfinite(value)]

    def now(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the current number of each series."""
        found = self._get("/api/v1/query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of each matching series."""
        found: list[dict[str, str]] = self._get("/api/v1/series", **{"match[]": selector})
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = self._http.get(path, params=parameters).json()
        if answer["status"] != "success":
            raise QueryError(answer["error"])
        return answer["data"]


def pod(port: int, component: str, *, namespace: str = NAMESPACE, release: str = RELEASE, number: int = 0) -> Object:
    """A process as a target, with the labels that Kubernetes discovery adds to a pod."""
    labels = {
        "__meta_kubernetes_namespace": namespace,
        "__meta_kubernetes_pod_name": f"{release}-{component}-{number}",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_container_port_name": "metrics",
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": "webhook-service",
        "__meta_kubernetes_pod_label_app_kubernetes_io_instance": release,
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
    }
    # Prometheus merges targets with the same address and labels; here the label `pod` distinguishes them.
    return {"targets": [f"127.0.0.1:{port}"], "labels": labels}


def pods(stack: Stack, **labels: Any) -> list[Object]:
    """Return each process of a stack as a pod of a release."""
    return [pod(port, component, **labels) for component, port in stack.ports["metrics"].items()]


@contextlib.contextmanager
def scraping(targets: list[Object], folder: Path, *, up: int, jobs: Sequence[str] = ("pods",)) -> Iterator[Prometheus]:
    """Yield a server with its data in `folder`, once each of its jobs has scraped `up` for all targets.

    It stops when the context ends.
    """
    folder.mkdir()
    port = free_port()
    scrapes = [{"job_name": job, "relabel_configs": RELABELING, "static_configs": targets} for job in jobs]
    interval = f"{SCRAPE_SECONDS}s"
    configuration = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": scrapes}
    # JSON is valid YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until_sync(server.is_ready, START_TIMEOUT_SECONDS, what="Prometheus to be ready")
        wait_until_sync(lambda: server.sees(up), START_TIMEOUT_SECONDS, what="every process to be scraped")
        yield server
    finally:
        server.close()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
