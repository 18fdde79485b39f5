"""How many requests a key may make: a token bucket of this process, and the fields that tell a client of it.

The fields are those of draft-ietf-httpapi-ratelimit-headers, versions 08 and later: `RateLimit-Policy: "key";q=10;w=1`
and `RateLimit: "key";r=7;t=1`.
"""

import math
import time

from services.gateway import problems

MAX_RETRY_AFTER_SECONDS = 3600
# A structured field has room for no more than 15 digits.
MAX_WINDOW_SECONDS = 10**9


class Bucket:
    """Holds what the rate allows in a second, and one request at least."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._most = self._tokens = max(1.0, per_second)
        self._filled_at = time.monotonic()
        window = math.ceil(min(MAX_WINDOW_SECONDS, self._most / per_second))
        self._policy = (b"ratelimit-policy", b'"key";q=%d;w=%d' % (self._most, window))

    def take(self) -> None:
        """Takes one request out; RateLimited, with when to come back, if there is none."""
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        if self._tokens < 1:
            wait = min(MAX_RETRY_AFTER_SECONDS, (1 - self._tokens) / self.per_second)
            raise problems.RateLimited(retry_after_seconds=math.ceil(wait))
        self._tokens -= 1

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that say what is left, and in how many seconds the bucket is full again."""
        full = math.ceil(min(MAX_WINDOW_SECONDS, (self._most - self._tokens) / self.per_second))
        return [self._policy, (b"ratelimit", b'"key";r=%d;t=%d' % (self._tokens, full))]
