"""What a JSON Schema may be made of, so that validating any payload takes a bounded time.

A schema is refused for its size, for keywords whose cost cannot be bounded, for references that lead out of it, and if
too many schemas apply to one value. To find the last, the schemas that apply together are followed from the payload's
root down: `allOf`, `$ref` and the like add to those of a value, `properties`, `items` and the like begin those of a
part of it. Combinations are remembered, so a schema that refers to itself ends. What is found is how much there is to
check for each object and each other value of a payload (`Cost`), whatever the payload is.
"""

import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from services.platform import errors

MAX_SCHEMA_BYTES = 64 << 10
# Schemas in a schema, and how deep.
MAX_SCHEMAS = 2_000
MAX_DEPTH = 32
MAX_PATTERNS = 50
MAX_PATTERN_LENGTH = 256
# That apply to one value together.
MAX_TOGETHER = 256
# Of following them.
MAX_STEPS = 4_000
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DIALECTS = (DIALECT, f"{DIALECT}#")

# Keywords whose values are schemas, by how they hold them.
_ONE_HERE = ("not", "if", "then", "else")
_LIST_HERE = ("allOf", "anyOf", "oneOf")
_MAP_HERE = ("dependentSchemas",)
_ONE_BELOW = ("items", "contains", "additionalProperties", "propertyNames")
_LIST_BELOW = ("prefixItems",)
_MAP_BELOW = ("properties", "patternProperties")
_DEFINITIONS = ("$defs", "definitions")
ONE = frozenset(_ONE_HERE + _ONE_BELOW)
LIST = frozenset(_LIST_HERE + _LIST_BELOW)
MAP = frozenset(_MAP_HERE + _MAP_BELOW + _DEFINITIONS)

_REFUSED: Mapping[str, str] = {
    "unevaluatedProperties": "is not supported; use additionalProperties",
    "unevaluatedItems": "is not supported; use items",
    "$dynamicRef": "is not supported; use $ref",
    "$dynamicAnchor": "is not supported; use $anchor",
    "$recursiveRef": "is not supported; use $ref",
    "$recursiveAnchor": "is not supported; use $anchor",
    "$vocabulary": "is not supported",
    "dependencies": "is not of JSON Schema 2020-12; use dependentSchemas or dependentRequired",
    "additionalItems": "is not of JSON Schema 2020-12; use items",
}
_LOCAL = "must lead to a schema within this one, such as #/$defs/address"
_TOO_MUCH = (
    f"applies more than {MAX_TOGETHER} schemas to one value, perhaps because one refers to itself; "
    "use fewer of allOf, anyOf, oneOf, and $ref"
)

# Schemas by their JSON Pointers, with how many times each applies to one value.
_Together: TypeAlias = dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """How many checks a payload needs at most, by what it consists of."""

    # For each object, and for each value.
    per_object: int
    per_value: int
    # Patterns that each byte is matched with.
    patterns: int

    def checks(self, *, objects: int, values: int, size_bytes: int) -> float:
        """Return the number for a payload of this size; comparing about 4 bytes with a pattern is one check."""
        return objects * self.per_object + values * self.per_value + size_bytes * self.patterns / 4


@dataclass(kw_only=True, slots=True)
class _Found:
    """The schemas of a schema."""

    by_path: dict[str, Any] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    violations: list[errors.Violation] = field(default_factory=list)
    patterns: int = 0

    def refuse(self, path: str, description: str) -> None:
        self.violations.append(errors.Violation(field=f"schema{path}", description=description))


def escaped(name: str) -> str:
    """Return a name as a step of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def cost(schema: Any) -> Cost:
    """Return what validating against a schema costs; InvalidArgument for one that is refused, naming the places.

    The field names are `schema` with a JSON Pointer.
    """
    found = _Found()
    _collect(schema, "", 0, found)
    if not found.violations:
        _check_references(found)
    if found.violations:
        raise errors.InvalidArgument.of(*found.violations)
    return _Following(found).cost()


def _collect(schema: Any, path: str, depth: int, found: _Found) -> None:
    """Note a schema and those in it. What is wrong with keywords otherwise, the validator says."""
    if len(found.violations) >= errors.MAX_VIOLATIONS:
        return
    if not isinstance(schema, dict | bool):
        found.refuse(path, "must be an object, true, or false")
        return
    if depth > MAX_DEPTH or len(found.by_path) >= MAX_SCHEMAS:
        found.refuse(path, f"must consist of at most {MAX_SCHEMAS} schemas, {MAX_DEPTH} deep")
        return
    found.by_path[path] = schema
    if isinstance(schema, bool):
        return
    _check_keywords(schema, path, found)
    for keyword, name, inner in parts(schema):
        step = f"/{escaped(keyword)}" if name is None else f"/{escaped(keyword)}/{escaped(name)}"
        _collect(inner, path + step, depth + 1, found)


def parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Yield the schemas in a schema, each with its keyword, and its name or number there."""
    for keyword, value in schema.items():
        if keyword in ONE:
            yield keyword, None, value
        elif keyword in LIST and isinstance(value, list):
            for number, inner in enumerate(value):
                yield keyword, str(number), inner
        elif keyword in MAP and isinstance(value, dict):
            for name, inner in value.items():
                yield keyword, name, inner


def _check_keywords(schema: Mapping[str, Any], path: str, found: _Found) -> None:
    for keyword, why in _REFUSED.items():
        if keyword in schema:
            found.refuse(f"{path}/{keyword}", why)
    for keyword in (LIST | MAP) & schema.keys():
        kind, expected = (list, "an array") if keyword in LIST else (dict, "an object")
        if not isinstance(schema[keyword], kind):
            found.refuse(f"{path}/{keyword}", f"must be {expected}")
    if "$id" in schema and path:
        found.refuse(f"{path}/$id", "is not supported in a part of a schema; use $anchor")
    if schema.get("$schema", DIALECT) not in _DIALECTS:
        found.refuse(f"{path}/$schema", f"must be {DIALECT}")
    if isinstance(schema.get("$anchor"), str):
        found.anchors[schema["$anchor"]] = path
    _check_patterns(schema, path, found)


def _check_patterns(schema: Mapping[str, Any], path: str, found: _Found) -> None:
    patterns = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    if isinstance(schema.get("patternProperties"), dict):
        patterns += schema["patternProperties"]
    found.patterns += len(patterns)
    if found.patterns > MAX_PATTERNS:
        found.refuse(path, f"must have at most {MAX_PATTERNS} patterns")
    if any(len(pattern) > MAX_PATTERN_LENGTH for pattern in patterns):
        found.refuse(path, f"must have patterns of at most {MAX_PATTERN_LENGTH} characters")


def _check_references(found: _Found) -> None:
    for path, schema in found.by_path.items():
        if isinstance(schema, dict) and "$ref" in schema and _target(schema["$ref"], found) is None:
            found.refuse(f"{path}/$ref", _LOCAL)


def _target(reference: Any, found: _Found) -> str | None:
    """Return the path of the schema that a reference leads to, if that is within the schema."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    fragment = urllib.parse.unquote(reference[1:])
    if not fragment.startswith("/"):
        return found.anchors.get(fragment) if fragment else ""
    return fragment if fragment in found.by_path else None


class _Following:
    """Follows the schemas that apply together, from the root down."""

    def __init__(self, found: _Found) -> None:
        self._found = found
        self._steps = 0
        self._seen: dict[frozenset[tuple[str, int]], bool] = {}
        # Of single schemas, which are many.
        self._closures: dict[str, _Together] = {}
        self._per_object = self._per_value = self._patterns = 0
        self._recursive = False

    def cost(self) -> Cost:
        """Follow them, and return the most that was found."""
        self._follow(self._closed({"": 1}))
        compares_whole = any(
            isinstance(schema, dict) and schema.get("uniqueItems") is True for schema in self._found.by_path.values()
        )
        if self._recursive and compares_whole:
            raise errors.InvalidArgument.field("schema", "must not have uniqueItems if it refers to itself")
        return Cost(per_object=self._per_object, per_value=self._per_value, patterns=self._patterns)

    def _follow(self, together: _Together) -> None:
        """Follow what applies to the parts of a value, depth first, without recursion of Python's."""
        stack: list[tuple[frozenset[tuple[str, int]], Iterator[_Together]]] = []

        def begin(these: _Together) -> None:
            key = frozenset(these.items())
            known = self._seen.get(key)
            if known is not None:
                self._recursive = self._recursive or known
                return
            self._seen[key] = True  # while it is on the stack
            self._measure(these)
            stack.append((key, self._below(these)))

        begin(together)
        while stack:
            key, parts = stack[-1]
            part = next(parts, None)
            if part is None:
                self._seen[key] = False
                stack.pop()
            elif part:
                begin(part)

    def _closed(self, together: _Together) -> _Together:
        """Return these schemas with those that they apply to the same value."""
        if len(together) == 1:  # as of most parts
            ((only, times),) = together.items()
            if times == 1:
                if only not in self._closures:
                    self._closures[only] = self._closure(together)
                return self._closures[only]
        return self._closure(together)

    def _closure(self, together: _Together) -> _Together:
        closed: _Together = {}
        rest = list(together.items())
        size = 0
        while rest:
            path, times = rest.pop()
            closed[path] = closed.get(path, 0) + times
            size += times
            self._step(1)
            if size > MAX_TOGETHER:
                raise errors.InvalidArgument.field(f"schema{path}", _TOO_MUCH)
            rest += ((inner, times) for inner in self._here(path))
        return closed

    def _here(self, path: str) -> Iterator[str]:
        schema = self._found.by_path[path]
        if isinstance(schema, bool):
            return
        if "$ref" in schema:
            yield _target(schema["$ref"], self._found) or ""
        for keyword in _ONE_HERE:
            if keyword in schema:
                yield f"{path}/{keyword}"
        for keyword in _LIST_HERE:
            for number in range(len(schema.get(keyword, ()))):
                yield f"{path}/{keyword}/{number}"
        for keyword in _MAP_HERE:
            for name in schema.get(keyword, ()):
                yield f"{path}/{keyword}/{escaped(name)}"

    def _below(self, together: _Together) -> Iterator[_Together]:
        """Yield what applies to each part that a value may have: a member by each name, an element at each place."""
        dicts = [(path, times, self._found.by_path[path]) for path, times in together.items()]
        dicts = [(path, times, schema) for path, times, schema in dicts if isinstance(schema, dict)]
        names = {name for _, _, schema in dicts for name in schema.get("properties", ())}
        for name in (*sorted(names), None):
            yield self._part(dicts, lambda path, schema, name=name: _of_member(path, schema, name))  # type: ignore[misc]
        yield self._part(dicts, lambda path, schema: _single(path, schema, "propertyNames"))
        places = max((len(schema.get("prefixItems", ())) for _, _, schema in dicts), default=0)
        for place in range(places + 1):
            yield self._part(dicts, lambda path, schema, place=place: _of_element(path, schema, place))  # type: ignore[misc]

    def _part(
        self, dicts: list[tuple[str, int, dict[str, Any]]], applied: Callable[[str, dict[str, Any]], Iterator[str]]
    ) -> _Together:
        part: _Together = {}
        for path, times, schema in dicts:
            self._step(1)
            for inner in applied(path, schema):
                part[inner] = part.get(inner, 0) + times
        return self._closed(part)

    def _measure(self, together: _Together) -> None:
        per_object = per_value = patterns = 0
        for path, times in together.items():
            schema = self._found.by_path[path]
            if isinstance(schema, bool):
                continue
            per_object += times * _object_weight(schema)
            per_value += times * _value_weight(schema)
            patterns += times * (("pattern" in schema) + len(schema.get("patternProperties", ())))
        self._per_object = max(self._per_object, per_object)
        self._per_value = max(self._per_value, per_value)
        self._patterns = max(self._patterns, patterns)

    def _step(self, number: int) -> None:
        self._steps += number
        if self._steps > MAX_STEPS:
            raise errors.InvalidArgument.field(
                "schema", "is too complex; use fewer of allOf, anyOf, oneOf, and $ref, or several event types"
            )


def _of_member(path: str, schema: Mapping[str, Any], name: str | None) -> Iterator[str]:
    """Yield what a schema applies to a member of this name, or of any that it does not have; it may match patterns."""
    named = schema.get("properties", {})
    if name in named:
        yield f"{path}/properties/{escaped(str(name))}"
    else:
        yield from _single(path, schema, "additionalProperties")
    for pattern in schema.get("patternProperties", ()):
        yield f"{path}/patternProperties/{escaped(pattern)}"


def _of_element(path: str, schema: Mapping[str, Any], place: int) -> Iterator[str]:
    if place < len(schema.get("prefixItems", ())):
        yield f"{path}/prefixItems/{place}"
    else:
        yield from _single(path, schema, "items")
    yield from _single(path, schema, "contains")


def _single(path: str, schema: Mapping[str, Any], keyword: str) -> Iterator[str]:
    if keyword in schema:
        yield f"{path}/{keyword}"


def _object_weight(schema: Mapping[str, Any]) -> int:
    dependent = schema.get("dependentRequired")
    sizes = (
        [len(value) for value in dependent.values() if isinstance(value, list)] if isinstance(dependent, dict) else ()
    )
    named = sum(len(schema.get(keyword, ())) for keyword in ("properties", "patternProperties", "dependentSchemas"))
    required = schema.get("required")
    return named + (len(required) if isinstance(required, list) else 0) + sum(sizes) + len(sizes)


def _value_weight(schema: Mapping[str, Any]) -> int:
    """Return about how many times as much as `type` a schema costs for a value."""
    weight = 1
    if "enum" in schema:
        weight += _size(schema["enum"]) // 4
    if "const" in schema:
        weight += _size(schema["const"]) // 4
    if schema.get("uniqueItems") is True:  # compares what is in each element
        weight += 16
    if "pattern" in schema:
        weight += 2
    return weight + 2 * len(schema.get("patternProperties", ()))


def _size(value: Any) -> int:
    """Return how many values a value has."""
    size, rest = 0, [value]
    while rest:
        one = rest.pop()
        size += 1
        if isinstance(one, dict):
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return size
