"""What the benchmark asks of the generator and the receiver, and what they answer: a line of JSON each.

Moments are nanoseconds of the machine's monotonic clock, which all processes share.
"""

from typing import TypeVar

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Asks the generator for a load; it answers `Sent`.

    Closed loop when `rate` is None: every connection sends its next request when it got its answer. Open loop
    otherwise: requests begin on time whatever became of the earlier ones, on as many connections as that takes.
    """

    port: int
    # Requests go to these in turn.
    paths: tuple[str, ...]
    # Sent with each request; empty: none is.
    api_key: str = ""
    payload_bytes: int
    # With one, the body is that of an event for all who want the type; without, that of a webhook.
    event_type: str | None = None
    seconds: float
    connections: int
    # Requests a second.
    rate: float | None = None
    # The load ends early after so many requests.
    requests: int | None = None
    # Between an answer and the next request of its connection: for lone requests on an idle system.
    pause_seconds: float = 0.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator did."""

    began_ns: int
    # When it stopped sending; the last answers came a little later.
    ended_ns: int
    sent: int
    # A byte for each request in order: 1 when it was answered 2xx.
    accepted: bytes
    # Answers by HTTP status.
    statuses: dict[str, int]
    # Requests without an answer.
    failed: int
    # From the request's first byte written to its whole answer, of those that were accepted.
    accept_p50_ms: float
    accept_p95_ms: float
    accept_p99_ms: float
    # Open loop: how late requests began. If it is large the generator was the bottleneck.
    late_p99_ms: float


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """Asks the receiver to start over; it answers `Count`."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """Asks the receiver how much it has got; it answers `Count`."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Asks the receiver for what it got; it answers `Received`."""

    began_ns: int
    ended_ns: int


ReceiverCommand = Forget | Ask | Report


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries came, repeated ones not counted."""

    deliveries: int


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What came. A delivery is a pair of sequence number and stream (the number that its path ends in)."""

    deliveries: int
    duplicates: int
    # Deliveries between the two moments that were asked for.
    in_window: int
    # Streams that each sequence number came to, as unsigned 16-bit little-endian integers.
    streams_by_sequence: bytes
    # When the last one came; 0 when none did.
    last_ns: int
    # From the begin of the request at the service to the first byte here.
    end_to_end_p50_ms: float
    end_to_end_p95_ms: float
    end_to_end_p99_ms: float
    end_to_end_max_ms: float


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """The receiver's first line."""

    port: int


Message = TypeVar("Message", bound=msgspec.Struct)
