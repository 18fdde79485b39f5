"""Spans as the services see them, and the W3C traceparent header that links them."""

import contextvars
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeAlias

import msgspec

# The header traceparent: which trace something belongs to (W3C Trace Context, https://www.w3.org/TR/trace-context/).


TRACEPARENT = "traceparent"


SAMPLED = 0x01
# As version 00 has it. A later version may have more behind it, after a dash.
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


_FORBIDDEN_VERSION = "ff"


_VERSION = "00"


class Parent(msgspec.Struct, frozen=True):
    """The span that another one is a child of."""

    trace_id: int
    span_id: int
    sampled: bool


def parse_traceparent(text: str) -> Parent | None:
    """Parse a traceparent header; None if malformed: the standard says to ignore it then."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    version, trace_id, span_id, flags, more = form.groups()
    if version == _FORBIDDEN_VERSION or (version == _VERSION and more is not None):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))
    return parent if parent.trace_id and parent.span_id else None


def write_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Return the traceparent header."""
    return f"{_VERSION}-{trace_id:032x}-{span_id:016x}-{flags:02x}"


# Spans as the rest of the code sees them, and which one it is in.


Value: TypeAlias = str | int | float | bool


Attributes: TypeAlias = Mapping[str, Value]


class Kind(Enum):
    """The part that a span has in a conversation; the names are OpenTelemetry's."""

    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()


class Span(ABC):
    """Something that is being recorded. It is exported once it has ended, and never else."""

    __slots__ = ("span_id", "trace_id", "traceparent")

    def __init__(self, trace_id: int, span_id: int, flags: int) -> None:
        self.trace_id = f"{trace_id:032x}"
        self.span_id = f"{span_id:016x}"
        # By which others become its children.
        self.traceparent = write_traceparent(trace_id, span_id, flags)

    @abstractmethod
    def rename(self, name: str) -> None:
        """Rename the span: for a name that is known only at the end."""

    @abstractmethod
    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    @abstractmethod
    def link(self, parent: Parent) -> None:
        """Link the span to one of another trace."""

    @abstractmethod
    def end(self, *, error: str = "", failed: bool = True) -> None:
        """End the span. `error` is the kind of error; whether it counts as a failure depends on the span's kind."""


# Of the request, call or attempt that this code works for; None where that is not traced.
CURRENT: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


def link(header: str | None) -> None:
    """Link the current span to another trace, by the traceparent of a span in it."""
    span = CURRENT.get()
    other = parse_traceparent(header) if span is not None and header else None
    if span is not None and other is not None:
        span.link(other)
