"""Filters on one event."""

import math
from collections.abc import Iterator, Mapping
from time import perf_counter, thread_time
from typing import Any
from uuid import UUID

import msgspec

from services.domain.filters import expression
from services.domain.filters.expression import Expression, OnError, Verdict
from services.domain.filters.rules import LEAST_VALUES, MAX_VALUES
from services.platform import ids
from services.platform.http import json_text

# An evaluation that takes longer is slow.
SLOW_SECONDS = 0.005
# What all filters of a tenant may take of one event where others wait.
EVENT_SECONDS = 0.005
# What begins or follows a value of JSON.
_SEPARATORS = (b",", b"[", b"{")
_UNREADABLE = "the payload is not JSON"
_WITH_NUL = "the payload has a text with the character NUL"
# How JSON has NUL. The library sees texts only up to there.
_NUL = b"\\u0000"


class OutOfTimeError(Exception):
    """The filters of an event took all the time that they have."""


class Evaluation:
    """Evaluates filters on an event. Its payload is read with the first of them."""

    __slots__ = (
        *("_activation", "_began", "_began_cpu", "_deadline", "_decoded", "_event", "_last", "_longest", "_seconds"),
        *("_values", "errors", "matches", "no_matches", "slow", "spent_seconds"),
    )

    def __init__(
        self,
        *,
        event_id: UUID,
        event_type: str | None,
        content_type: str,
        content_encoding: str | None,
        tags: Mapping[str, str],
        payload: bytes,
        seconds: float = math.inf,
    ) -> None:
        """Prepare filters on an event, which take at most this time together."""
        self._event = (event_id, event_type, content_type, content_encoding, tags, payload)
        self._activation: Any = None
        self._decoded: Any = None
        self._values = 0
        self._longest = 0
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin to count again, with as much time as at first."""
        self.spent_seconds = 0.0
        self._began_cpu = thread_time()
        self._began = self._last = perf_counter()
        # By the clock, which is cheaper to read; what counts is the processor's time.
        self._deadline = self._began + self._seconds
        # How many matched, how many did not, and how many could not be evaluated.
        self.matches = 0
        self.no_matches = 0
        self.errors = 0
        # Those that took longer than they should: the subscription, and the text.
        self.slow: list[tuple[UUID, str]] = []

    def passes(self, subscription_id: UUID, filter_: Expression, on_error: str) -> bool:
        """Return whether a subscription gets the event. Raise OutOfTimeError once the time is over."""
        if self._last >= self._deadline:
            self._check_time()
        if self._activation is None:
            self._begin()
        value: Any = None
        if filter_.max_values >= self._values and filter_.max_text_bytes >= self._longest:
            try:
                value = filter_.compiled.eval(self._activation).value()
            except Exception:  # noqa: BLE001 - the library has no type for what it raises
                value = None
        else:
            value = _VALUES[self.evaluate(filter_)[0]]
        before = self._last
        self._last = now = perf_counter()
        if now - before > SLOW_SECONDS and thread_time() - self._began_cpu > SLOW_SECONDS + before - self._began:
            self.slow.append((subscription_id, filter_.text))
        if value is False:
            self.no_matches += 1
            return False
        if value is True:
            self.matches += 1
            return True
        self.errors += 1
        return on_error == OnError.DELIVER

    def _check_time(self) -> None:
        spent_seconds = self.end()
        if spent_seconds >= self._seconds:
            raise OutOfTimeError
        # It waited for the processor.
        self._deadline = self._last + self._seconds - spent_seconds

    def end(self) -> float:
        """Return what reading the payload and evaluating filters took of the processor, right after they were."""
        self.spent_seconds = thread_time() - self._began_cpu
        return self.spent_seconds

    def evaluate(self, filter_: Expression) -> tuple[Verdict, str]:
        """Return what a filter says of the event, and why it cannot be evaluated."""
        if self._activation is None:
            self._begin()
        if why := filter_.error or self._why_too_large(filter_):
            return Verdict.ERROR, why
        try:
            found = filter_.compiled.eval(self._activation)
        except Exception as error:  # noqa: BLE001 - the library has no type for what it raises
            return Verdict.ERROR, _plain(str(error))
        value = found.value()
        if value is True or value is False:
            return (Verdict.MATCH if value else Verdict.NO_MATCH), ""
        if found.type().name() != "ERROR":
            return Verdict.ERROR, f"the result is not true or false, but of type {found.type().name()}"
        if self._decoded is _CUT:
            return Verdict.ERROR, _WITH_NUL
        return Verdict.ERROR, _UNREADABLE if self._decoded is _NOTHING else _plain(str(value))

    def _begin(self) -> None:
        event_id, event_type, content_type, encoding, tags, payload = self._event
        variables: dict[str, Any] = {
            "event.id": str(event_id),
            "event.type": event_type or "",
            "event.time": ids.moment_of(event_id),
            "event.content_type": content_type,
            "event.tags": tags,
        }
        # A value takes two bytes at least.
        self._values = len(payload) // 2
        if self._values > LEAST_VALUES:
            self._values = sum(map(payload.count, _SEPARATORS)) + 1
        self._longest = len(payload)
        if encoding is None and self._values <= MAX_VALUES:
            try:
                self._decoded = msgspec.json.decode(payload.removeprefix(json_text.BOM))
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                self._decoded = _NOTHING
            else:
                if _NUL in payload and any("\0" in text for text in _texts(self._decoded)):
                    self._decoded = _CUT
                else:
                    variables["event.data"] = self._decoded
        else:
            self._decoded = _NOTHING
        self._activation = expression.environment().Activation(variables)
        self._last = perf_counter()

    def _why_too_large(self, filter_: Expression) -> str:
        """Return why a filter is not evaluated for the payload; empty if it is."""
        if filter_.max_values < self._values:
            return f"the payload has {self._values} values; this filter allows {int(filter_.max_values)}"
        if filter_.max_text_bytes < self._longest:
            self._longest = min(self._longest, _longest(self._decoded))
        if filter_.max_text_bytes < self._longest:
            most = int(filter_.max_text_bytes)
            return f"the payload has a text of {self._longest} bytes; this filter allows {most}"
        return ""


_NOTHING: Mapping[str, Any] = {}
# What the library would read only a part of.
_CUT: Mapping[str, Any] = {}
_VALUES = {Verdict.MATCH: True, Verdict.NO_MATCH: False, Verdict.ERROR: None}


def _longest(value: Any) -> int:
    """Return at most how many bytes the longest text of a payload has."""
    return max((len(text) if text.isascii() else 4 * len(text) for text in _texts(value)), default=0)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a payload, keys included."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one
            left += one.values()


def _plain(message: str) -> str:
    """Return an error of the library without its codes."""
    return message.partition(" [")[0].partition(": ")[2][:200] or message[:200]
