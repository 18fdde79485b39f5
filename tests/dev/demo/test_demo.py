"""make demo: python -m dev.demo."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from dev.embedded.ports import free_port
from dev.harness import stack as stacks
from dev.harness.stack import ROOT, Stack
from dev.harness.waiting import wait_until_sync

TIMEOUT_SECONDS = 180.0


def _launch(folder: Path, port: int) -> subprocess.Popen[str]:
    """The demo, with its temporary files in `folder`."""
    folder.mkdir(parents=True)
    return subprocess.Popen(
        [sys.executable, "-m", "dev.demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(port), "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def _left_behind(folder: Path) -> list[psutil.Process]:
    """Return the processes of a demo's own stack, which work in its folder."""

    def is_one(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.environ().get("DATA_DIR", "")
        except (psutil.Error, OSError):
            return False

    return [process for process in psutil.process_iter() if is_one(process)]


def _subscriptions(base_url: str) -> list[str]:
    answer = httpx.get(f"{base_url}/api/v1/subscriptions/", timeout=60)
    return [subscription["description"] for subscription in answer.json()["items"]]


def _said(demo: subprocess.Popen[str], *, status: int) -> tuple[str, str]:
    """Return its whole output, once it has ended with this status."""
    output, errors = demo.communicate(timeout=TIMEOUT_SECONDS)
    assert demo.returncode == status, output + errors
    return output, errors


def test_demo_starts_its_own_service_if_none_runs_and_leaves_nothing_behind(short_folder: Path) -> None:
    folder = short_folder / "demo"
    output, errors = _said(_launch(folder, free_port()), status=0)
    assert errors == ""
    assert "started only for this demo" in output
    assert _attempts(output) == ["500  http_5xx", "503  http_5xx", "200"]
    assert output.count("✓") == 8
    assert "✗" not in output
    assert output.rstrip().splitlines()[-1].startswith("delivered by attempt 3")
    assert not _left_behind(folder)
    assert not list(folder.glob("webhook-demo-*"))


@pytest.fixture(scope="module")
def shown(short_folder: Path) -> Iterator[Stack]:
    """A service that runs already."""
    with stacks.running(short_folder / "shown", environment={"RETRY_BASE_SECONDS": "0.2"}, processes="one") as running:
        yield running


def test_demo_uses_a_running_service_and_deletes_its_subscription(short_folder: Path, shown: Stack) -> None:
    output, _ = _said(_launch(short_folder / "demo-shown", shown.port), status=0)
    assert f"{shown.base_url}, which is already running" in output
    assert "delivered by attempt 3" in output
    assert _subscriptions(shown.base_url) == []


def test_a_delivery_that_fails_ends_it_with_one_line(short_folder: Path) -> None:
    environment = {"RETRY_BASE_SECONDS": "0.2", "RETRY_LIMIT": "1"}
    with stacks.running(short_folder / "limited", environment=environment, processes="one") as stack:
        output, errors = _said(_launch(short_folder / "demo-limited", stack.port), status=1)
        assert errors == "demo: the delivery ended failed (retries_exhausted) after 2 attempts\n"
        assert "delivered" not in output
        assert _subscriptions(stack.base_url) == []


def test_a_service_that_may_not_deliver_here_ends_it_with_one_line(short_folder: Path) -> None:
    with stacks.running(short_folder / "closed", environment={"EGRESS_ALLOW": ""}, processes="one") as stack:
        _, errors = _said(_launch(short_folder / "demo-closed", stack.port), status=1)
        assert errors.startswith("demo: POST /api/v1/subscriptions/ returned 422: ")
        assert "target_url: is not allowed (see EGRESS_ALLOW): 127.0.0.1 is not a public address" in errors
        assert len(errors.splitlines()) == 1


def test_demo_does_not_use_another_server_on_the_port(short_folder: Path, shown: Stack) -> None:
    # The metrics port speaks HTTP, but is not a gateway.
    folder = short_folder / "demo-other"
    output, _ = _said(_launch(folder, shown.ports["metrics"]["worker"]), status=0)
    assert "started only for this demo" in output


def test_a_signal_stops_it_and_its_stack(short_folder: Path) -> None:
    folder = short_folder / "demo-stopped"
    demo = _launch(folder, free_port())
    wait_until_sync(_running(folder, "worker"), what="the demo's own worker")
    demo.send_signal(signal.SIGINT)
    _, errors = _said(demo, status=130)
    assert errors == "demo: stopped\n"
    assert not _left_behind(folder)
    assert not list(folder.glob("webhook-demo-*"))


def _running(folder: Path, role: str) -> Callable[[], bool]:
    def there() -> bool:
        return any(role in stacks.roles_of(process) for process in _left_behind(folder))

    return there


def _attempts(output: str) -> list[str]:
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith("attempt ")]
    return [line.split(" s  ", 1)[1].split("  took", 1)[0] for line in lines]
