"""Schemas and payloads that are made to take as long as possible."""

import functools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PAYLOAD_BYTES = 1 << 20
# Of payloads. Making them takes longer than validating them.
SETS = 3


def schemas(seed: int, number: int) -> Iterator[Any]:
    """Yield so many schemas: every kind in turn, each with sizes of its own, and some of them combined."""
    made = random.Random(seed)  # noqa: S311 - the same ones again for the same seed
    for count in range(number):
        schema = _KINDS[count % len(_KINDS)](made)
        if count >= len(_KINDS) and made.random() < 0.3:  # noqa: PLR2004 - a third
            schema = {made.choice(["allOf", "anyOf", "oneOf"]): [schema, made.choice(_KINDS)(made)]}
        yield schema


def payloads(number: int) -> Sequence[bytes]:
    """Return payloads that schemas have most to do with: one of a few sets of them, in turn."""
    return _payloads(number % SETS, PAYLOAD_BYTES)


@functools.cache
def _payloads(seed: int, size_bytes: int) -> Sequence[bytes]:
    made = random.Random(seed)  # noqa: S311 - as above
    numbers = (1_000, 45_000, 500_000)[seed]
    name = made.choice("abk")
    values: tuple[Any, ...] = (
        [1] * min(numbers, size_bytes // 2),
        ["a" * 16] * (size_bytes // 20),
        [{}] * (size_bytes // 3),
        [[number] for number in range(size_bytes // 12)],
        {f"{name}{number}": number for number in range(size_bytes // 20)},
        {name: {f"{name}{number}": "aaaaaaaa" for number in range(size_bytes // 30)}},
        "a" * (size_bytes - 2),
        ("ab" * size_bytes)[: size_bytes - 2],
        _nested(made.randint(50, 400)),
        _nested_objects(made.randint(50, 400), name),
        [{"a": [1, 2, 3], "b": {"a": 1}}] * (size_bytes // 30),
    )
    return [json.dumps(value, separators=(",", ":")).encode() for value in values]


def _nested(depth: int) -> Any:
    value: Any = [1, 2]
    for _ in range(depth):
        value = [value, 1]
    return value


def _nested_objects(depth: int, name: str) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {name: value, "a": 1}
    return value


def _doubling(made: random.Random) -> Any:
    keyword, levels = made.choice(["allOf", "anyOf", "oneOf"]), made.randint(5, 60)
    defs: dict[str, Any] = {
        f"d{level}": {keyword: [{"$ref": f"#/$defs/d{level + 1}"}] * made.randint(2, 3)} for level in range(levels)
    }
    defs[f"d{levels}"] = {"type": made.choice(["string", "integer"])}
    return {"$defs": defs, "$ref": "#/$defs/d0"}


def _recursive(made: random.Random) -> Any:
    branch: Callable[[], Any] = lambda: made.choice(  # noqa: E731 - it is short
        [{"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}, {"properties": {"a": {"$ref": "#"}}}]
    )
    return {made.choice(["allOf", "anyOf", "oneOf"]): [branch() for _ in range(made.randint(1, 6))]}


def _in_place(made: random.Random) -> Any:
    return made.choice([{"$ref": "#"}, {"not": {"$ref": "#"}}, {"if": {"$ref": "#"}, "then": {"$ref": "#"}}])


def _enum(made: random.Random) -> Any:
    values: list[Any] = [["a" * 10, number] for number in range(made.randint(10, 3_000))]
    return {"items": {"enum": values}, "additionalProperties": {"enum": values}, "enum": [*values, 1]}


def _pattern(made: random.Random) -> Any:
    repeated = made.choice(["(a+)+", "(a|aa)+", "(.*a){10}", "[ab]{1,900}", "(a?){100}a{100}", ".*.*.*.*", "\\w{1,99}"])
    pattern = (repeated * made.randint(1, 12)) + made.choice(["$", "b$", "c"])
    inner = {"pattern": pattern}
    return {**inner, "items": inner, "additionalProperties": inner, "propertyNames": inner}


def _patterns(made: random.Random) -> Any:
    names: dict[str, Any] = {
        f"{made.choice(['a', '.*', '[a-z]+', '(a|b|k)*'])}{number}?": {} for number in range(made.randint(1, 60))
    }
    return {"patternProperties": names, "items": {"patternProperties": names}}


def _properties(made: random.Random) -> Any:
    names = {f"k{number}": {"type": "string"} for number in range(made.randint(10, 1_500))}
    return {"properties": names, "required": list(names), "items": {"properties": names, "required": list(names)}}


def _unique(made: random.Random) -> Any:
    schema: Any = {"uniqueItems": True}
    for _ in range(made.randint(1, 35)):
        schema = {"uniqueItems": True, made.choice(["items", "additionalProperties"]): schema}
    return made.choice([schema, {"uniqueItems": True, "items": {"$ref": "#"}}])


def _deep(made: random.Random) -> Any:
    schema: Any = {"type": "string"}
    keyword = made.choice(["not", "items", "additionalProperties", "if"])
    for _ in range(made.randint(5, 500)):
        schema = {keyword: schema}
    return schema


def _wide(made: random.Random) -> Any:
    branches = [{"properties": {"a": {"const": number}}} for number in range(made.randint(10, 1_000))]
    return {"items": {made.choice(["oneOf", "anyOf"]): branches}, "anyOf": branches}


def _dependent(made: random.Random) -> Any:
    number = made.randint(5, 400)
    return {
        "dependentSchemas": {f"k{one}": {"required": [f"k{one + 1}"]} for one in range(number)},
        "dependentRequired": {f"a{one}": [f"a{other}" for other in range(20)] for one in range(number)},
    }


def _contains(made: random.Random) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(made.randint(1, 30)):
        schema = {made.choice(["contains", "items"]): schema, "minContains": made.randint(0, 5)}
    return schema


def _tuple(made: random.Random) -> Any:
    places = [{"anyOf": [{"type": "string"}, {"items": {"type": "null"}}]} for _ in range(made.randint(5, 900))]
    return {"prefixItems": places, "items": False, "contains": {"prefixItems": places}}


def _unevaluated(made: random.Random) -> Any:
    return {
        "anyOf": [{"properties": {f"a{number}": {}}} for number in range(made.randint(2, 50))],
        made.choice(["unevaluatedProperties", "unevaluatedItems"]): made.choice([False, {"type": "string"}]),
    }


def _elsewhere(made: random.Random) -> Any:
    return {made.choice(["$ref", "$dynamicRef", "$schema"]): f"http://127.0.0.1:{made.randint(1, 65_535)}/s.json"}


_KINDS = (
    *(_doubling, _recursive, _in_place, _enum, _pattern, _patterns, _properties, _unique, _deep, _wide, _dependent),
    *(_contains, _tuple, _unevaluated, _elsewhere),
)
