"""Which changes of a schema may surprise consumers: payloads that the new one allows, and the old one did not.

Consumers were promised what the old schema says of payloads, so a change is breaking if it lets more through: a member
that is no longer required or gone, another type, a new value of an enum, a wider range. What only narrows is not.
Schemas are compared place by place, and what cannot be compared in this way, such as alternatives, is breaking if it
differs.
"""

import asyncio
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.domain.catalog.bounds import escaped
from services.platform import errors
from services.platform.process.shares import OWNER, Shares

MAX_CHANGES = 100
MAX_PLACES = 5_000

# Keywords that say nothing of which payloads match.
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly", "$comment", "$id"),
        *("$schema", "$anchor", "$defs", "definitions", "contentEncoding", "contentMediaType", "contentSchema"),
    )
)
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
# Compared in a way of their own.
_KNOWN = frozenset(
    (
        *(*_LEAST, *_MOST, "type", "enum", "const", "required"),
        *("properties", "additionalProperties", "items", "prefixItems"),
    )
)
_LISTS = frozenset(("allOf", "anyOf", "oneOf"))
_DEFINITIONS = ("$defs", "definitions")
_ALL_TYPES = frozenset(("null", "boolean", "object", "array", "number", "string"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change at a place of the schema, a JSON Pointer."""

    path: str
    description: str


def breaking(old: bytes, new: bytes) -> Sequence[Change]:
    """Return the breaking changes between two schemas that are valid, at most MAX_CHANGES."""
    comparison = _Comparison(msgspec.json.decode(old), msgspec.json.decode(new))
    found: list[Change] = []
    for change in comparison.changes():
        found.append(change)
        if len(found) == MAX_CHANGES:
            break
    return sorted(found, key=lambda change: change.path)


class Comparisons:
    """Compares schemas beside the loop, one pair at a time: large ones take tens of milliseconds.

    Tenants that wait take turns.
    """

    def __init__(self) -> None:
        self._turns = Shares(1)

    async def breaking(self, tenant_id: str, old: bytes, new: bytes) -> Sequence[Change]:
        """Return what `breaking` does."""
        # An import holds a turn of its own meanwhile, and so has no owner.
        token = OWNER.set(tenant_id)
        try:
            async with self._turns.taken():
                return await asyncio.to_thread(breaking, old, new)
        finally:
            OWNER.reset(token)


class _Comparison:
    def __init__(self, old: Any, new: Any) -> None:
        self._old, self._new = old, new
        self._rest: list[tuple[Any, Any, str]] = [(old, new, "")]
        # Pairs that were compared: a schema may refer to itself.
        self._seen: set[tuple[int, int]] = set()
        self._same_definitions = all(_definitions(old, name) == _definitions(new, name) for name in _DEFINITIONS)

    def changes(self) -> Iterator[Change]:
        """Yield what is breaking, place by place."""
        while self._rest:
            old, new, path = self._rest.pop()
            old, new = _resolved(self._old, old), _resolved(self._new, new)
            pair = (id(old), id(new))
            if pair in self._seen or self._are_same(old, new):
                continue
            self._seen.add(pair)
            if len(self._seen) > MAX_PLACES:
                yield Change(path=path, description="is not compared any further: the schemas have too many places")
                return
            yield from self._compared(old, new, path)

    def _are_same(self, old: Any, new: Any) -> bool:
        """Return whether values say the same: equal ones do, unless they refer to what changed."""
        return bool(old == new) and (self._same_definitions or not _refers_somewhere(old))

    def _compared(self, old: Any, new: Any, path: str) -> Iterator[Change]:
        if old is True or old == {}:  # nothing was promised
            return
        if old is False:
            if new is not False:
                yield Change(path=path, description="was not allowed before")
            return
        if new is False:
            return
        if not isinstance(new, dict):
            new = {}
        yield from _types(old, new, path)
        yield from _values(old, new, path)
        yield from _ranges(old, new, path)
        yield from self._members(old, new, path)
        self._compare_elements(old, new, path)
        for keyword in sorted(old.keys() - _ANNOTATIONS - _KNOWN):
            yield from self._of_keyword(keyword, old[keyword], new.get(keyword), path)

    def _of_keyword(self, keyword: str, old: Any, new: Any, path: str) -> Iterator[Change]:
        """Compare the value of a keyword that is of no place in a payload of its own."""
        place = f"{path}/{escaped(keyword)}"
        if keyword in _LISTS and isinstance(new, list) and len(new) == len(old):
            self._rest += ((one, new[number], f"{place}/{number}") for number, one in enumerate(old))
        elif keyword == "$ref" and isinstance(new, str):
            self._rest.append(({"$ref": old}, {"$ref": new}, place))
        elif not self._are_same(old, new) and (old is not False or keyword != "uniqueItems"):
            how = "is gone" if new is None else "changed, or refers to what changed"
            yield Change(path=place, description=f"{keyword} {how}")

    def _members(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        dropped = set(_list(old, "required")) - set(_list(new, "required"))
        for name in sorted(map(str, dropped)):
            yield Change(path=f"{path}/required", description=f"{errors.cut(name, 100)} is no longer required")
        before, after = _map(old, "properties"), _map(new, "properties")
        rest = new.get("additionalProperties", True)
        for name, schema in before.items():
            place = f"{path}/properties/{escaped(name)}"
            if name in after:
                self._rest.append((schema, after[name], place))
            elif rest is False:
                if name in _list(old, "required"):
                    yield Change(path=place, description="is gone, and was required")
                else:
                    yield Change(path=place, description="is gone")
            elif name in _list(old, "required") or schema not in (True, {}):
                yield Change(path=place, description="is gone, so that it may be anything")
        closed = old.get("additionalProperties", True)
        if closed is True or closed == {}:
            return
        for name in after.keys() - before.keys():
            self._rest.append((closed, after[name], f"{path}/properties/{escaped(name)}"))
        self._rest.append((closed, rest, f"{path}/additionalProperties"))

    def _compare_elements(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> None:
        before, after = _list(old, "prefixItems"), _list(new, "prefixItems")
        for place, schema in enumerate(before):
            other = after[place] if place < len(after) else new.get("items", True)
            self._rest.append((schema, other, f"{path}/prefixItems/{place}"))
        if "items" in old:
            self._rest.append((old["items"], new.get("items", True), f"{path}/items"))
            for place, schema in enumerate(after[len(before) :], len(before)):
                self._rest.append((old["items"], schema, f"{path}/prefixItems/{place}"))


def _resolved(root: Any, schema: Any) -> Any:
    """Return the schema that a plain reference leads to; one with other keywords beside it is compared as it is."""
    for _ in range(10):
        if not isinstance(schema, dict) or "$ref" not in schema or len(schema.keys() - _ANNOTATIONS) > 1:
            return schema
        found = _at(root, urllib.parse.unquote(str(schema["$ref"])))
        if found is None:
            return schema
        schema = found
    return schema


def _at(root: Any, reference: str) -> Any:
    """Return what is at a reference such as #/$defs/a; None for an anchor."""
    found = root
    if reference != "#" and not reference.startswith("#/"):
        return None
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            return None
    return found


def _definitions(schema: Any, keyword: str) -> Any:
    return schema.get(keyword) if isinstance(schema, dict) else None


def _refers_somewhere(value: Any) -> bool:
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if "$ref" in one:
                return True
            rest += one.values()
        elif isinstance(one, list):
            rest += one
    return False


def _types(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    before, after = _type_set(old), _type_set(new)
    for name in sorted(after - before):
        if name == "integer" and "number" in before:
            continue
        yield Change(path=f"{path}/type", description=f"may be {name} now")


def _type_set(schema: Mapping[str, Any]) -> frozenset[str]:
    given = schema.get("type")
    if given is None:
        values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
        return _ALL_TYPES if values is None else frozenset(map(_type_of, {type(value) for value in values}))
    return frozenset([given] if isinstance(given, str) else given)


def _type_of(kind: type[Any]) -> str:
    """Return the name of a type of decoded JSON. There may be thousands of values, and few types."""
    return _TYPE_NAMES.get(kind, "null")


_TYPE_NAMES: Mapping[type[Any], str] = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
}


def _values(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    before = _allowed(old)
    if before is None:
        return
    after = _allowed(new)
    if after is None:
        yield Change(path=f"{path}/enum", description="is no longer limited to some values")
        return
    known = {msgspec.json.encode(value, order="deterministic") for value in before}
    for value in after:
        text = msgspec.json.encode(value, order="deterministic")
        if text not in known:
            yield Change(path=f"{path}/enum", description=f"may be {errors.cut(text.decode(), 100)} now")


def _allowed(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _ranges(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    for keyword in (*_LEAST, *_MOST):
        if keyword not in old:
            continue
        if keyword not in new:
            yield Change(path=f"{path}/{keyword}", description=f"{keyword} is gone")
        elif new[keyword] < old[keyword] if keyword in _LEAST else new[keyword] > old[keyword]:
            yield Change(path=f"{path}/{keyword}", description=f"{keyword} was {old[keyword]}, and is {new[keyword]}")


def _list(schema: Mapping[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _map(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    value = schema.get(keyword)
    return value if isinstance(value, dict) else {}
