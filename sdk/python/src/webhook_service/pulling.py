"""Pulls deliveries of a subscription whose `destination` is `pull`: each is leased until its result is reported.

    for delivery in client.pull(subscription_id):
        with delivery:                    # a success, or a failure if this raises
            handle(delivery.json())

A delivery whose lease expires without a result is retried. So nothing is lost when a consumer stops, and what was
reported comes no second time.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import msgspec

from webhook_service import calls, errors
from webhook_service.models import PulledDelivery, PullOutcome, PullResultStatus

if TYPE_CHECKING:
    from webhook_service.async_resources import AsyncSubscriptionsResource
    from webhook_service.resources import SubscriptionsResource

MAX_DELIVERIES = 10
WAIT_SECONDS = 20.0
LEASE_SECONDS = 60.0
REPORTS = 5
# Refusals that pass, or in which nobody knows; others end the loop.
_PASSING = frozenset((408, 429, 500, 502, 503, 504))


class LeaseExpired(errors.WebhookServiceError):
    """The lease ended before the result was reported: the delivery is retried, here or elsewhere."""


@dataclass(kw_only=True)
class _Pulled:
    """A delivery that is leased."""

    subscription_id: str
    delivery: PulledDelivery = field(repr=False)
    reported: bool = False
    began: float = field(default_factory=time.monotonic, repr=False)

    @property
    def id(self) -> str:
        """The id, the same for every attempt."""
        return self.delivery.id

    @property
    def event_id(self) -> str:
        """The id of the event."""
        return self.delivery.event_id

    @property
    def event_type(self) -> str | None:
        """The type of the event; None if it has none."""
        return self.delivery.event_type

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self.delivery.attempt

    @property
    def headers(self) -> dict[str, str]:
        """The headers as they would be sent to a target, signatures included."""
        return self.delivery.headers

    @property
    def lease_expires_at(self) -> datetime:
        """When the lease ends, unless it is extended."""
        return self.delivery.lease_expires_at

    @cached_property
    def payload(self) -> bytes:
        """The exact bytes of the payload."""
        return base64.b64decode(self.delivery.payload_base64)

    def json(self) -> Any:
        """Return the payload, decoded."""
        return msgspec.json.decode(self.payload)

    def _result(self, outcome: PullOutcome, **more: Any) -> dict[str, Any]:
        spent = max(0, round((time.monotonic() - self.began) * 1000))
        found = {
            "delivery_id": self.delivery.id,
            "lease_token": self.delivery.lease_token,
            "outcome": outcome,
            **({} if outcome == PullOutcome.EXTEND else {"duration_ms": spent}),
            **more,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _check(self, status: str) -> None:
        if status != PullResultStatus.RECORDED:
            raise LeaseExpired(f"the result of delivery {self.id} was not recorded: {status}")


@dataclass(kw_only=True)
class Pulled(_Pulled):
    """A delivery that is leased. Report a result, or use it in a `with`."""

    subscriptions: SubscriptionsResource = field(repr=False)

    def succeed(self, *, status_code: int | None = None, message: str | None = None) -> None:
        """Report that it is delivered."""
        self._report(PullOutcome.SUCCESS, status_code=status_code, message=message)

    def fail(self, message: str | None = None, *, status_code: int | None = None) -> None:
        """Report that the attempt failed; it is retried by the retry policy."""
        self._report(PullOutcome.FAILURE, status_code=status_code, message=message and message[:500])

    def extend(self, lease_seconds: float = LEASE_SECONDS) -> None:
        """Extend the lease, to this long from now on."""
        self._report(PullOutcome.EXTEND, lease_seconds=lease_seconds)

    def _report(self, outcome: PullOutcome, **more: Any) -> None:
        result = self._result(outcome, **more)
        for attempt in range(1, REPORTS + 1):
            try:
                (reported,) = self.subscriptions.report(self.subscription_id, [result]).results
                break
            except errors.WebhookServiceError as error:
                if attempt == REPORTS or not is_passing(error):
                    raise
                time.sleep(pause(attempt))  # a repeated report changes nothing
        self.reported = outcome != PullOutcome.EXTEND
        self._check(str(reported.status))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self.reported:
            return
        if error is None:
            self.succeed()
        elif isinstance(error, Exception):
            self.fail(f"{type(error).__name__}: {error}")


@dataclass(kw_only=True)
class AsyncPulled(_Pulled):
    """A delivery that is leased. Report a result, or use it in an `async with`."""

    subscriptions: AsyncSubscriptionsResource = field(repr=False)

    async def succeed(self, *, status_code: int | None = None, message: str | None = None) -> None:
        """Report that it is delivered."""
        await self._report(PullOutcome.SUCCESS, status_code=status_code, message=message)

    async def fail(self, message: str | None = None, *, status_code: int | None = None) -> None:
        """Report that the attempt failed; it is retried by the retry policy."""
        await self._report(PullOutcome.FAILURE, status_code=status_code, message=message and message[:500])

    async def extend(self, lease_seconds: float = LEASE_SECONDS) -> None:
        """Extend the lease, to this long from now on."""
        await self._report(PullOutcome.EXTEND, lease_seconds=lease_seconds)

    async def _report(self, outcome: PullOutcome, **more: Any) -> None:
        result = self._result(outcome, **more)
        for attempt in range(1, REPORTS + 1):
            try:
                (reported,) = (await self.subscriptions.report(self.subscription_id, [result])).results
                break
            except errors.WebhookServiceError as error:
                if attempt == REPORTS or not is_passing(error):
                    raise
                await asyncio.sleep(pause(attempt))  # a repeated report changes nothing
        self.reported = outcome != PullOutcome.EXTEND
        self._check(str(reported.status))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self.reported:
            return
        if error is None:
            await self.succeed()
        elif isinstance(error, Exception):
            await self.fail(f"{type(error).__name__}: {error}")


def pull(
    subscriptions: SubscriptionsResource,
    subscription_id: str,
    *,
    max_deliveries: int = MAX_DELIVERIES,
    wait_seconds: float = WAIT_SECONDS,
    lease_seconds: float = LEASE_SECONDS,
) -> Iterator[Pulled]:
    """Yield deliveries for as long as it is looped over; wait while there are none, and while the service is away."""
    failures = 0
    while True:
        try:
            found = subscriptions.pull(
                subscription_id, max_deliveries=max_deliveries, wait_seconds=wait_seconds, lease_seconds=lease_seconds
            )
        except errors.WebhookServiceError as error:
            if not is_passing(error):
                raise
            failures += 1
            time.sleep(pause(failures))
            continue
        failures = 0
        for delivery in found.deliveries:
            yield Pulled(subscription_id=subscription_id, delivery=delivery, subscriptions=subscriptions)


async def pull_async(
    subscriptions: AsyncSubscriptionsResource,
    subscription_id: str,
    *,
    max_deliveries: int = MAX_DELIVERIES,
    wait_seconds: float = WAIT_SECONDS,
    lease_seconds: float = LEASE_SECONDS,
) -> AsyncIterator[AsyncPulled]:
    """Yield deliveries for as long as it is looped over; wait while there are none, and while the service is away."""
    failures = 0
    while True:
        try:
            found = await subscriptions.pull(
                subscription_id, max_deliveries=max_deliveries, wait_seconds=wait_seconds, lease_seconds=lease_seconds
            )
        except errors.WebhookServiceError as error:
            if not is_passing(error):
                raise
            failures += 1
            await asyncio.sleep(pause(failures))
            continue
        failures = 0
        for delivery in found.deliveries:
            yield AsyncPulled(subscription_id=subscription_id, delivery=delivery, subscriptions=subscriptions)


def is_passing(error: errors.WebhookServiceError) -> bool:
    """Return whether the same request may succeed later."""
    return isinstance(error, errors.ConnectionFailed) or (
        isinstance(error, errors.ApiError) and error.status in _PASSING
    )


def pause(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return min(calls.MAX_DELAY_SECONDS, calls.FIRST_DELAY_SECONDS * 2.0 ** (failures - 1))
