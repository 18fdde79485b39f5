"""What every process exports."""

import asyncio
import platform
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, generate_latest

from services.platform.process import metrics, probes

SERVICES = Path(metrics.__file__).parents[2]
COMMON = re.compile(r"^([A-Z_]+) = (?:Counter|Gauge|Histogram)\(", re.MULTILINE)


def test_build_info_says_which_roles_run() -> None:
    metrics.export_build_info("gateway", "ingest")
    for role in ("gateway", "ingest"):
        labels = {"version": metrics.VERSION, "python": platform.python_version(), "role": role}
        assert REGISTRY.get_sample_value("webhook_build_info", labels) == 1


def test_common_metrics_are_all_used() -> None:
    names = COMMON.findall(Path(metrics.__file__).read_text())
    sources = [path.read_text() for path in SERVICES.rglob("*.py")]
    unused = [
        name for name in names if not any(re.search(rf"\b{name}\b(?! = (?:Counter|Gauge|Hist))", s) for s in sources)
    ]
    assert names
    assert unused == []


def test_metrics_of_the_service_have_the_prefix() -> None:
    others = ("python_", "process_")
    names = re.findall(r"^# TYPE (\S+)", generate_latest().decode(), re.MULTILINE)
    assert [name for name in names if not name.startswith(("webhook_", *others))] == []


async def _get(health: probes.Health, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(probes.application(health))
    async with httpx.AsyncClient(transport=transport, base_url="http://process") as client:
        return await client.get(path)


async def _statuses(health: probes.Health) -> tuple[int, int]:
    return (await _get(health, "/healthz")).status_code, (await _get(health, "/readyz")).status_code


def _checks(ready: Exception | None = None, alive: Exception | None = None) -> probes.Health:
    def check(error: Exception | None) -> probes.Check:
        async def run() -> None:
            if error:
                raise error

        return run

    health = probes.Health()
    health.add_readiness("postgres", check(ready))
    health.add_liveness("background_tasks", check(alive))
    return health


async def test_metrics_are_served_as_prometheus_text() -> None:
    answer = await _get(_checks(), "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "webhook_rpc_in_flight" in answer.text


async def test_a_process_that_can_serve_is_live_and_ready() -> None:
    assert await _statuses(_checks()) == (200, 200)


async def test_a_store_that_is_away_makes_a_process_unready_and_leaves_it_alive() -> None:
    health = _checks(ready=ConnectionError("refused"))
    assert await _statuses(health) == (200, 503)
    assert (await _get(health, "/readyz")).json()["failures"] == {"postgres": "ConnectionError: refused"}


async def test_a_check_without_a_response_is_reported_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "CHECK_TIMEOUT_SECONDS", 0.05)

    async def hangs() -> None:
        await asyncio.Event().wait()

    health = probes.Health()
    health.add_readiness("postgres", hangs)
    assert (await _get(health, "/readyz")).json()["failures"] == {"postgres": "no answer within 0.05 s"}


async def test_a_dead_background_task_makes_a_process_neither_alive_nor_ready() -> None:
    assert await _statuses(_checks(alive=RuntimeError("loop died"))) == (503, 503)


async def test_a_process_that_stops_is_alive_and_not_ready() -> None:
    health = _checks()
    health.stopping = True
    assert await _statuses(health) == (200, 503)
