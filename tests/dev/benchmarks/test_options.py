from pathlib import Path

import pytest

from dev.benchmarks import bench, scenarios, stack

NAMES = tuple(scenarios.ALL)


def test_scenarios_all_run_when_none_is_named() -> None:
    found = bench.parse_options([], NAMES)

    assert found.scenarios == NAMES
    assert (found.runs, found.seconds, found.keep) == (3, 20.0, False)


def test_named_scenarios_run_once_each() -> None:
    asked = ["--scenario", "latency", "--scenario", "throughput", "--scenario", "latency", "--json", "x.json"]

    found = bench.parse_options(asked, NAMES)

    assert found.scenarios == ("throughput", "latency")
    assert found.json_path == Path("x.json")


@pytest.mark.parametrize("wrong", [["--scenario", "speed"], ["--runs", "0"], ["--seconds", "-1"], ["--seconds", "inf"]])
def test_a_wrong_command_line_ends_the_process(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        bench.parse_options(wrong, NAMES)

    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_the_issue_names_these_scenarios() -> None:
    assert set(NAMES) >= {"throughput", "latency", "fanout", "slow", "tls", "backlog", "idle", "floor", "neighbour"}


def test_rates_and_shapes_are_in_their_order_and_once_each() -> None:
    asked = ["--rate", "saturated", "--rate", "10", "--rate", "10", "--shape", "one", "--shape", "five"]

    found = bench.parse_options(asked, NAMES)

    assert (found.rates, found.shapes) == (("10", "saturated"), ("five", "one"))


def test_shapes_are_five_processes_and_rates_are_all_by_default() -> None:
    found = bench.parse_options([], NAMES)

    assert (found.rates, found.shapes, found.before, found.peers) == (bench.RATES, ("five",), None, ())


@pytest.mark.parametrize("shape", bench.SHAPES)
def test_processes_of_each_shape_have_every_role_once(shape: str) -> None:
    roles = [role for process in stack.PROCESSES[shape] for role in process]

    assert sorted(roles) == sorted(stack.ROLES)
