"""When a failed delivery is retried."""

import base64
import dataclasses
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.settings import AnalyticsSettings
from services.delivery.settings import WorkerSettings
from services.domain import retry_policy
from services.domain.retry_policy import Asked, RetryPolicy, RetrySettings
from services.ingest.settings import IngestSettings
from services.platform import errors
from services.platform.settings import load
from tests.platform.test_settings import refusal

KEY = base64.b64encode(bytes(range(32))).decode()


def policy(
    *, limit: int = 5, base: float = 5.0, factor: float = 2.0, cap: float = 3600.0, jitter: float = 0.0
) -> RetryPolicy:
    return RetryPolicy(limit=limit, base_seconds=base, factor=factor, cap_seconds=cap, jitter=jitter)


def test_a_base_above_the_cap_is_cut_to_it() -> None:
    assert policy(base=7200).delay_seconds(1) == 3600


def test_the_power_may_overflow() -> None:
    assert policy(limit=sys.maxsize, factor=1e9).delay_seconds(10**6) == 3600


def test_jitter_spreads_delays_over_its_whole_range_and_not_beyond() -> None:
    delays = [policy(jitter=0.1).delay_seconds(1) or 0 for _ in range(2_000)]
    assert 4.5 <= min(delays) < 4.6
    assert 5.4 < max(delays) <= 5.5


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with only ENV."""
    for name in RetrySettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ENV", "production")


QUICK = RetryPolicy(limit=5, base_seconds=5, factor=2, cap_seconds=3600, jitter=0.1)


def test_default_retries_last_minutes_in_development(production: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENV")
    assert RetrySettings(_env_file=None).retry_policy == QUICK


@pytest.mark.usefixtures("production")
def test_default_retries_last_days_outside_of_development() -> None:
    made = RetrySettings(_env_file=None).retry_policy
    assert made.delays_seconds == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000)
    assert (made.limit, made.delay_seconds(9)) == (8, None)
    assert made.total_seconds / 3600 == pytest.approx(56.74, abs=0.01)
    delays = [made.delay_seconds(failures) or 0 for failures in range(1, 9)]
    assert all(abs(delay - plain) <= plain * 0.1 for delay, plain in zip(delays, made.delays_seconds, strict=True))


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("RETRY_LIMIT", "3", {"limit": 3}),
        ("RETRY_LIMIT", "5", {}),
        ("RETRY_BASE_SECONDS", "60", {"base_seconds": 60}),
        ("RETRY_CAP_SECONDS", "10", {"cap_seconds": 10}),
    ],
)
def test_a_variable_that_is_set_keeps_its_meaning(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, changed: dict[str, Any]
) -> None:
    monkeypatch.setenv(name, value)
    assert RetrySettings(_env_file=None).retry_policy == dataclasses.replace(QUICK, **changed)


@pytest.mark.usefixtures("production")
def test_the_jitter_alone_leaves_the_schedule() -> None:
    made = RetrySettings(_env_file=None, retry_jitter=0.0).retry_policy
    assert (made.limit, made.total_seconds) == (8, 185_705)


@pytest.mark.usefixtures("production")
def test_a_subscriptions_policy_is_filled_up_with_numbers_that_are_exponential() -> None:
    service = RetrySettings(_env_file=None).retry_policy
    found = retry_policy.accepted(Asked(factor=3), service, expiry_hours=168)
    assert (found.base_seconds, found.factor, found.cap_seconds, found.limit) == (5, 3, 3600, 8)


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("cls", [WorkerSettings, IngestSettings, AnalyticsSettings])
@pytest.mark.parametrize("name", ["LOG_RETENTION_HOURS", "DELIVERY_EXPIRY_HOURS"])
def test_a_retention_or_expiry_shorter_than_the_default_retries_is_rejected_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[RetrySettings], name: str
) -> None:
    for key, value in {"AUTH_REQUIRED": "false", "ENCRYPTION_KEYS": KEY}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv(name, "57")
    load(cls)
    monkeypatch.setenv(name, "56")
    line = refusal(capsys, cls)
    assert line == (
        f"configuration: the default retries take up to 204276 s, longer than {name}=56: set it to at least 57, or "
        "RETRY_LIMIT and RETRY_BASE_SECONDS to less"
    )
    monkeypatch.setenv("RETRY_LIMIT", "5")
    load(cls)


@given(
    failures=st.integers(1, 10_000),
    limit=st.integers(0, 10_000),
    base=st.floats(0.001, 1e6),
    factor=st.floats(1, 1e6),
    cap=st.floats(0.001, 1e6),
    jitter=st.floats(0, 0.99),
)
def test_a_delay_is_finite_and_within_the_jitter_of_the_cap(
    failures: int, limit: int, base: float, factor: float, cap: float, jitter: float
) -> None:
    delay = policy(limit=limit, base=base, factor=factor, cap=cap, jitter=jitter).delay_seconds(failures)
    if failures > limit:
        assert delay is None
    else:
        assert delay is not None
        assert math.isfinite(delay)
        assert 0 < delay <= cap * (1 + jitter) * (1 + 1e-9)


# -- of a subscription --

SERVICE = policy()
DAY = 24


def accept(expiry_hours: int = 7 * DAY, service: RetryPolicy = SERVICE, **fields: Any) -> Asked:
    return retry_policy.accepted(Asked(**fields), service, expiry_hours=expiry_hours)


def delays(found: RetryPolicy) -> list[float | None]:
    return [found.delay_seconds(failures) for failures in range(1, found.limit + 2)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [5, 10, 20, 40, 80, None]),
        ({"limit": 0}, [None]),
        ({"limit": 2}, [5, 10, None]),
        ({"base_seconds": 0.5, "factor": 1, "limit": 3}, [0.5, 0.5, 0.5, None]),
        ({"factor": 10, "cap_seconds": 100, "limit": 4}, [5, 50, 100, 100, None]),
        ({"delays_seconds": (1, 60, 2.5)}, [1, 60, 2.5, None]),
        ({"name": "standard-webhooks"}, [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]),
    ],
)
def test_a_policy_that_was_accepted_is_stored_and_read_as_it_was_meant(
    fields: dict[str, Any], expected: list[float | None]
) -> None:
    assert delays(retry_policy.stored(accept(**fields).text, SERVICE)) == expected


def test_stored_policy_keeps_the_defaults_of_its_time() -> None:
    text = accept(limit=7).text
    assert json.loads(text) == {"base_seconds": 5, "factor": 2, "cap_seconds": 3600, "limit": 7}
    later = retry_policy.stored(text, policy(limit=1, base=100, jitter=0.5))
    assert (later.limit, later.base_seconds, later.jitter) == (7, 5, 0.5)


def test_a_default_base_above_the_default_cap_is_cut_to_it() -> None:
    assert accept(service=policy(base=7200)).base_seconds == 3600


def test_the_named_schedule_takes_three_days_and_fits_into_a_week_with_any_jitter() -> None:
    found = retry_policy.stored(accept(name="standard-webhooks").text, SERVICE)
    assert found.total_seconds == 272_105
    accept(service=policy(jitter=0.99), name="standard-webhooks")


NAN, INF = float("nan"), float("inf")
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"base_seconds": 0}, ["base_seconds"]),
    ({"base_seconds": -1}, ["base_seconds"]),
    ({"base_seconds": NAN}, ["base_seconds"]),
    ({"base_seconds": INF}, ["base_seconds"]),
    ({"base_seconds": 3601}, ["cap_seconds"]),
    ({"factor": 0.99}, ["factor"]),
    ({"factor": NAN}, ["factor"]),
    ({"factor": INF}, ["factor"]),
    ({"cap_seconds": 0}, ["cap_seconds"]),
    ({"cap_seconds": 4.9}, ["cap_seconds"]),
    ({"cap_seconds": NAN}, ["cap_seconds"]),
    ({"cap_seconds": 1e300}, ["cap_seconds"]),
    ({"limit": -1}, ["limit"]),
    ({"limit": 101}, ["limit"]),
    ({"base_seconds": -1, "factor": 0, "cap_seconds": -1}, ["base_seconds", "cap_seconds", "factor"]),
    ({"delays_seconds": (1, 0, 1, -1, NAN)}, ["delays_seconds.1", "delays_seconds.3", "delays_seconds.4"]),
    ({"delays_seconds": (INF,)}, ["delays_seconds.0"]),
    ({"delays_seconds": (1.0,) * 101}, ["delays_seconds"]),
    ({"name": "fibonacci"}, ["name"]),
    ({"name": ""}, ["name"]),
    ({"name": "standard-webhooks", "limit": 3}, [""]),
    ({"delays_seconds": (1,), "base_seconds": 1}, [""]),
    ({"delays_seconds": (1,), "name": "standard-webhooks"}, [""]),
    ({"base_seconds": 3600, "limit": 100}, []),
    ({"base_seconds": 3600, "cap_seconds": 7200, "limit": 100}, [""]),
    ({"delays_seconds": (604_800,)}, []),
    ({"delays_seconds": (604_801,)}, [""]),
    ({"delays_seconds": (302_400, 302_401)}, [""]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "at_fault"), REFUSED, ids=lambda value: str(value)[:50])
def test_a_policy_that_cannot_be_is_refused_by_the_fields_at_fault(fields: dict[str, Any], at_fault: list[str]) -> None:
    if not at_fault:
        accept(**fields)
        return
    with pytest.raises(errors.InvalidArgument) as raised:
        accept(**fields)
    expected = [f"retry_policy.{name}" if name else "retry_policy" for name in at_fault]
    assert [violation.field for violation in raised.value.violations] == expected


def test_a_policy_that_outlasts_the_delivery_is_refused_with_both_figures() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"82500 s, longer than the lifetime of a delivery: 79200"):
        accept(expiry_hours=22, service=policy(jitter=0.1), delays_seconds=(75_000,))
    accept(expiry_hours=22, delays_seconds=(75_000,))


@pytest.mark.parametrize("text", ["", "[]", "1", '{"name": "fibonacci"}', '{"base_seconds": "5"}', '{"limit": 1.5}'])
def test_stored_policy_that_this_version_does_not_know_means_the_default(text: str) -> None:
    assert retry_policy.stored(text, SERVICE) is SERVICE


POLICIES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "base_seconds": st.floats(1e-6, 1e6),
            "factor": st.floats(1, 1e6),
            "cap_seconds": st.floats(1e-6, 1e9),
            "limit": st.integers(0, 100),
        },
    ),
    st.fixed_dictionaries({"delays_seconds": st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=100).map(tuple)}),
    st.just({"name": "standard-webhooks"}),
)


@given(fields=POLICIES, jitter=st.floats(0, 0.99), expiry_hours=st.integers(1, 1000))
def test_accepted_policy_never_exceeds_its_total_or_the_expiry_of_deliveries(
    fields: dict[str, Any], jitter: float, expiry_hours: int
) -> None:
    service = policy(jitter=jitter)
    try:
        asked = accept(expiry_hours, service, **fields)
    except errors.InvalidArgument as refused:
        assert refused.violations  # noqa: PT017 - one or the other
        return
    found = retry_policy.stored(asked.text, service)
    made = delays(found)
    assert made.pop() is None
    total = sum(delay or 0 for delay in made)
    assert total <= found.total_seconds * (1 + 1e-9)
    assert found.total_seconds <= expiry_hours * 3600
    assert all(delay is not None and delay > 0 for delay in made)
