"""The header traceparent: which trace something belongs to (W3C Trace Context, https://www.w3.org/TR/trace-context/)."""

import re

import msgspec

HEADER = "traceparent"
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


def parse(text: str) -> Parent | None:
    """What a header says, or None when it is malformed: the standard wants it ignored then."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    version, trace_id, span_id, flags, more = form.groups()
    if version == _FORBIDDEN_VERSION or (version == _VERSION and more is not None):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))
    return parent if parent.trace_id and parent.span_id else None


def write(trace_id: int, span_id: int, flags: int) -> str:
    """The header."""
    return f"{_VERSION}-{trace_id:032x}-{span_id:016x}-{flags:02x}"
