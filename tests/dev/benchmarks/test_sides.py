import msgspec

from dev.benchmarks import sides
from dev.benchmarks.measuring.figures import LEAST_SAMPLES_OF_P99, Figures
from dev.benchmarks.sides import BEFORE, CONTROL, PLAIN
from dev.harness.load import payloads


def _run(*, cpu: float = 1.0, p50_ms: float = 10.0, samples: int = LEAST_SAMPLES_OF_P99) -> Figures:
    told = {
        "case": "150/s",
        "cpu_ms_per_webhook": {"worker": cpu, "stack": cpu},
        "end_to_end_p50_ms": p50_ms,
        "accept_times": b"",
        "end_to_end_times": payloads.pack([p50_ms / 1e3] * samples),
    }
    return msgspec.convert(dict.fromkeys(Figures.__struct_fields__, 0) | told, Figures)


def _ratios(**changes: list[Figures]) -> dict[tuple[str, str], dict[str, float | None]]:
    runs = {"five": [_run()], PLAIN: [_run()], CONTROL: [_run()], **changes}
    return {(found["side"], found["to"]): found["ratios"] for found in sides.compared(runs)}


def test_compared_gives_ratios_of_our_shapes_to_the_other_sides() -> None:
    found = _ratios(
        **{
            "five": [_run(cpu=2.0)],
            "one": [_run()],
            PLAIN: [_run(cpu=8.0)],
            BEFORE: [_run(cpu=4.0)],
            CONTROL: [_run(cpu=2.0)],
        }
    )

    assert {pair: ratios["cpu"] for pair, ratios in found.items()} == {
        ("five", PLAIN): 0.25,
        ("one", PLAIN): 0.125,
        ("five", BEFORE): 0.5,
        ("one", BEFORE): 0.25,
    }


def test_compared_gives_ratios_to_the_first_shape_without_other_sides() -> None:
    runs = {"five": [_run(cpu=2.0)], "one": [_run(cpu=1.0)], CONTROL: [_run(cpu=2.0)]}

    (found,) = sides.compared(runs)

    assert (found["side"], found["to"], found["ratios"]["cpu"]) == ("one", "five", 0.5)


def test_compared_takes_the_ratio_of_each_round() -> None:
    """The machine was half as fast in the last round, for all sides."""
    found = _ratios(
        five=[_run(cpu=1.0), _run(cpu=1.0), _run(cpu=2.0)],
        plain=[_run(cpu=4.0), _run(cpu=4.0), _run(cpu=8.0)],
        control=[_run(cpu=1.0), _run(cpu=1.0), _run(cpu=2.0)],
    )

    assert found["five", PLAIN]["cpu"] == 0.25


def test_compared_cannot_tell_if_a_system_differs_from_itself() -> None:
    found = _ratios(control=[_run(cpu=1.11)])

    assert found["five", PLAIN] == {"cpu": None, "end_to_end_p50_ms": 1.0, "end_to_end_p99_ms": 1.0}


def test_compared_can_tell_if_the_control_is_near() -> None:
    assert _ratios(control=[_run(cpu=1.09)])["five", PLAIN]["cpu"] == 1.0
    assert _ratios(control=[_run(cpu=0.92)])["five", PLAIN]["cpu"] == 1.0


def test_compared_needs_enough_samples_for_a_p99() -> None:
    found = _ratios(five=[_run(samples=LEAST_SAMPLES_OF_P99 - 1)], control=[_run(samples=LEAST_SAMPLES_OF_P99 - 1)])

    assert found["five", PLAIN]["end_to_end_p99_ms"] is None


def test_compared_says_nothing_of_a_single_side() -> None:
    assert sides.compared({"five": [_run()]}) == []


def test_tables_say_that_a_run_cannot_tell() -> None:
    runs = {"five": [_run(samples=1)], PLAIN: [_run(samples=1)], CONTROL: [_run(cpu=1.5, samples=1)]}

    (table,) = sides.tables("rates", {"150/s": sides.compared(runs)})

    assert table.rows == [["150/s: five to plain", "cannot tell (control 1.50)", "1.00", "too few samples"]]


def test_tables_are_none_without_a_comparison() -> None:
    assert sides.tables("rates", {"150/s": []}) == []


def test_in_turn_begins_each_round_with_another_side() -> None:
    called = []

    def measure(_side: sides.Side, name: str) -> Figures:
        called.append(name)
        return _run()

    both = [sides.Side(name=name, meter=None, paths=[]) for name in ("five", PLAIN)]  # type: ignore[arg-type]
    runs = sides.in_turn(both, 2, measure)

    assert called == ["five", PLAIN, CONTROL, PLAIN, CONTROL, "five"]
    assert {name: len(each) for name, each in runs.items()} == {"five": 2, PLAIN: 2, CONTROL: 2}


def test_in_turn_needs_no_control_for_a_single_side() -> None:
    one = sides.Side(name="five", meter=None, paths=[])  # type: ignore[arg-type]

    assert sides.in_turn([one], 2, lambda _side, _name: _run()).keys() == {"five"}
