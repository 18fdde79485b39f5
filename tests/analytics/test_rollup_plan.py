"""Which minutes a roll-up computes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.analytics import rollup

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RETENTION = timedelta(hours=72)
SECOND = timedelta(seconds=1)


def _covers(plan: rollup.Plan, moment: datetime) -> bool:
    return any(start <= moment < end for start, end in plan.spans)


def test_computes_only_the_minute_that_goes_on() -> None:
    plan = rollup.plan(NOON + 20 * SECOND, NOON + 25 * SECOND, RETENTION)

    assert plan.spans == ((NOON, NOON + rollup.MINUTE),)
    assert plan.until == NOON + 25 * SECOND
    assert not plan.behind


def test_computes_a_minute_again_after_its_end() -> None:
    plan = rollup.plan(NOON + 2 * SECOND, NOON + 7 * SECOND, RETENTION)

    assert plan.spans == ((NOON - rollup.MINUTE, NOON + rollup.MINUTE),)


def test_settles_one_and_ten_minutes_after_the_end() -> None:
    plan = rollup.plan(NOON - SECOND, NOON + 4 * SECOND, RETENTION)

    assert plan.spans == (
        (NOON - 11 * rollup.MINUTE, NOON - 10 * rollup.MINUTE),
        (NOON - 2 * rollup.MINUTE, NOON + rollup.MINUTE),
    )


def test_catches_up_in_bounded_steps() -> None:
    plan = rollup.plan(NOON - timedelta(hours=8), NOON, RETENTION)

    assert plan.behind
    assert plan.until == NOON - timedelta(hours=8) + rollup.MAX_ADVANCE
    longest = max(end - start for start, end in plan.spans)
    assert longest <= rollup.MAX_ADVANCE + rollup.SETTLE_AFTER[-1] + 2 * rollup.MINUTE


def test_leaves_out_what_is_past_retention() -> None:
    plan = rollup.plan(NOON - timedelta(days=10), NOON, RETENTION)

    assert plan.until == NOON - RETENTION + rollup.MAX_ADVANCE


def test_goes_on_when_the_clock_was_set_back() -> None:
    plan = rollup.plan(NOON + timedelta(hours=1), NOON, RETENTION)

    assert plan.until == NOON
    assert _covers(plan, NOON)


pauses = st.floats(0.01, 20) | st.floats(20, 4000)


@given(st.lists(pauses, min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 600))
def test_counts_what_commits_within_ten_minutes_whenever_runs_happen(
    pauses_seconds: list[float], position: float, delay_seconds: float
) -> None:
    runs = [NOON]
    for pause in pauses_seconds:
        runs.append(runs[-1] + timedelta(seconds=pause))
    recorded = NOON + (runs[-1] - NOON) * position
    committed = recorded + timedelta(seconds=delay_seconds)
    # The last runs, for whatever was recorded: nothing settles later than that.
    end = committed + rollup.SETTLE_AFTER[-1] + 2 * rollup.MINUTE
    runs = sorted([*runs, end])

    rolled_up_to, seen = NOON, False
    for now in runs:
        while True:
            plan = rollup.plan(rolled_up_to, now, RETENTION)
            rolled_up_to = plan.until
            seen = seen or (now >= committed and _covers(plan, recorded))
            if not plan.behind:
                break

    assert seen
