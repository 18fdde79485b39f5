"""What callers may set numbers to, and how long their texts may be: written here once.

Ingest checks it, the gateway's models show it, and the CHECKs of the schema repeat it (tests/domain/test_limits.py).
Least values are there because a number near 0 is a typing error, and because what is divided by it overflows.
"""

from dataclasses import dataclass

from services.platform import errors


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `least` to `most`."""

    least: float
    most: float

    @property
    def expected(self) -> str:
        """What an error says of a number outside."""
        return f"must be between {self.least} and {self.most}"

    def allows(self, number: float) -> bool:
        """Return whether a number is inside; NaN never is."""
        return self.least <= number <= self.most

    def violations(self, field: str, number: float | None) -> list[errors.Violation]:
        """Return what is wrong with a number; None is one that is not set."""
        if number is None or self.allows(number):
            return []
        return [errors.Violation(field=field, description=self.expected)]

    def nearest(self, number: float) -> float:
        """Return the number inside that is nearest; the least for NaN. For what was stored without these checks."""
        return min(self.most, number) if number >= self.least else self.least


# Of a subscription. A request every 17 minutes is the least.
RATE_PER_SECOND = Range(0.001, 100_000)
BURST = Range(1, 1_000_000)
TIMEOUT_SECONDS = Range(1, 30)
# Of a retry policy. No delay outlasts a delivery, whose lifetime the delays must fit into anyway.
RETRY_SECONDS = Range(0.001, 31_622_400)
RETRY_FACTOR = Range(1, 1_000_000)
MAX_DELAYS = 100
RETRIES = Range(0, MAX_DELAYS)
# How long replaced secrets stay valid.
OVERLAP_HOURS = Range(0, 168)
DEFAULT_OVERLAP_HOURS = 24
# Of what consumers pull: how many at once, how long they wait for the first, how many of a stream they hold
# without a report, and how long each is theirs.
PULLED_DELIVERIES = Range(1, 100)
WAIT_SECONDS = Range(0, 30)
OUTSTANDING = Range(1, 1000)
DEFAULT_OUTSTANDING = 100
LEASE_SECONDS = Range(10, 3600)
DEFAULT_LEASE_SECONDS = 60.0
# Of a subscription that is deleted when nobody pulls from it.
IDLE_SECONDS = Range(60, 31_622_400)
# Of what they report.
STATUS_CODE = Range(100, 599)
DURATION_MS = Range(0, 86_400_000)
# Of an event: how long before it is due it may be accepted, and for how long after that it may be delivered.
DELAY_SECONDS = Range(0, 2_592_000)
DELIVER_WITHIN_SECONDS = Range(1, 2_592_000)
# Of an API key.
REQUESTS_PER_SECOND = Range(0.001, 100_000)
# Of a tenant: its quotas.
SUBSCRIPTIONS = Range(1, 10_000_000)
EVENTS_PER_SECOND = Range(0.01, 1_000_000)
WAITING_DELIVERIES = Range(1, 1_000_000_000)
STORED_BYTES = Range(1 << 20, 1 << 50)
SCHEDULED_EVENTS = Range(1, 100_000_000)
SCHEDULED_BYTES = Range(1 << 20, 1 << 50)
# And its share of what all tenants have together, compared with one of weight 1.
WEIGHT = Range(1, 100)
DEFAULT_WEIGHT = 1

# Characters, but for what is said otherwise.
MAX_DESCRIPTION_LENGTH = 1024
MAX_NAME_LENGTH = 128
# Of a subscription: names are unique in their tenant, and fit into file names and URLs.
SUBSCRIPTION_NAME_PATTERN = r"[a-z0-9._-]{1,64}"
MAX_METADATA = 20
MAX_FILTER_LENGTH = 2_048
METADATA_KEY_PATTERN = r"[A-Za-z0-9._/-]{1,64}"
MAX_METADATA_VALUE_LENGTH = 512
# JSON Pointers (RFC 6901). Steps have no characters that JSON escapes.
MAX_TAG_PATH_LENGTH = 255
MAX_TAG_PATH_DEPTH = 10
TAG_PATH_PATTERN = rf'(?:/(?:[^/~"\\]|~[01])*){{1,{MAX_TAG_PATH_DEPTH}}}'
MAX_SECRET_LENGTH = 256
MAX_VERIFICATION_SECRETS = 2
MAX_TEMPLATE_SECRETS = 10
TEMPLATE_SECRET_NAME_PATTERN = r"[a-z][a-z0-9_]{0,63}"  # noqa: S105 - of names
MAX_HEADERS = 20
MAX_HEADER_NAME_LENGTH = 64
MAX_HEADER_VALUE_LENGTH = 1024
# As they are sent: with a colon, a space, and the end of the line.
MAX_HEADER_BYTES = 4096
MAX_CERTIFICATE_LENGTH = 32 << 10
MAX_PRIVATE_KEY_LENGTH = 8 << 10
