"""What is kept of a request besides its outcome, so that an attempt explains itself.

A destination notes what happens in a Trail, which costs next to nothing; only of an attempt whose details are recorded
is a text made of it. That is bounded, and holds no credentials: the values of a subscription's own headers are not in
it, nor are those of a receiver's headers that may be credentials.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import msgspec

# Of the names and values of the headers of either side.
MAX_HEADER_BYTES = 2 << 10
MAX_VALUE_CHARACTERS = 512
MASKED = "***"
# Names of receivers' headers whose values may let somebody in: cookies, tokens, and login responses.
_CREDENTIAL = re.compile("cookie|auth|token|secret|password|api-?key|session|credential")
# Names of those whose values are addresses, and what of an address may let somebody in.
_ADDRESSES = frozenset({"location", "content-location", "refresh", "link"})
_USER = re.compile(r"//[^/?#\s@]*@")
_QUERY = re.compile(r"[?#][^\s<>\"']*")

Header: TypeAlias = tuple[str, str]


class Phase(StrEnum):
    """What a request spends its time on, in this order."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    # From the request to the first byte of the response.
    FIRST_BYTE = "first_byte"
    BODY = "body"


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored of an attempt, as JSON in `delivery_attempts.details`."""

    # None was sent if there are none.
    request_headers: Sequence[Header] = ()
    response_headers: Sequence[Header] = ()
    # Whether headers were left out, or values cut.
    headers_cut: bool = False
    # Of the receiver, and whether it and the phases may be shown to those who may not know the inside of the network.
    address: str = ""
    public: bool = False
    # Whether an open connection was used.
    reused: bool = False
    # In milliseconds.
    phases: Mapping[str, float] = {}


class Trail:
    """Notes of one request, by the destination that makes it."""

    __slots__ = ("address", "begun", "is_public", "response_headers", "reused", "sent", "unshown")

    def __init__(self) -> None:
        # Each phase with when it began, on the monotonic clock.
        self.begun: list[tuple[Phase, float]] = []
        # The address that was connected to, or tried last.
        self.address = ""
        # Whether every address of the target is public; None: what is not known is not.
        self.is_public: Callable[[], bool] | None = None
        self.reused = False
        # Once the request is sent: its headers, and the names of those whose values are not shown.
        self.sent: Callable[[], Iterable[Header]] | None = None
        self.unshown: Collection[str] = ()
        # As they were received, with names in lower case.
        self.response_headers: list[tuple[bytes, bytes]] = []

    def begin(self, phase: Phase) -> None:
        """Note that a phase begins."""
        self.begun.append((phase, time.monotonic()))

    def encoded(self) -> str:
        """Return the details to store, as of now: the last phase ends."""
        # None has begun where a secret cannot be read.
        ends = [*(began_at for _, began_at in self.begun[1:]), time.monotonic()]
        sent, sent_cut = _bounded(
            (name, MASKED if name in self.unshown else value) for name, value in (self.sent() if self.sent else ())
        )
        received, received_cut = _bounded(map(_received, self.response_headers))
        details = Details(
            request_headers=sent,
            response_headers=received,
            headers_cut=sent_cut or received_cut,
            address=self.address,
            public=self.is_public is not None and self.is_public(),
            reused=self.reused,
            phases={
                phase: round((ended_at - began_at) * 1000, 1)
                for (phase, began_at), ended_at in zip(self.begun, ends, strict=False)
            },
        )
        return msgspec.json.encode(details).decode()


def decoded(text: str) -> Details:
    """Return what `encoded` made a text of."""
    return msgspec.json.decode(text, type=Details)


def masked_address(text: str) -> str:
    """Return a text with addresses without what signs somebody in: users, queries and fragments."""
    return _QUERY.sub("?" + MASKED, _USER.sub(f"//{MASKED}@", text))


def _received(header: tuple[bytes, bytes]) -> Header:
    name, value = (part.decode("latin-1") for part in header)
    if name in _ADDRESSES:
        return name, masked_address(value)
    return name, MASKED if _CREDENTIAL.search(name) else value


def _bounded(headers: Iterable[Header]) -> tuple[list[Header], bool]:
    """Return as many headers as there is room for, printable and with long values cut; whether something is missing."""
    kept: list[Header] = []
    cut = False
    left = MAX_HEADER_BYTES
    for name, value in headers:
        if len(value) > MAX_VALUE_CHARACTERS:
            value, cut = value[:MAX_VALUE_CHARACTERS] + "…", True  # noqa: PLW2901 - the same, shorter
        shown = _printable(name), _printable(value)
        left -= len(shown[0].encode()) + len(shown[1].encode())
        if left < 0:
            return kept, True
        kept.append(shown)
    return kept, cut


def _printable(text: str) -> str:
    """Return a text that can be stored and shown on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
