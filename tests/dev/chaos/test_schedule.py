"""The schedule of faults: dev/chaos/schedule.py."""

from unittest.mock import Mock

import pytest

from dev.chaos import schedule
from dev.chaos.faults import Faults
from dev.chaos.receiver import Receiver
from dev.chaos.scenarios import SCENARIOS
from dev.chaos.schedule import SHAPES, Shape
from dev.harness import plan

FIVE = SHAPES["five"]


def test_a_seed_always_makes_the_same_faults() -> None:
    every = schedule.chosen([], FIVE)
    assert schedule.make(7, every, 40, 200) == schedule.make(7, every, 40, 200)
    assert schedule.make(7, every, 40, 200) != schedule.make(8, every, 40, 200)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("seed", range(20))
def test_a_short_run_has_a_fault_of_every_family(seed: int, shape: Shape) -> None:
    every = schedule.chosen([], shape)
    made = schedule.make(seed, every, 15, 60)
    assert len(made) == 15
    assert {fault.kind.family for fault in made} == {kind.family for kind in every}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("seed", range(20))
def test_faults_overlap_at_most_three_at_a_time_and_never_on_one_subject(seed: int, shape: Shape) -> None:
    made = schedule.make(seed, schedule.chosen([], shape), 60, 120)
    for fault in made:
        on = [other for other in made if other.at_seconds <= fault.at_seconds < other.reckoned_end]
        assert len(on) <= schedule.MAX_OVERLAPPING
        assert len({other.subject for other in on}) == len(on)
        processes = [other for other in on if other.subject in {*shape.instances, schedule.ALL}]
        assert len(processes) == 1 or schedule.ALL not in {other.subject for other in processes}


def test_a_kind_is_chosen_by_its_name_or_its_beginning() -> None:
    assert [kind.name for kind in schedule.chosen(["kill-worker"], FIVE)] == ["kill-worker"]
    assert all(kind.name.startswith("cut-redis-") for kind in schedule.chosen(["cut-redis"], FIVE))
    with pytest.raises(ValueError, match="nothing-like-it"):
        schedule.chosen(["nothing-like-it"], FIVE)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_fault_kinds_can_all_be_caused(shape: Shape) -> None:
    receiver = Receiver()
    faults = Faults(Mock(), receiver, print)
    kinds = schedule.kinds(shape)
    for kind in kinds.values():
        fault = schedule.Fault(kind=kind, subject=kind.subjects[0], at_seconds=0.0, seconds=0.0)
        assert callable(faults._action(fault))
    assert {f"receiver-{mode}" for mode in receiver._answers} == {
        *(name for name in kinds if name.startswith("receiver-")),
        "receiver-ok",
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_shape_has_every_role_and_two_workers(shape: Shape) -> None:
    assert all(shape.having(role) for role in plan.ROLES)
    assert len(shape.having("worker")) == 2
    kills = [kind for kind in schedule.kinds(shape).values() if kind.family == "kill"]
    assert {name for kind in kills for name in kind.subjects} == set(shape.instances)
    # What kills a worker, and nothing else, explains duplicates.
    assert {name for kind in kills if kind.duplicates for name in kind.subjects} == set(shape.having("worker"))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios_hit_what_a_shape_has(scenario: str, shape: Shape) -> None:
    for fault in SCENARIOS[scenario].schedule(shape):
        assert fault.subject in fault.kind.subjects
