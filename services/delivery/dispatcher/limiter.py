"""Rate limits: a token bucket for each subscription, in Redis for all who ring.

While Redis is away each process that looks for itself has a bucket of its own, with its share of the rate. So it has
for a single subscription whose bucket Redis refuses to count; the others are not touched by that.
"""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from redis.exceptions import ResponseError

from services.domain import limits
from services.platform.process.bounds import TokenBucket
from services.platform.stores.redis import REDIS_AWAY, Client, Key, is_refusal, take_tokens
from services.platform.stores.redis_primary import PREFIX

log = structlog.get_logger(__name__)

KEY = f"{PREFIX}rate:"
TIMEOUT_SECONDS = 0.25
# A turn of the dispatcher takes its time: what the rate allows meanwhile fits into the smallest bucket.
SMALLEST_SECONDS = 0.05
SHARE_SECONDS = 5.0


def bucket_size(rate: float, burst: int | None) -> float:
    """Tokens in a full bucket."""
    rate = limits.RATE_PER_SECOND.nearest(rate)
    burst_or_rate = limits.BURST.nearest(burst) if burst else rate
    return max(1.0, burst_or_rate, rate * SMALLEST_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What a subscription could use now."""

    subscription_id: UUID
    # A second.
    rate: float
    burst: int | None
    wanted: int

    @property
    def usable_rate(self) -> float:
        """The rate, or the nearest that can be counted with: whatever is stored, it holds up no other demand."""
        return limits.RATE_PER_SECOND.nearest(self.rate)

    @property
    def size(self) -> float:
        """Tokens in a full bucket."""
        return bucket_size(self.rate, self.burst)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What it gets, and when there is more."""

    number: int
    more_in_seconds: float


class Limiter:
    """Grants what the limits allow. Without Redis a rate is shared among `count_workers()` processes."""

    def __init__(self, client: Client, count_workers: Callable[[], Awaitable[int]]) -> None:
        self._redis = client
        self._count_workers = count_workers
        self._workers, self._counted_at = 1, float("-inf")
        self._own: dict[UUID, TokenBucket] = {}
        # Whose buckets Redis refused to count when it was asked last.
        self._refused: set[UUID] = set()

    async def take(self, demands: Sequence[Demand]) -> list[Grant]:
        """Grant for each in order; what is granted counts as used."""
        if not demands:
            return []
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answers = await self._shared(demands)
        except REDIS_AWAY:
            return await self._alone(demands)
        return await self._granted(demands, answers)

    async def give_back(self, demands: Sequence[Demand]) -> None:
        """Give tokens back that were granted and not used: somebody else had the deliveries."""
        # A bucket out of which a negative number is taken.
        await self.take([dataclasses.replace(demand, wanted=-demand.wanted) for demand in demands])

    async def _shared(self, demands: Sequence[Demand]) -> list[Any]:
        """Return what Redis answers for each: a pair of numbers, or the error by which it refuses this one alone."""
        pipeline = self._redis.pipeline(transaction=False)
        take = take_tokens(pipeline)
        for demand in demands:
            await take(Key(KEY + str(demand.subscription_id)), demand.usable_rate, demand.size, demand.wanted)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _granted(self, demands: Sequence[Demand], answers: Sequence[Any]) -> list[Grant]:
        refused = {
            demand.subscription_id: answer
            for demand, answer in zip(demands, answers, strict=True)
            if isinstance(answer, ResponseError)
        }
        self._tell({name: error for name, error in refused.items() if name not in self._refused})
        self._refused -= {demand.subscription_id for demand in demands}
        self._refused |= refused.keys()
        self._own = {name: bucket for name, bucket in self._own.items() if name in self._refused}
        own = iter(await self._alone([each for each in demands if each.subscription_id in refused]) if refused else ())
        return [
            next(own)
            if demand.subscription_id in refused
            else Grant(number=answer[0], more_in_seconds=answer[1] / 1000)
            for demand, answer in zip(demands, answers, strict=True)
        ]

    def _tell(self, refused: Mapping[UUID, ResponseError]) -> None:
        """Log each subscription whose bucket was refused, and once if the server takes none."""
        for name, error in refused.items():
            if not is_refusal(error):
                log.warning("Redis cannot count rate limits", subscriptions=len(refused), error=repr(error))
                break
            log.warning("Redis refused to count a rate limit", subscription_id=str(name), error=repr(error))

    async def _alone(self, demands: Sequence[Demand]) -> list[Grant]:
        now = time.monotonic()
        if now - self._counted_at > SHARE_SECONDS:
            self._workers, self._counted_at = max(1, await self._count_workers()), now
        return [self._own_share(demand) for demand in demands]

    def _own_share(self, demand: Demand) -> Grant:
        rate, size = demand.usable_rate / self._workers, max(1.0, demand.size / self._workers)
        # Empty at first: a full one in each process would be a burst for each.
        bucket = self._own.setdefault(demand.subscription_id, TokenBucket(0.0))
        bucket.fill(per_second=rate, most=size)
        return Grant(number=bucket.take(demand.wanted), more_in_seconds=bucket.seconds_to_next(rate))
