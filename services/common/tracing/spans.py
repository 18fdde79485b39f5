"""Spans as the rest of the code sees them, and which one it is in."""

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeAlias

from services.common.tracing import traceparent

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
        self.traceparent = traceparent.write(trace_id, span_id, flags)

    @abstractmethod
    def rename(self, name: str) -> None:
        """Gives it another name: for what is known at the end alone."""

    @abstractmethod
    def set(self, attributes: Attributes) -> None:
        """Adds attributes."""

    @abstractmethod
    def link(self, parent: traceparent.Parent) -> None:
        """Says that it has to do with a span of another trace."""

    @abstractmethod
    def end(self, *, error: str = "", failed: bool = True) -> None:
        """Ends it. `error` is the kind of what went wrong; whether that was a failure depends on whose span it is."""


# Of the request, call or attempt that this code works for; None where that is not traced.
CURRENT: contextvars.ContextVar[Span | None] = contextvars.ContextVar("span", default=None)


def link(header: str | None) -> None:
    """Says that the current span has to do with another trace, by the traceparent of a span in it."""
    span = CURRENT.get()
    other = traceparent.parse(header) if span is not None and header else None
    if span is not None and other is not None:
        span.link(other)
