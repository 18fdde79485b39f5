"""What the benchmark asks of the floor's processes, and what they answer."""

import msgspec


class Insert(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for inserts; answered by `Inserted`."""

    database_url: str
    seconds: float
    payload_bytes: int


class Inserted(msgspec.Struct, frozen=True, kw_only=True):
    """What was committed, in which time."""

    rows: int
    seconds: float
