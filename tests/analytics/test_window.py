"""The window of GetStats."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from services.analytics.service import window_of
from services.platform import errors

RETENTION = timedelta(hours=72)


@pytest.mark.parametrize(
    ("seconds", "nanos", "minutes"),
    [(60, 0, 1), (60, 1, 2), (90, 0, 2), (119, 999_999_999, 2), (120, 0, 2), (3600, 0, 60), (72 * 3600, 0, 72 * 60)],
)
def test_is_rounded_up_to_whole_minutes(seconds: int, nanos: int, minutes: int) -> None:
    assert window_of(Duration(seconds=seconds, nanos=nanos), RETENTION) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(0, 0), (59, 999_999_999), (-60, 0), (72 * 3600, 1), (2**62, 0), (-(2**62), 0)]
)
def test_outside_of_a_minute_to_retention_is_refused_by_name(seconds: int, nanos: int) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        window_of(Duration(seconds=seconds, nanos=nanos), RETENTION)

    assert [violation.field for violation in raised.value.violations] == ["window"]
    assert "72 hours" in raised.value.message


def test_unset_means_a_day() -> None:
    assert window_of(None, RETENTION) == timedelta(hours=24)


def test_unset_is_never_longer_than_retention() -> None:
    assert window_of(None, timedelta(hours=6)) == timedelta(hours=6)
