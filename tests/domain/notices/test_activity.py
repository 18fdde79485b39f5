"""Bounded log lines for a developer who watches."""

import os
import subprocess
import sys

import pytest
import structlog

from dev.harness.waiting import wait_until
from services.domain.notices import activity
from services.domain.notices.activity import Activity
from services.platform.settings import Settings

# Writes lines like a process: text, and lines that the terminal of `make run` must not show.
PROGRAM = """
from services.domain.notices import activity
from services.platform.process import logs
from services.platform.settings import Settings, load
import structlog

settings = load(Settings)
logs.configure("ingest", settings)
structlog.get_logger("services.example").info("nothing to see here", note="accepted")
if lines := activity.Activity.of("accepted events", settings):
    lines.say("accepted %s as event %s: 1 delivery", "order.paid", "e1")
    lines.say("a\\nb\\x1b[2J")
structlog.get_logger(activity.ENDPOINTS).warning("an endpoint began to fail", host="a.example", failures=10, zone="z")
"""


def _log(env: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8", "ENV": env},
    )
    return result.stdout.splitlines()


def test_lines_are_found_in_the_log_of_a_process() -> None:
    log = _log("development")
    assert len(log) == 4
    assert [line for line in map(activity.shown, log) if line] == [
        "accepted order.paid as event e1: 1 delivery",
        "a\\nb\\x1b[2J",
        "an endpoint began to fail failures=10 host=a.example",
    ]


def test_activity_lines_are_not_written_outside_of_development() -> None:
    assert Activity.of("events", Settings(env="production")) is None
    assert not any("accepted order.paid" in line for line in _log("production"))


async def test_a_flood_is_a_few_lines_and_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "LINES_PER_SECOND", 3)
    lines = Activity("accepted events")
    with structlog.testing.capture_logs() as logs:
        for number in range(233):
            lines.say("event %d", number)
        said = [entry["event"] for entry in logs]
        assert said == ["event 0", "event 1", "event 2"]
        await wait_until(lambda: len(logs) == 4, what="the count")
        lines.say("event %d", 233)
    assert [entry["event"] for entry in logs[3:]] == ["… and 230 more accepted events", "event 233"]
