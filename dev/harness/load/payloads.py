"""Payloads of an exact size that contain a sequence number and the start time of their request.

    {"benchmark":"0000000042 00000012345678901234","lines":[{"sku":…},…],"note":"…"}

The payload is an order with its lines, as in real webhooks, instead of one long string.
"""

import json
import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PREFIX = b'{"benchmark":"'
_SEQUENCE_DIGITS, _MOMENT_DIGITS = 10, 20
_STAMP_BYTES = _SEQUENCE_DIGITS + 1 + _MOMENT_DIGITS
_LINE = json.dumps({"sku": "B-1042", "quantity": 2, "price": 19.9, "tags": ["new", "sale"]}, separators=(",", ":"))
_SEQUENCE = slice(len(_PREFIX), len(_PREFIX) + _SEQUENCE_DIGITS)
_MOMENT = slice(_SEQUENCE.stop + 1, _SEQUENCE.stop + 1 + _MOMENT_DIGITS)


@dataclass(frozen=True, kw_only=True)
class Template:
    """A payload without its stamp."""

    prefix: bytes
    suffix: bytes

    def fill(self, sequence: int, moment_ns: int) -> bytes:
        """Return the payload."""
        return b"%b%010d %020d%b" % (self.prefix, sequence, moment_ns, self.suffix)


def template(payload_bytes: int) -> Template:
    """Return the payload of a size; ValueError below 100 bytes."""
    begin, middle, end = '","lines":[', '],"note":"', '"}'
    room = payload_bytes - len(_PREFIX) - _STAMP_BYTES - len(begin + middle + end)
    if room < 0:
        raise ValueError(f"a payload has at least {payload_bytes - room} bytes")
    lines = (room + 1) // (len(_LINE) + 1)
    text = ",".join([_LINE] * lines)
    return Template(prefix=_PREFIX, suffix=f"{begin}{text}{middle}{'x' * (room - len(text))}{end}".encode())


def stamp(body: bytes, offset: int) -> tuple[int, int]:
    """Return the sequence number and time of the payload at `offset`; ValueError if it is not one of ours."""
    sequence = body[offset + _SEQUENCE.start : offset + _SEQUENCE.stop]
    moment = body[offset + _MOMENT.start : offset + _MOMENT.stop]
    return int(sequence), int(moment)


def pack(seconds: Iterable[float]) -> bytes:
    """Return times as milliseconds in 32-bit little-endian floats, for a message."""
    return _little_endian(array("f", (1e3 * each for each in seconds))).tobytes()


def unpack(times: bytes) -> "array[float]":
    """Return the milliseconds of `pack`."""
    return _little_endian(array("f", times))


def _little_endian(times: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        times.byteswap()
    return times


def percentiles(samples: Iterable[float], percents: Sequence[float]) -> list[float]:
    """Return the nearest-rank percentiles, in the unit of the samples; zeros if there are none."""
    ordered = sorted(samples)
    if not ordered:
        return [0.0] * len(percents)
    return [ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] for percent in percents]
