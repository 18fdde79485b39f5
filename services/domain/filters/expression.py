"""An expression of a filter: how it is checked when it is saved, and how it is evaluated.

The language is CEL, the Common Expression Language, as Google's own library has it. The library is 14 MB that are
loaded with the first filter.
"""

import enum
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain import limits
from services.domain.filters import syntax
from services.domain.filters.rules import Problem, Rules, conjuncts
from services.platform import errors

FIELD = "filter"
# Compiled expressions that are kept besides those that ingest's indexes have.
CACHED = 1_000
# What a compiled expression takes in memory; measured, and rounded up.
EXPRESSION_BYTES = 8_000
# Problems that an error names.
MAX_PROBLEMS = 5
_ERROR = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)
_CODE = re.compile(r"(?: \(in container ''\))?(?: ?\[[A-Z_]+\])?$")


class OnError(enum.StrEnum):
    """What happens to an event that a filter cannot be evaluated for."""

    DELIVER = "deliver"
    SKIP = "skip"


class Verdict(enum.StrEnum):
    """What a filter says of an event."""

    MATCH = "match"
    NO_MATCH = "no_match"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    text: str
    # What evaluates it; None if it cannot be compiled, which an older version of the rules may have allowed.
    compiled: Any
    # The payloads that it is evaluated for: how many values they may have, and how long their longest text may be.
    max_values: float
    max_text_bytes: float
    # Why it cannot be compiled.
    error: str = ""


@functools.lru_cache(CACHED)
def compiled(text: str) -> Expression:
    """Return the expression that was stored as this text."""
    try:
        return _compile(text)[0]
    except errors.InvalidArgument as error:
        return Expression(text, None, -1, -1, error.violations[0].description)


def violations(text: str | None) -> Sequence[errors.Violation]:
    """Return what is wrong with the text of a filter; None is no filter."""
    if text is None:
        return ()
    try:
        _compile(text)
    except errors.InvalidArgument as error:
        return error.violations
    return ()


def parts(text: str) -> list[str]:
    """Return the parts of a condition that all have to be true; the whole if there is one only."""
    _, tree = _compile(text)
    found = []
    begin = 0
    for place in [*sorted(conjuncts(tree)), len(text)]:
        part = text[begin:place].strip()
        # An && inside parentheses cuts them apart.
        if place == len(text) or not _problems_of_text(part):
            found.append(part)
            begin = place + 2
    return found


def tree(text: str) -> syntax.Node | None:
    """Return the tree of an expression; None if it is refused."""
    try:
        return _compile(text)[1]
    except errors.InvalidArgument:
        return None


def environment() -> Any:
    """Return what compiles expressions, and makes what they are evaluated with."""
    return _environment()


@functools.cache
def _environment() -> Any:
    from cel_expr_python import cel

    kinds: Mapping[str, Any] = {
        "event.id": cel.Type.STRING,
        "event.type": cel.Type.STRING,
        "event.time": cel.Type.TIMESTAMP,
        "event.content_type": cel.Type.STRING,
        "event.tags": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "event.data": cel.Type.DYN,
    }
    return cel.NewEnv(variables=kinds)


def _compile(text: str) -> tuple[Expression, syntax.Node]:
    """Return an expression and its tree. Raise InvalidArgument with the line and the column of what is wrong."""
    if not text.strip():
        raise _refused(text, [Problem(None, "must not be empty; leave it out, or null, for no filter")])
    if len(text) > limits.MAX_FILTER_LENGTH:
        raise _refused(text, [Problem(None, f"must be at most {limits.MAX_FILTER_LENGTH} characters")])
    if "\x00" in text or (not text.isascii() and _has_no_encoding(text)):
        raise _refused(text, [Problem(None, "must be valid Unicode, without NUL")])
    try:
        compiled = _environment().compile(text)
    except RuntimeError as error:
        raise _refused_by_library(str(error)) from None
    returned = compiled.return_type().name()
    if returned not in {"BOOL", "DYN"}:
        raise _refused(text, [Problem(None, f"must be true or false, and its result is of type {returned}")])
    tree = syntax.tree(compiled.serialize())
    rules = Rules(tree)
    problems = rules.problems or list(_invalid_patterns(rules.matches))
    if problems:
        raise _refused(text, problems)
    return Expression(text, compiled, rules.max_values, rules.max_text_bytes), tree


def _invalid_patterns(calls: Sequence[syntax.Node]) -> Iterator[Problem]:
    """Yield the regular expressions that cannot be compiled, which the library finds out when it evaluates them."""
    environment = _environment()
    for call in calls:
        found = _match().eval(environment.Activation({"event.id": "", "event.type": call.operands[1].text}))
        if found.type().name() == "ERROR":
            why = str(found.value()).partition(" [")[0].rpartition("expression: ")[2].rstrip(": ")
            yield Problem(call.place, f"matches(): the pattern is not a valid regular expression: {why}")


@functools.cache
def _match() -> Any:
    return _environment().compile("event.id.matches(event.type)")


def _problems_of_text(text: str) -> bool:
    """Return whether a text is no expression."""
    try:
        _environment().compile(text)
    except RuntimeError:
        return True
    return False


def _has_no_encoding(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _refused(text: str, problems: Sequence[Problem]) -> errors.InvalidArgument:
    return errors.InvalidArgument.of(
        *(
            errors.Violation(field=FIELD, description=f"{_where(text, problem.place)}{problem.description}")
            for problem in problems[:MAX_PROBLEMS]
        )
    )


def _where(text: str, place: int | None) -> str:
    if place is None:
        return ""
    line_begins = text.rfind("\n", 0, place) + 1
    return f"line {text.count(chr(10), 0, place) + 1}, column {place - line_begins + 1}: "


def _explained(why: str) -> str:
    return f"{why}; the payload is event.data" if why.startswith("undeclared reference to 'event.") else why


def _refused_by_library(message: str) -> errors.InvalidArgument:
    """Return the error for what the library found wrong."""
    found = [
        errors.Violation(
            field=FIELD, description=f"line {line}, column {column}: {_explained(_CODE.sub('', why)[:200])}"
        )
        for line, column, why in _ERROR.findall(message)[:MAX_PROBLEMS]
        if int(line) > 0
    ]
    if not found:
        found = [errors.Violation(field=FIELD, description="is nested too deeply; use fewer parentheses or steps")]
    return errors.InvalidArgument.of(*found)
