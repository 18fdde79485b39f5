"""Log lines about endpoints, bounded."""

from datetime import UTC, datetime

import pytest
import structlog

from services.delivery.worker import health
from services.delivery.worker.health import EndpointLog
from services.platform import ids

URL = "https://hooks.example/secret-path"
PROBE = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(health, "time", made)
    return made


def fail(lines: EndpointLog) -> None:
    lines.failing(ids.new(), URL, reason="10 failures in a row", failures=10, next_probe=PROBE)


@pytest.mark.usefixtures("clock")
def test_each_change_is_one_line_with_what_an_operator_needs() -> None:
    lines, name = EndpointLog(), ids.new()
    with structlog.testing.capture_logs() as logs:
        lines.failing(name, URL, reason="10 failures in a row; the last: timeout", failures=10, next_probe=PROBE)
        lines.recovered(name, URL)
        lines.disabled(name, URL, reason="gone", last_error="the receiver answered 410")
    told = {"subscription_id": str(name), "host": "hooks.example"}
    assert logs == [
        told
        | {
            "event": "an endpoint began to fail; its deliveries wait",
            "log_level": "warning",
            "reason": "10 failures in a row; the last: timeout",
            "failures": 10,
            "next_probe": "2026-03-14T15:09:26+00:00",
        },
        told | {"event": "an endpoint is well again", "log_level": "info"},
        told
        | {
            "event": "a subscription was disabled",
            "log_level": "warning",
            "reason": "gone",
            "last_error": "the receiver answered 410",
        },
    ]
    assert "secret-path" not in str(logs)


def test_a_mass_outage_writes_a_few_lines_and_a_count(clock: Clock) -> None:
    lines = EndpointLog()
    with structlog.testing.capture_logs() as logs:
        for second in range(30):
            for _ in range(1000):
                fail(lines)
            lines.recovered(ids.new(), URL)
            clock.now = 1001.0 + second
            lines.summarize()
        clock.now += health.WINDOW_SECONDS
        lines.summarize()
        lines.summarize()
    counts = [entry for entry in logs if entry["event"] == "more endpoints changed than are listed"]
    listed = len(logs) - len(counts)
    assert listed == 3 * health.LINES_PER_WINDOW
    assert len(counts) == 3
    assert listed + sum(entry["failing"] + entry["recovered"] for entry in counts) == 30_030


def test_a_count_waits_for_its_window_and_is_not_lost(clock: Clock) -> None:
    lines = EndpointLog()
    for _ in range(health.LINES_PER_WINDOW):
        fail(lines)
    with structlog.testing.capture_logs() as logs:
        fail(lines)
        lines.summarize()
        assert logs == []
        clock.now += health.WINDOW_SECONDS
        fail(lines)
    assert [entry["event"].split()[0] for entry in logs] == ["more", "an"]
