"""How many requests a key may make: a token bucket, of this process alone."""

import math
import time

from services.gateway import problems

MAX_RETRY_AFTER_SECONDS = 3600


class Bucket:
    """Holds what the rate allows in a second, and one request at least."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._most = self._tokens = max(1.0, per_second)
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """Takes one request out; RateLimited, with when to come back, if there is none."""
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        if self._tokens < 1:
            wait = min(MAX_RETRY_AFTER_SECONDS, (1 - self._tokens) / self.per_second)
            raise problems.RateLimited(retry_after_seconds=math.ceil(wait))
        self._tokens -= 1
