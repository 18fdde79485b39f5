"""References in schemas: between a schema that needs nothing else, and one that is a part of a document.

A stored schema refers to places within itself, as in `#/$defs/money`. In a document the same place has another address,
and a schema there may refer to others. Nothing is ever fetched: references to other documents are refused.
"""

import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.domain.catalog import bounds
from services.domain.catalog.bounds import escaped

MAX_DEPTH = 2 * bounds.MAX_DEPTH
# Of references that lead only to further references.
MAX_STEPS = 20
# Characters of a reference: all beginnings of it are looked at.
MAX_REFERENCE_LENGTH = 2_000
# Digits of an element's number in a pointer; a document has fewer elements.
_MAX_DIGITS = 9
# Where tools keep what several places share; a schema there is taken as a whole.
_SHARED = re.compile(r"(/components/[^/]+/[^/]+)(?=/|$)")
_SAFE = "/~:@!$&'()*+,;=-._"
# What a schema is written in, which a part of a document does not say.
_DIALECTS = frozenset((bounds.DIALECT, f"{bounds.DIALECT}#", "https://spec.openapis.org/oas/3.1/dialect/base"))


class RefusedError(Exception):
    """Something in a document cannot be used."""

    def __init__(self, place: str, description: str) -> None:
        super().__init__(f"{place}: {description}")
        self.place = place
        self.description = description


def canonical(value: Any) -> bytes:
    """Return a text that is the same for values that say the same."""
    return msgspec.json.encode(value, order="deterministic")


def portable(schema: Any, base: str = "#") -> Any:
    """Return a stored schema as it is written at another place of a document, whose address is `base`."""
    anchors = dict(_anchors(schema))

    def address(reference: str) -> str:
        fragment = urllib.parse.unquote(reference[1:])
        pointer = fragment if not fragment or fragment.startswith("/") else anchors.get(fragment, "")
        return base + _quoted(pointer)

    return _rewritten(_object(schema), address, 0)


def at(document: Any, pointer: str) -> Any:
    """Return the value at a JSON Pointer; KeyError if there is none."""
    found = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and _is_number(name) and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise KeyError(pointer)
    return found


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS


def followed(document: Any, pointer: str, *beside: str) -> tuple[str, Any]:
    """Return the value at a pointer, and where it is, after the references that it consists of; RefusedError.

    `beside`: what may be beside a reference, and is not looked at.
    """
    place = pointer
    for _ in range(MAX_STEPS):
        try:
            found = at(document, pointer)
        except KeyError:
            raise RefusedError(place, f"refers to {pointer}, which does not exist") from None
        if not isinstance(found, dict) or found.keys() - beside != {"$ref"}:
            return pointer, found
        place, pointer = f"{pointer}/$ref", local(f"{pointer}/$ref", found["$ref"])
    raise RefusedError(place, "leads to too many further references")


def local(place: str, reference: Any) -> str:
    """Return the pointer of a reference to another place of the document; RefusedError for any other."""
    if isinstance(reference, str) and reference.startswith("#"):
        _check_length(place, reference)
        fragment = urllib.parse.unquote(reference[1:])
        if fragment.startswith("/"):
            return fragment
    raise RefusedError(place, "must be a reference within the document, such as #/components/schemas/Money")


def _check_length(place: str, reference: str) -> None:
    if len(reference) > MAX_REFERENCE_LENGTH:
        raise RefusedError(place, f"must have references of at most {MAX_REFERENCE_LENGTH:,} characters")


@dataclass(kw_only=True, slots=True)
class Bundle:
    """A schema of a document with what it refers to, and where its parts come from."""

    schema: Any
    # Places of the document by the beginnings of places in the schema.
    origins: dict[str, str] = field(default_factory=dict)

    def place(self, path: str) -> str:
        """Return the place of the document that a place in the schema comes from."""
        steps = path.split("/")
        head = "/".join(steps[:3])
        if head in self.origins:
            return self.origins[head] + path[len(head) :]
        return self.origins[""] + path


@dataclass(kw_only=True, slots=True)
class _Unit:
    """A schema that is copied as a whole."""

    pointer: str
    # Its address in the bundle.
    base: str
    value: Any
    anchors: Mapping[str, str]


class Bundler:
    """Makes schemas of a document self-contained."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._sizes: dict[str, int] = {}

    def bundle(self, pointer: str) -> Bundle:
        """Return the schema at a place, with everything that it refers to as its `$defs`; RefusedError."""
        pointer, root = followed(self._document, pointer)
        root = _object(root)
        bundle = Bundle(schema=root, origins={"": pointer})
        if not isinstance(root, dict):  # which is refused
            return bundle
        size = 0

        def unit_at(place: str, base: str, value: Any) -> _Unit:
            """Return a unit, unless there is too much by now: before anything walks through it."""
            nonlocal size
            size += self._size(place, value)
            if size > bounds.MAX_SCHEMA_BYTES:
                description = f"has more than {bounds.MAX_SCHEMA_BYTES} bytes, together with what it refers to"
                raise RefusedError(pointer, description)
            return _Unit(pointer=place, base=base, value=value, anchors=dict(_anchors(value)))

        units = {pointer: unit_at(pointer, "#", root)}
        waiting = [pointer]
        definitions: dict[str, Any] = {}
        taken = set(root["$defs"]) if isinstance(root.get("$defs"), dict) else set()
        while waiting:
            unit = units[waiting.pop()]

            def address(reference: str, unit: _Unit = unit) -> str:
                target = self._target(unit, reference)
                known = next((one for one in _beginnings(target) if one in units), None)
                if known is None:
                    known = self._whole(target)
                    name = _name(known, taken)
                    taken.add(name)
                    units[known] = unit_at(known, f"#/$defs/{name}", self._at(known, unit))
                    bundle.origins[f"/$defs/{escaped(name)}"] = known
                    waiting.append(known)
                return units[known].base + _quoted(target[len(known) :])

            made = _rewritten(unit.value, address, 0, unit.pointer)
            if unit.base == "#":
                bundle.schema = made
            else:
                definitions[unit.base.removeprefix("#/$defs/")] = made
        if definitions:
            own = bundle.schema.get("$defs", {})
            if not isinstance(own, dict):
                raise RefusedError(f"{pointer}/$defs", "must be an object")
            bundle.schema = {**bundle.schema, "$defs": {**own, **definitions}}
        return bundle

    def _at(self, pointer: str, unit: _Unit) -> Any:
        try:
            return at(self._document, pointer)
        except KeyError:
            raise RefusedError(unit.pointer, f"refers to {pointer}, which does not exist") from None

    def _size(self, pointer: str, value: Any) -> int:
        if pointer not in self._sizes:
            self._sizes[pointer] = len(msgspec.json.encode(value))
        return self._sizes[pointer]

    def _target(self, unit: _Unit, reference: str) -> str:
        """Return the pointer that a reference of a unit leads to."""
        _check_length(unit.pointer, reference)
        fragment = urllib.parse.unquote(reference[1:]) if reference.startswith("#") else None
        if fragment is not None and fragment in unit.anchors:
            return unit.pointer + unit.anchors[fragment]
        own = isinstance(unit.value, dict) and "$id" in unit.value  # it is a document within the document
        if own and fragment is not None and (not fragment or fragment.startswith("/")):
            return unit.pointer + fragment
        return local(unit.pointer, reference)

    def _whole(self, pointer: str) -> str:
        shared = _SHARED.match(pointer)
        return shared[1] if shared else pointer


def _object(schema: Any) -> Any:
    """Return a schema that is true or false as an object."""
    return {} if schema is True else {"not": {}} if schema is False else schema


def _beginnings(pointer: str) -> Iterator[str]:
    """Yield a pointer, and those of what it is in, from the inside."""
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]


def _name(pointer: str, taken: set[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", pointer.rpartition("/")[2]) or "schema"
    while name in taken:
        name += "_"
    return name


def _quoted(pointer: str) -> str:
    return urllib.parse.quote(pointer, safe=_SAFE)


def _anchors(schema: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    if isinstance(schema.get("$anchor"), str):
        yield schema["$anchor"], path
    for keyword, name, inner in bounds.parts(schema):
        step = f"/{escaped(keyword)}" if name is None else f"/{escaped(keyword)}/{escaped(name)}"
        yield from _anchors(inner, path + step, depth + 1)


def _rewritten(schema: Any, address: Callable[[str], str], depth: int, place: str = "") -> Any:
    """Return a schema with other references, and without what makes it a document of its own."""
    if not isinstance(schema, dict):
        return schema
    if depth > MAX_DEPTH:
        raise RefusedError(place, f"must be at most {bounds.MAX_DEPTH} schemas deep")
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$anchor" or (
            depth == 0 and (keyword == "$id" or (keyword == "$schema" and str(value) in _DIALECTS))
        ):
            continue
        if keyword == "$ref" and isinstance(value, str):
            made[keyword] = address(value)
        elif keyword in bounds.ONE:
            made[keyword] = _rewritten(value, address, depth + 1, place)
        elif keyword in bounds.LIST and isinstance(value, list):
            made[keyword] = [_rewritten(one, address, depth + 1, place) for one in value]
        elif keyword in bounds.MAP and isinstance(value, dict):
            made[keyword] = {name: _rewritten(one, address, depth + 1, place) for name, one in value.items()}
        else:
            made[keyword] = value
    return made
