import msgspec
import pytest

from dev.benchmarks.measuring import figures
from dev.benchmarks.measuring.meter import lost as counted_as_lost
from dev.harness.load import payloads


class Run(msgspec.Struct, frozen=True, kw_only=True):
    case: str = "1 KB closed"
    delivered_per_second: float = 0.0
    lost: int = 0
    cpu_ms_per_webhook: dict[str, float] = {}


def test_numbers_are_medians_and_losses_are_sums() -> None:
    runs = [
        Run(delivered_per_second=rate, lost=lost, cpu_ms_per_webhook={"worker": ms})
        for rate, lost, ms in ((100.0, 0, 0.3), (300.0, 2, 0.1), (200.0, 0, 0.2))
    ]

    assert figures.medians(runs) == {"delivered_per_second": 200.0, "lost": 2, "cpu_ms_per_webhook": {"worker": 0.2}}


def test_the_stack_is_ours_and_both_stores_without_generator_and_receiver() -> None:
    used = dict.fromkeys(("gateway", "worker", "postgres", "redis", "generator", "receiver"), 1.0)

    found = figures.cpu_ms(used, 1000)

    assert found["worker"] == found["receiver"] == pytest.approx(1.0)
    assert found["stack"] == pytest.approx(4.0)


def test_figures_of_nothing_divide_by_nothing() -> None:
    assert figures.cpu_ms({"worker": 0.5}, 0)["worker"] == pytest.approx(500)


def _streams(*counts: int) -> bytes:
    return b"".join(count.to_bytes(2, "little") for count in counts)


@pytest.mark.parametrize(
    ("accepted", "came", "fan_out", "lost"),
    [
        (b"\x01\x01\x01", _streams(1, 1, 1), 1, 0),
        (b"\x01\x01\x01", _streams(1, 0, 1), 1, 1),
        # Events that were not accepted do not count as lost, whether they arrive or not.
        (b"\x00\x01\x00", _streams(0, 1, 1), 1, 0),
        # The last ones never arrived, so the receiver does not know them.
        (b"\x01\x01\x01", _streams(1), 1, 2),
        # An event for ten subscriptions, two of which got nothing.
        (b"\x01\x01", _streams(10, 8), 10, 2),
        (b"", _streams(), 1, 0),
    ],
)
def test_lost_is_what_was_accepted_and_never_came(accepted: bytes, came: bytes, fan_out: int, lost: int) -> None:
    assert counted_as_lost(accepted, came, fan_out) == lost


def _figures(*, samples: int, ms: float = 10.0) -> figures.Figures:
    times = payloads.pack([ms / 1e3] * samples)
    told = {"case": "50/s", "cpu_ms_per_webhook": {}, "accept_times": times, "end_to_end_times": times}
    return msgspec.convert(dict.fromkeys(figures.Figures.__struct_fields__, 0) | told, figures.Figures)


def test_summary_has_the_percentiles_of_all_requests_together() -> None:
    found = figures.summary([_figures(samples=600), _figures(samples=500, ms=20.0)])

    assert (found["samples"], found["end_to_end_p50_ms"], found["end_to_end_p99_ms"]) == (1_100, 10.0, 20.0)


def test_summary_has_no_p99_of_few_requests() -> None:
    found = figures.summary([_figures(samples=600), _figures(samples=399)])

    assert found["accept_p99_ms"] is found["end_to_end_p99_ms"] is None
    assert found["end_to_end_p95_ms"] == 10.0


def test_plain_leaves_out_the_single_times() -> None:
    (found,) = figures.plain([_figures(samples=3)])

    assert "end_to_end_times" not in found
    assert found["case"] == "50/s"


def test_own_is_without_the_stores() -> None:
    assert figures.own({"gateway": 1.0, "worker": 2.0, "postgres": 4.0, "redis": 8.0, "receiver": 16.0}) == 3.0
