"""A real Prometheus that scrapes a stack of this machine as it would scrape the pods of a release."""

import contextlib
import json
import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from services.embedded.ports import free_port
from tests.support.stack import ROLES, Stack
from tests.support.waiting import wait_until_sync

NAMESPACE, RELEASE = "webhook", "demo"
SCRAPE_SECONDS = 1
START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 10.0


class QueryError(Exception):
    """Prometheus does not take the expression; the message is its own."""


class Prometheus:
    """The HTTP API of a server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)
        # What is looked at begins here.
        self.started = time.time()

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        with contextlib.suppress(httpx.HTTPError):
            return self._http.get("/-/ready").status_code == 200
        return False

    def sees(self, processes: int) -> bool:
        """Whether it has scraped so many. It takes some seconds until it knows its targets at all."""
        targets = self._get("/api/v1/targets")["activeTargets"]
        return [target["health"] for target in targets] == ["up"] * processes

    def values(self, expr: str) -> list[float]:
        """The numbers of all series since the start, second by second; what is not a number (0/0) is none."""
        found = self._get("/api/v1/query_range", query=expr, start=self.started, end=time.time(), step=SCRAPE_SECONDS)
        values = [float(value) for series in found["result"] for _, value in series["values"]]
        return [value for value in values if math.isfinite(value)]

    def now(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the number of each series at this moment."""
        found = self._get("/api/v1/query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def label_values(self, series: str, label: str) -> list[str]:
        """The values of a label over the series that match."""
        found: list[str] = self._get(f"/api/v1/label/{label}/values", **{"match[]": series})
        return found

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = self._http.get(path, params=parameters).json()
        if answer["status"] != "success":
            raise QueryError(answer["error"])
        return answer["data"]


@contextlib.contextmanager
def scraping(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """A server with its data in `folder` that has scraped every process once; ended with the context."""
    folder.mkdir()
    port = free_port()
    configuration = folder / "prometheus.yml"
    # JSON is YAML.
    configuration.write_text(json.dumps(_configuration(stack)))
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until_sync(server.is_ready, START_TIMEOUT_SECONDS, what="Prometheus to be ready")
        wait_until_sync(lambda: server.sees(len(ROLES)), START_TIMEOUT_SECONDS, what="every process to be scraped")
        yield server
    finally:
        server.close()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(stack: Stack) -> dict[str, Any]:
    """Each process with the labels that the chart's monitors give its pod."""
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {
                "namespace": NAMESPACE,
                "release": RELEASE,
                "component": component,
                "pod": f"{RELEASE}-{component}-0",
            },
        }
        for component, port in stack.ports["metrics"].items()
    ]
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [{"job_name": "webhook-service", "static_configs": targets}],
    }
