"""What the harness keeps: sends, requests, faults, and what the database holds at the end.

All moments are seconds on this machine's monotonic clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from dev.chaos.kinds import Kind


@dataclass(kw_only=True, slots=True)
class Send:
    """One event on its way into the service: its key, and what was answered to each try."""

    key: str
    endpoints: int
    # Whether it goes where deliveries wait for each other.
    slow: bool = False
    # Of each try: begun, seconds until the answer, status (0: no answer).
    tries: list[tuple[float, float, int]] = field(default_factory=list)
    event_id: UUID | None = None

    @property
    def accepted(self) -> bool:
        """Whether a try was answered 202."""
        return self.event_id is not None

    @property
    def answered_at(self) -> float:
        """When the last try was answered."""
        begun_at, seconds, _ = self.tries[-1]
        return begun_at + seconds


@dataclass(kw_only=True, slots=True)
class Request:
    """One request at the receiver. `status` is None when no answer was begun."""

    delivery_id: UUID
    key: str
    begun_at: float
    status: int | None = None
    # When the last byte of the answer, or of a flood all that a worker reads, was handed to the system.
    answered_at: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it was answered 2xx to the end."""
        return self.answered_at is not None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A fault as it was: from its beginning until the part served again."""

    kind: Kind
    subject: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A row of delivery_attempts."""

    number: int
    outcome: str
    status_code: int | None
    started_at: float
    recorded_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A row of webhook_deliveries with its attempts."""

    id: UUID
    event_id: UUID
    status: str
    reason: str | None
    attempts: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that the verdict is made of."""

    sends: Sequence[Send]
    requests: Sequence[Request]
    spans: Sequence[Span]
    deliveries: Sequence[Delivery]
    # Of every stored event, the key in its payload.
    event_keys: Mapping[UUID, str]
