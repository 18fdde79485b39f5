"""The table of errors: how a driver's error is classified, and whether to retry it."""

import asyncpg
import pytest
import redis.exceptions

import services.platform.stores.redis  # noqa: F401 - with availability.py it makes Unavailable of what drivers raise
from services.platform import errors

AWAY = [
    ConnectionRefusedError(),
    FileNotFoundError("the socket"),
    TimeoutError(),
    asyncpg.CannotConnectNowError("starting up"),
    asyncpg.AdminShutdownError("ended by the administrator"),
    asyncpg.TooManyConnectionsError("full"),
    asyncpg.DiskFullError("full"),
    asyncpg.QueryCanceledError("statement timeout"),
    asyncpg.PostgresIOError("input/output error"),
    asyncpg.ReadOnlySQLTransactionError("a standby after a failover"),
    asyncpg.ConnectionDoesNotExistError("closed in the middle of an operation"),
    asyncpg.InterfaceError("connection is closed"),
    redis.exceptions.ConnectionError("refused"),
    redis.exceptions.TimeoutError("late"),
]
BUGS = [
    KeyError("x"),
    ValueError("x"),
    asyncpg.DataError("x"),
    asyncpg.UniqueViolationError("x"),
    asyncpg.PostgresSyntaxError("x"),
    redis.exceptions.ResponseError("WRONGTYPE"),
]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
def test_a_store_that_is_away_makes_unavailable_and_says_nothing_of_it(error: Exception) -> None:
    answer = errors.classify(error)
    assert isinstance(answer, errors.Unavailable)
    assert answer.retry_after_seconds == 1
    assert str(error) == "" or str(error) not in answer.message


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_error_of_any_other_kind_is_a_bug(error: Exception) -> None:
    assert errors.classify(error) is None


def test_our_own_errors_are_answered_as_they_are() -> None:
    error = errors.NotFound("no subscription")
    assert errors.classify(error) is error


def test_an_error_of_several_fields_names_each() -> None:
    error = errors.InvalidArgument.of(
        errors.Violation(field="a", description="must be one"), errors.Violation(field="b.0", description="must be two")
    )
    assert error.message == "a: must be one; b.0: must be two"
    assert [violation.field for violation in error.violations] == ["a", "b.0"]


def test_an_error_lists_twenty_fields_and_counts_the_others() -> None:
    violations = [errors.Violation(field=f"f{number}", description="is not a known field") for number in range(10_000)]
    error = errors.InvalidArgument.of(*violations)
    assert [violation.field for violation in error.violations] == [f"f{number}" for number in range(20)]
    assert error.message.endswith("f19: is not a known field; and 9980 more")
    assert "more" not in errors.InvalidArgument.of(*violations[:20]).message
    assert errors.InvalidArgument.of(*violations[:20], more=7).message.endswith("; and 7 more")


def test_names_and_descriptions_in_an_error_are_cut() -> None:
    (violation,) = errors.InvalidArgument.field("x" * 1_000_000, "y" * 1_000_000).violations
    assert violation == errors.Violation(field="x" * 99 + "…", description="y" * 499 + "…")
    (kept,) = errors.InvalidArgument.field("x" * 100, "y" * 500).violations
    assert kept == errors.Violation(field="x" * 100, description="y" * 500)
