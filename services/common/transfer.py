"""How much longer large payloads may take: deadlines grow with their size."""

# Covered by the deadlines as they are set.
FREE_BYTES = 1 << 20
# From process to process, to and from Postgres, and to receivers.
BYTES_PER_SECOND = 4 << 20
# From clients, whose lines are slower.
UPLOAD_BYTES_PER_SECOND = 1 << 20


def extra_seconds(size_bytes: int) -> float:
    """Return what a payload of this size is given beyond a deadline; 0 up to 1 MiB."""
    return max(0, size_bytes - FREE_BYTES) / BYTES_PER_SECOND


def upload_seconds(received_bytes: int) -> float:
    """Return what a client that has sent so much is given beyond the deadline of a small request."""
    return received_bytes / UPLOAD_BYTES_PER_SECOND
