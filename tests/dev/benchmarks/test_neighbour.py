import socket
from uuid import UUID

import msgspec
import pytest

from dev.benchmarks.measuring import meter
from dev.benchmarks.measuring.figures import LEAST_SAMPLES_OF_P99, Figures
from dev.benchmarks.scenarios import neighbour
from dev.harness.load import payloads

ONE, TWO, OTHER = (UUID(int=number) for number in range(3))


def _run(case: str, *, p99_ms: float = 100.0, delivered: float = 1000.0, lost: int = 0) -> Figures:
    told = {
        "case": case,
        "end_to_end_p99_ms": p99_ms,
        "delivered_per_second": delivered,
        "lost": lost,
        "cpu_ms_per_webhook": {"gateway": 0.5, "stack": 0.5},
        "accept_times": b"",
        "end_to_end_times": payloads.pack([p99_ms / 1e3] * LEAST_SAMPLES_OF_P99),
    }
    return msgspec.convert(dict.fromkeys(Figures.__struct_fields__, 0) | told, Figures)


def _runs(kind: str, **changes: float) -> list[Figures]:
    """Return one run of each case, one kind of which differs."""
    others = [_run(name) for name in (neighbour.ALONE, neighbour.TWICE, *neighbour.KINDS) if name != kind]
    return [*others, _run(kind, **changes)]  # type: ignore[arg-type]


def test_the_worst_kind_is_the_headline() -> None:
    found = neighbour.summary(_runs("hang", p99_ms=450.0, delivered=400.0, lost=3))

    assert (found["healthy_p99_ratio"], found["healthy_throughput_ratio"], found["lost"]) == (4.5, 0.4, 3)
    assert found["kinds"]["hang"]["healthy_p99_ms"] == 450.0
    assert found["kinds"]["reset"]["healthy_p99_ratio"] == 1.0


def test_twice_the_healthy_is_no_kind() -> None:
    found = neighbour.summary(_runs(neighbour.TWICE, p99_ms=900.0))

    assert found["healthy_p99_ratio"] == 1.0
    assert found["control"]["healthy_p99_ratio"] == 9.0


def test_ratios_are_of_the_same_run() -> None:
    # A machine that became slower in all cases alike.
    slower = [_run(name, p99_ms=300.0) for name in (neighbour.ALONE, neighbour.TWICE, *neighbour.KINDS)]

    found = neighbour.summary([*_runs("dns", p99_ms=200.0), *slower])

    assert found["kinds"]["dns"]["healthy_p99_ratio"] == pytest.approx((2.0 + 1.0) / 2)


def test_events_accepted_for_other_subscriptions_do_not_count_for_the_group() -> None:
    group = meter.Group(subscriptions=[ONE, TWO], end_others=lambda: None)
    paths = [meter.webhook_path(subscription) for subscription in (ONE, OTHER, TWO, OTHER)]

    accepted = meter.accepted_of(group, paths, b"\x01\x01\x01\x01\x00\x01\x01")

    assert accepted == b"\x01\x00\x01\x00\x00\x00\x01"


def test_closed_port_refuses_connections() -> None:
    with neighbour._closed_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
