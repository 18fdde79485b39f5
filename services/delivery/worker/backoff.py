"""When a failed delivery is tried again: exponential backoff with jitter."""

import random
from dataclasses import dataclass

from services.delivery.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Delay before retry n, from 1: base * factor^(n-1), at most the cap, then more or less the jitter."""

    limit: int
    base_seconds: float
    factor: float
    cap_seconds: float
    jitter: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> "Backoff":
        """The backoff that the settings ask for."""
        return cls(
            limit=settings.retry_limit,
            base_seconds=settings.retry_base_seconds,
            factor=settings.retry_factor,
            cap_seconds=settings.retry_cap_seconds,
            jitter=settings.retry_jitter,
        )

    def delay_seconds(self, failures: int) -> float | None:
        """The delay after so many failures, or None when the retries are used up."""
        if failures > self.limit:
            return None
        try:
            delay = min(self.cap_seconds, self.base_seconds * self.factor ** (failures - 1))
        except OverflowError:
            delay = self.cap_seconds
        return delay * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads load, protects nothing
