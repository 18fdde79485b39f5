"""What attempts mean for a delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.worker import decisions
from services.domain.retry_policy import RetryPolicy
from tests.delivery.world import attempt, claim

POLICY = RetryPolicy(limit=3, base_seconds=5, factor=2, cap_seconds=3600, jitter=0)


@pytest.mark.parametrize(
    ("status_code", "outcome"),
    [
        (200, "success"),
        (201, "success"),
        (204, "success"),
        (299, "success"),
        (101, "invalid_response"),
        (199, "invalid_response"),
        (300, "http_3xx"),
        (301, "http_3xx"),
        (304, "http_3xx"),
        (400, "http_4xx"),
        (410, "http_4xx"),
        (429, "http_4xx"),
        (500, "http_5xx"),
        (599, "http_5xx"),
        (600, "invalid_response"),
        (999, "invalid_response"),
        (0, "invalid_response"),
    ],
)
def test_the_class_of_a_status(status_code: int, outcome: str) -> None:
    assert decisions.outcome_of_status(status_code) == outcome


def test_a_success_delivers_after_any_failures() -> None:
    decided = decisions.decide(claim(number=4, failures=3), [attempt("success")], POLICY)
    assert (decided.status, decided.failures, decided.reason) == ("delivered", 0, None)


@pytest.mark.parametrize(("failures", "delay_seconds"), [(0, 5), (1, 10), (2, 20)])
def test_a_failure_is_tried_again_after_the_delay_of_its_number(failures: int, delay_seconds: float) -> None:
    decided = decisions.decide(claim(failures=failures), [attempt("http_5xx")], POLICY)
    assert (decided.status, decided.delay_seconds, decided.failures) == ("scheduled", delay_seconds, 1)


def test_the_failure_after_the_last_retry_ends_the_delivery() -> None:
    decided = decisions.decide(claim(failures=3), [attempt("timeout")], POLICY)
    assert (decided.status, decided.reason, decided.failures) == ("failed", "retries_exhausted", 1)


def test_a_dead_kept_connection_and_its_repetition_count_as_one_failure() -> None:
    decided = decisions.decide(claim(), [attempt("connection_lost"), attempt("http_5xx")], POLICY)
    assert (decided.status, decided.failures, len(decided.attempts)) == ("scheduled", 1, 2)


@pytest.mark.parametrize(("retry_after", "delay_seconds"), [(0, 5), (4.9, 5), (5.1, 5.1), (3600, 3600)])
def test_the_receiver_may_ask_for_a_longer_delay_and_never_for_a_shorter_one(
    retry_after: float, delay_seconds: float
) -> None:
    decided = decisions.decide(claim(), [attempt("http_4xx")], POLICY, retry_after_seconds=retry_after)
    assert (decided.status, decided.delay_seconds) == ("scheduled", delay_seconds)


def test_the_receiver_cannot_ask_for_another_retry() -> None:
    decided = decisions.decide(claim(failures=3), [attempt("http_5xx")], POLICY, retry_after_seconds=60)
    assert (decided.status, decided.reason) == ("failed", "retries_exhausted")


@given(limit=st.integers(0, 20))
def test_attempts_are_one_more_than_the_retry_limit(limit: int) -> None:
    policy = RetryPolicy(limit=limit, base_seconds=1, factor=2, cap_seconds=10, jitter=0.1)
    failures = 0
    while decisions.decide(claim(failures=failures), [attempt("http_5xx")], policy).status == "scheduled":
        failures += 1
    assert failures + 1 == limit + 1
