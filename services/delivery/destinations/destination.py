"""What a worker asks of a destination, and what it learns from it. Each type of destination is a folder here."""

import codecs
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from services.delivery.destinations.details import Trail
from services.delivery.worker.claims import Claim
from services.domain.states import AttemptOutcome

MESSAGE_CHARACTERS = 500
# A fraction is not in RFC 9110 and is sent all the same, by limiters that count milliseconds.
_NUMBER = re.compile(rb"\d+(?:\.\d*)?|\.\d+")
# The obsolete form 06-Nov-94 has a year of two digits: up to 50 years ahead, it is of this century (RFC 9110, 5.6.7).
_RFC_850_HYPHENS = 2
_YEARS_AHEAD = 50
_decoder = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a receiver answered: its status, and the beginning of its body."""

    status_code: int
    body: bytes
    # The header as received, unless it is longer than a number or a date can be.
    retry_after: bytes | None = None
    # The header as received, cut at a bound.
    location: bytes | None = None


class SendError(Exception):
    """No usable response arrived. `status_code` is set if the headers of one arrived before it failed.

    `reused` means that a kept-alive connection was closed before any byte of an answer: the receiver had most likely
    closed it before the request, so a second try on a fresh connection is worth making at once.
    """

    def __init__(
        self, kind: AttemptOutcome, message: str, *, status_code: int | None = None, reused: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status_code = status_code
        self.reused = reused


class Destination(Protocol):
    """Delivers payloads. One instance serves all subscriptions of its type."""

    async def send(
        self,
        claim: Claim,
        payload: bytes,
        *,
        timeout_seconds: float,
        fresh: bool = False,
        repeated: bool = False,
        trace: str | None = None,
        trail: Trail | None = None,
    ) -> Answer:
        """Send a claim's payload within a deadline. Raises SendError.

        `fresh` forbids a reused connection. `repeated`: it is the second request of the claim, whose first was lost
        with a connection. `trace` is the W3C traceparent to send, if the receiver is to see it. What happens is noted
        in `trail`.
        """
        ...

    async def ask(self, claim: Claim, headers: Mapping[str, str], *, timeout_seconds: float, trail: Trail) -> Answer:
        """Send OPTIONS with these headers, and no payload, within a deadline. Raises SendError.

        The headers of the answer are in `trail`.
        """
        ...


def retry_after_seconds(value: bytes, now: datetime) -> float:
    """Return how long a Retry-After (RFC 9110, 10.2.3) asks to wait from `now`; a fraction is rounded up.

    0 for a time that has passed, and for what is neither a number nor a date.
    """
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(math.ceil(float(value)))
    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
        if value.count(b"-") == _RFC_850_HYPHENS and now.year - moment.year >= _YEARS_AHEAD:
            moment = moment.replace(year=moment.year + 100)
        # The asctime form names no zone.
        return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


# Text that Postgres can store: valid UTF-8 without NUL.


def body_text(body: bytes, limit_bytes: int) -> str:
    """Return the beginning of a body in at most `limit_bytes` of UTF-8; undecodable bytes and NUL become U+FFFD.

    A character that the limit would cut is left out.
    """
    decoded = _decoder("replace").decode(body[:limit_bytes], final=len(body) <= limit_bytes)
    text = decoded.replace("\x00", "\ufffd")
    return text.encode()[:limit_bytes].decode(errors="ignore") if "\ufffd" in text else text


def message_text(message: str) -> str:
    """Return an error message, which may quote what a receiver sent, cut to MESSAGE_CHARACTERS."""
    return message[:MESSAGE_CHARACTERS].encode(errors="replace").decode().replace("\x00", "\ufffd")


def header_text(value: bytes, limit_characters: int) -> str:
    """Return a header's value on one line: unprintable characters are escaped, and it is cut at the limit."""
    decoded = value.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)
    return shown if len(shown) <= limit_characters else shown[:limit_characters] + "…"
