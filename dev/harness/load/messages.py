"""Commands to the generator and the receiver, and their answers: a line of JSON each.

Times are nanoseconds of the machine's monotonic clock, which all processes share.
"""

from typing import TypeVar

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Start a load; the generator answers `Sent`.

    If `rate` is None, it is a closed loop: every connection sends its next request when it has a response. Otherwise it
    is an open loop: requests start on time without waiting for earlier ones, on as many connections as necessary. The
    moment in their payload is the one at which they were due, so that a request that starts late is as late as it is.
    """

    port: int
    # Paths of the requests, used in turn.
    paths: tuple[str, ...]
    # API key of each request; none if empty.
    api_key: str = ""
    payload_bytes: int
    # If set, the body is an event of this type for all matching subscriptions; otherwise it is a webhook.
    event_type: str | None = None
    seconds: float
    connections: int
    # Requests a second.
    rate: float | None = None
    # The load ends early after this many requests.
    requests: int | None = None
    # The pause between a response and the connection's next request, for lone requests on an idle system.
    pause_seconds: float = 0.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator did."""

    began_ns: int
    # When it stopped sending; the last responses arrive a little later.
    ended_ns: int
    sent: int
    # A byte for each request in order: 1 if it got 2xx.
    accepted: bytes
    # Responses by HTTP status.
    statuses: dict[str, int]
    # Requests without a response.
    failed: int
    # For each accepted request, the time to its complete response, as `payloads.pack` writes it. It counts from the
    # moment at which the request was due in an open loop, and from its first byte in a closed one.
    accept_times: bytes
    # How late the requests of an open loop started. If this is large, the generator was the bottleneck.
    late_p99_ms: float


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """Start over; the receiver answers `Count`."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """Ask how many deliveries arrived; the receiver answers `Count`."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Ask for the deliveries; the receiver answers `Received`."""

    began_ns: int
    ended_ns: int


ReceiverCommand = Forget | Ask | Report


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """The number of deliveries, without repeated ones."""

    deliveries: int


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The received deliveries. A delivery is a sequence number and a stream (the number at the end of its path)."""

    deliveries: int
    duplicates: int
    # Deliveries between the two requested times.
    in_window: int
    # For each sequence number its streams, as unsigned 16-bit little-endian integers.
    streams_by_sequence: bytes
    # When the last one arrived; 0 if none did.
    last_ns: int
    # For each delivery, the time from the moment in its payload to its first byte, as `payloads.pack` writes it.
    end_to_end_times: bytes


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """The receiver's first line."""

    port: int


Message = TypeVar("Message", bound=msgspec.Struct)
