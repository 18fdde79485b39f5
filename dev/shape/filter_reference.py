"""Random conditions with what they mean, for comparison with what the library makes of their text.

A condition is made as a text and as a function in Python at once. The function follows CEL's specification: an
operation without a result is an error, which && and || ignore where the other side decides.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Payload: TypeAlias = dict[str, Any]


class NoResultError(Exception):
    """An operation has no result for these values."""


# The values of the variables, and what they make of a condition.
_Value: TypeAlias = Callable[[Payload], Any]
Condition: TypeAlias = tuple[str, _Value]

_FIELDS = ("a", "b", "c", "d")
_TEXTS = ("", "a", "ab", "paid", "Größe", "x" * 20, "日本", "DE", "FR", "10")
_NUMBERS = (0, 1, -1, 2, 10, 100, 2**53, -(2**62), 0.5, 1.0, -2.5, 1e10, 100.0)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def payload(rng: random.Random) -> Payload:
    """Return a random payload."""
    made: Payload = {name: scalar(rng) for name in _FIELDS if _happens(rng, 0.8)}
    if _happens(rng, 0.8):
        made["n"] = {name: scalar(rng) for name in _FIELDS if _happens(rng, 0.7)}
    if _happens(rng, 0.8):
        made["l"] = [scalar(rng) for _ in range(rng.randrange(5))]
    if _happens(rng, 0.8):
        made["o"] = [{name: scalar(rng) for name in _FIELDS if _happens(rng, 0.8)} for _ in range(rng.randrange(4))]
    return made


def _happens(rng: random.Random, probability: float) -> bool:
    return rng.random() < probability


def scalar(rng: random.Random) -> Any:
    """Return a random value without parts."""
    return rng.choice([rng.choice(_TEXTS), rng.choice(_NUMBERS), rng.choice(_NUMBERS), _happens(rng, 0.5), None])


def condition(rng: random.Random, depth: int = 3) -> Condition:
    """Return a random condition."""
    if depth == 0 or _happens(rng, 0.3):
        return _comparison(rng, _path(rng))
    kind = rng.choice(["both", "both", "either", "either", "not", "choice", "loop", "special"])
    if kind in {"loop", "special"}:
        return _loop(rng) if kind == "loop" else _special(rng)
    one, other = condition(rng, depth - 1), condition(rng, depth - 1)
    made: dict[str, Callable[[], Condition]] = {
        "both": lambda: _both(one, other),
        "either": lambda: _either(one, other),
        "not": lambda: (f"!({one[0]})", lambda data: not _truth(one[1](data))),
        "choice": lambda: _choice(condition(rng, depth - 1), one, other),
    }
    return made[kind]()


def outcome(value: _Value, data: Payload) -> bool | None:
    """Return what a condition says of a payload; None for an error."""
    try:
        return _truth(value(data))
    except NoResultError:
        return None


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NoResultError
    return value


def _path(rng: random.Random) -> Condition:
    steps = rng.choice([[rng.choice(_FIELDS)], ["n", rng.choice(_FIELDS)], ["l"], ["o"], ["n"], ["missing"]])
    return "event.data." + ".".join(steps), lambda data: _found(data, steps)


def _found(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if not isinstance(value, dict) or step not in value:
            raise NoResultError
        value = value[step]
    return value


def _constant(rng: random.Random) -> tuple[str, Any]:
    value = scalar(rng)
    return _text(value), value


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)


def _ordered(one: Any, other: Any) -> bool:
    """Return whether values can be compared by their order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool)
    if isinstance(one, int | float):
        return isinstance(other, int | float)
    return isinstance(one, str) and isinstance(other, str)


def _comparison(rng: random.Random, path: Condition) -> Condition:
    place, value = path
    match rng.randrange(4):
        case 0:
            text, constant = _constant(rng)
            return f"{place} == {text}", lambda data: _equal(value(data), constant)
        case 1:
            text, constant = _constant(rng)
            return f"{place} != {text}", lambda data: not _equal(value(data), constant)
        case 2:
            listed = [_constant(rng) for _ in range(rng.randrange(1, 5))]
            texts = ", ".join(text for text, _ in listed)
            return f"{place} in [{texts}]", lambda data: _any_equal(value(data), [each for _, each in listed])
        case _:
            operator = rng.choice(list(_OPERATORS))
            constant = rng.choice([rng.choice(_TEXTS), rng.choice(_NUMBERS)])
            return f"{place} {operator} {_text(constant)}", lambda data: _compared(operator, value(data), constant)


def _any_equal(value: Any, listed: Sequence[Any]) -> bool:
    return any(_equal(value, each) for each in listed)


def _compared(operator: str, one: Any, other: Any) -> bool:
    if not _ordered(one, other):
        raise NoResultError
    return _OPERATORS[operator](one, other)


def _both(one: Condition, other: Condition) -> Condition:
    return f"({one[0]} && {other[0]})", lambda data: _joined(one[1], other[1], data, decides=False)


def _either(one: Condition, other: Condition) -> Condition:
    return f"({one[0]} || {other[0]})", lambda data: _joined(one[1], other[1], data, decides=True)


def _joined(one: _Value, other: _Value, data: Payload, *, decides: bool) -> bool:
    found = [outcome(one, data), outcome(other, data)]
    if decides in found:
        return decides
    if None in found:
        raise NoResultError
    return not decides


def _choice(which: Condition, one: Condition, other: Condition) -> Condition:
    text = f"(({which[0]}) ? ({one[0]}) : ({other[0]}))"
    return text, lambda data: one[1](data) if _truth(which[1](data)) else other[1](data)


def _loop(rng: random.Random) -> Condition:
    name = rng.choice(["exists", "all", "exists_one"])
    over, steps = rng.choice([("l", []), ("o", [rng.choice(_FIELDS)]), ("n", []), ("a", [])])
    inner = [_comparison(rng, ("".join(["i", *(f".{step}" for step in steps)]), lambda item: _found(item, steps)))]
    if _happens(rng, 0.4):
        inner.append(_comparison(rng, ("i", lambda item: item)))
    text, value = inner[0] if len(inner) == 1 else _either(*inner)
    return f"event.data.{over}.{name}(i, {text})", lambda data: _looped(name, _found(data, [over]), value)


def _looped(name: str, over: Any, value: _Value) -> bool:
    if not isinstance(over, list | dict):
        raise NoResultError
    found = [outcome(value, item) for item in over]
    if name == "exists_one":
        if None in found:
            raise NoResultError
        return found.count(True) == 1
    decides = name == "exists"
    if decides in found:
        return decides
    if None in found:
        raise NoResultError
    return not decides


def _special(rng: random.Random) -> Condition:
    place, value = _path(rng)
    name = rng.choice(["has", "startsWith", "endsWith", "contains", "size", "itself", "tags"])
    argument = rng.choice(_TEXTS)
    if name == "has":
        return f"has({place})", lambda data: _has(data, place.split(".")[2:])
    if name == "size":
        least = rng.randrange(4)
        return f"size({place}) > {least}", lambda data: _size(value(data)) > least
    if name == "itself":
        return place, value
    if name == "tags":
        return f"event.tags.order == {argument!r}", lambda _data: argument == "paid"
    return f"{place}.{name}({argument!r})", lambda data: _searched(name, value(data), argument)


def _has(data: Payload, steps: Sequence[str]) -> bool:
    found = _found(data, steps[:-1])
    if not isinstance(found, dict):
        raise NoResultError
    return steps[-1] in found


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise NoResultError
    return len(value)


def _searched(name: str, value: Any, argument: str) -> bool:
    if not isinstance(value, str):
        raise NoResultError
    match name:
        case "startsWith":
            return value.startswith(argument)
        case "endsWith":
            return value.endswith(argument)
        case _:
            return argument in value
