"""When a failed delivery is retried: by the default policy, or the subscription's own.

The default is the schedule of Standard Webhooks up to its step of 20 hours, so that deliveries outlast two days without
an answer. In development, and where RETRY_LIMIT or one of its companions is set, it is exponential.

A subscription's policy is exponential, explicit (a list of delays) or named. Ingest checks it and stores it whole,
without holes for defaults, so that it goes on to mean what was checked; a worker reads it with `stored`.
"""

import dataclasses
import functools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec
import structlog
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from services.domain import limits
from services.platform import errors
from services.platform.settings import Hours, Seconds, Settings, constant

log = structlog.get_logger(__name__)

STANDARD_WEBHOOKS = "standard-webhooks"
# The specification's ten attempts, of which the first is immediate.
_NAMED: dict[str, tuple[float, ...]] = {
    STANDARD_WEBHOOKS: (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
}
# The last step of a day would outlast LOG_RETENTION_HOURS.
DEFAULT_DELAYS_SECONDS = _NAMED[STANDARD_WEBHOOKS][:-1]
# What makes the default policy exponential when it is set.
_EXPONENTIAL = frozenset({"retry_limit", "retry_base_seconds", "retry_factor", "retry_cap_seconds"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Delay before retry n, from 1: base * factor^(n-1), at most the cap, then more or less the jitter.

    Where there are `delays_seconds` it is the n-th of them, more or less the jitter; base, factor and cap are then what
    the policy of a subscription is filled up with.
    """

    limit: int
    jitter: float
    base_seconds: float = 0.0
    factor: float = 1.0
    cap_seconds: float = 0.0
    delays_seconds: tuple[float, ...] = ()

    def delay_seconds(self, failures: int) -> float | None:
        """Return the delay after so many failures, or None when the retries are used up."""
        if failures > self.limit:
            return None
        return self._plain(failures) * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load, protects nothing

    @property
    def total_seconds(self) -> float:
        """All the delays together, with the jitter at its most."""
        return sum(map(self._plain, range(1, self.limit + 1))) * (1 + self.jitter)

    def _plain(self, retry: int) -> float:
        if self.delays_seconds:
            return self.delays_seconds[retry - 1]
        try:
            return min(self.cap_seconds, self.base_seconds * self.factor ** (retry - 1))
        except OverflowError:
            return self.cap_seconds


class ExpirySettings(Settings):
    """How long a delivery lives, and how long it is kept."""

    # Past it a delivery that has not ended is failed with reason "expired".
    delivery_expiry_hours: Hours = 168
    # Hours that events, deliveries, attempts and their statistics are kept, counted from the end of their UTC day.
    log_retention_hours: Hours = 72
    # Hours for which a failed delivery, with its event and its UTC day, is kept at least, so that it can be retried.
    recovery_hours: Annotated[int, Field(ge=0, le=876_000)] = 72


class TimeoutSettings(Settings):
    """The default timeout: workers keep to it, and ingest shows it."""

    # Deadline over connect, headers and body of one request, where the subscription has none of its own.
    delivery_timeout_seconds: Annotated[float, Field(ge=1, le=30, allow_inf_nan=False)] = 15.0


class RetrySettings(ExpirySettings):
    """The default policy: workers follow it, and ingest fills a subscription's policy up with it."""

    # Attempts after the first one.
    retry_limit: Annotated[int, Field(ge=0, le=10_000)] = 5
    # Delay before retry n (from 1): base * factor^(n-1), at most the cap, more or less the jitter.
    retry_base_seconds: Seconds = 5.0
    retry_factor: float = constant(2.0)
    retry_cap_seconds: Seconds = 3600.0
    retry_jitter: float = constant(0.1)

    @model_validator(mode="after")
    def _retries_fit(self) -> Self:
        total = self.retry_policy.total_seconds
        for name, hours in (
            ("DELIVERY_EXPIRY_HOURS", self.delivery_expiry_hours),
            ("LOG_RETENTION_HOURS", self.log_retention_hours),
        ):
            if total > hours * 3600:
                raise PydanticCustomError("too long", "{why}", {"why": self._too_long(total, name, hours)})
        return self

    def _too_long(self, total: float, name: str, hours: int) -> str:
        if not math.isfinite(total):
            return f"the retries of RETRY_BASE_SECONDS and RETRY_CAP_SECONDS have no limit and exceed {name}={hours}"
        needed = f"set it to at least {math.ceil(total / 3600)}, or RETRY_LIMIT and RETRY_BASE_SECONDS to less"
        return f"the default retries take up to {math.ceil(total)} s, longer than {name}={hours}: {needed}"

    @property
    def retry_policy(self) -> RetryPolicy:
        """The policy of subscriptions without one of their own."""
        exponential = RetryPolicy(
            limit=self.retry_limit,
            jitter=self.retry_jitter,
            base_seconds=self.retry_base_seconds,
            factor=self.retry_factor,
            cap_seconds=self.retry_cap_seconds,
        )
        if self.development or self.model_fields_set & _EXPONENTIAL:
            return exponential
        delays = DEFAULT_DELAYS_SECONDS
        return dataclasses.replace(exponential, limit=len(delays), delays_seconds=delays)


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy as a subscription asks for it, and as it is stored."""

    base_seconds: float | None = None
    factor: float | None = None
    cap_seconds: float | None = None
    limit: int | None = None
    delays_seconds: tuple[float, ...] = ()
    name: str | None = None

    @property
    def text(self) -> str:
        """The JSON to store."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of_text(cls, text: str) -> "Asked":
        """From what is stored; msgspec.MsgspecError when it is nothing that this version knows."""
        return msgspec.json.decode(text, type=cls)


def accepted(asked: Asked, service: RetryPolicy, *, expiry_hours: int) -> Asked:
    """Return the policy with the service's defaults filled in; InvalidArgument naming each invalid field."""
    found = list(_violations(asked))
    if not found:
        asked = _filled(asked, service)
        found = list(_limits_exceeded(asked, service, expiry_hours * 3600))
    if found:
        raise errors.InvalidArgument.of(*found)
    return asked


@functools.lru_cache(maxsize=4096)
def stored(text: str, service: RetryPolicy) -> RetryPolicy:
    """Return a subscription's stored policy; the service's default if this version does not know its kind."""
    try:
        return _policy(Asked.of_text(text), service)
    except (msgspec.MsgspecError, LookupError) as error:
        log.warning("a subscription's retry policy is unknown; the default is used", policy=text, error=str(error))
        return service


def _policy(asked: Asked, service: RetryPolicy) -> RetryPolicy:
    delays = _NAMED[asked.name] if asked.name is not None else asked.delays_seconds
    if delays:
        return RetryPolicy(limit=len(delays), jitter=service.jitter, delays_seconds=delays)
    whole = _filled(asked, service)
    assert whole.base_seconds is not None
    assert whole.factor is not None
    assert whole.cap_seconds is not None
    assert whole.limit is not None
    return RetryPolicy(
        limit=whole.limit,
        jitter=service.jitter,
        base_seconds=whole.base_seconds,
        factor=whole.factor,
        cap_seconds=whole.cap_seconds,
    )


def _filled(asked: Asked, service: RetryPolicy) -> Asked:
    if asked.delays_seconds or asked.name is not None:
        return asked
    # A base above the cap is cut to it, and means the same.
    base_seconds = min(service.base_seconds, service.cap_seconds)
    return Asked(
        base_seconds=base_seconds if asked.base_seconds is None else asked.base_seconds,
        factor=service.factor if asked.factor is None else asked.factor,
        cap_seconds=service.cap_seconds if asked.cap_seconds is None else asked.cap_seconds,
        limit=service.limit if asked.limit is None else asked.limit,
    )


def _violations(asked: Asked) -> Iterator[errors.Violation]:
    """Yield what is wrong with each field."""
    exponential = (asked.base_seconds, asked.factor, asked.cap_seconds, asked.limit)
    kinds = (any(number is not None for number in exponential), bool(asked.delays_seconds), asked.name is not None)
    if sum(kinds) > 1:
        yield _violation(
            "",
            "must be of one kind: base_seconds, factor, cap_seconds, and limit; or delays_seconds; or name. "
            "In a patch, null removes stored fields of another kind",
        )
    if asked.name is not None and asked.name not in _NAMED:
        yield _violation("name", f'must be "{STANDARD_WEBHOOKS}"')
    if len(asked.delays_seconds) > limits.MAX_DELAYS:
        yield _violation("delays_seconds", f"must have at most {limits.MAX_DELAYS} entries")
    else:
        seconds = {f"delays_seconds.{index}": delay for index, delay in enumerate(asked.delays_seconds)}
        seconds |= {
            name: number
            for name, number in (("base_seconds", asked.base_seconds), ("cap_seconds", asked.cap_seconds))
            if number is not None
        }
        for name, number in seconds.items():
            yield from limits.RETRY_SECONDS.violations(f"retry_policy.{name}", number)
    yield from limits.RETRY_FACTOR.violations("retry_policy.factor", asked.factor)
    yield from limits.RETRIES.violations("retry_policy.limit", asked.limit)


def _limits_exceeded(whole: Asked, service: RetryPolicy, expiry_seconds: int) -> Iterator[errors.Violation]:
    base, cap = whole.base_seconds, whole.cap_seconds
    if base is not None and cap is not None and cap < base:
        yield _violation("cap_seconds", f"is {cap:g} and must be at least base_seconds, which is {base:g}")
        return
    total = _policy(whole, service).total_seconds
    if total > expiry_seconds:
        description = f"takes up to {math.ceil(total)} s, longer than the lifetime of a delivery: {expiry_seconds} s"
        yield _violation("", f"{description} (DELIVERY_EXPIRY_HOURS)")


def _violation(name: str, description: str) -> errors.Violation:
    return errors.Violation(field=f"retry_policy.{name}" if name else "retry_policy", description=description)
