"""Schemas that payloads are validated against: JSON Schema 2020-12, by jsonschema-rs, within bounds.

Not supported are unevaluatedProperties, unevaluatedItems, and references to other documents; `format` and `content…`
are annotations, as in the specification's default. Patterns are of Rust's regex, which takes linear time and has no
look-around. Nothing is ever fetched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jsonschema_rs
import msgspec

from services.domain.catalog import bounds
from services.domain.catalog.bounds import escaped
from services.platform import errors
from services.platform.http import json_text
from services.platform.http.json_text import NotJson

# Of a payload that is validated. A check takes about 20 ns, and reading a value as long as several.
MAX_CHECKS = 400_000
MAX_VALUES = 50_000
# Up to here all that is wrong is found, and beyond it one thing: listing costs far more than validating.
LISTED_CHECKS = 1_000
# And up to here where it is: an error has a copy of the value that it is about.
LOCATED_VALUES = 10_000
MAX_ERRORS = 10
MAX_EXAMPLE_BYTES = 16 << 10
# A message shows so many of the values that are allowed.
_SHOWN_VALUES = 10
_ANY: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder()
# Of a compiled pattern. The default, 10 MB, would let a few characters take that much.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=64 << 10, dfa_size_limit=256 << 10)
_TYPES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}


def _refuse(uri: str) -> NoReturn:
    """Fetch nothing. Without this, jsonschema-rs would."""
    raise ValueError(f"{uri} is not within the schema")


def decoded(field: str, text: bytes, max_bytes: int) -> Any:
    """Return the value of a JSON text; InvalidArgument, which names the field, if it is none."""
    if len(text) > max_bytes:
        raise errors.InvalidArgument.field(field, f"must be at most {max_bytes} bytes")
    try:
        return _value(text)
    except NotJson as error:
        raise errors.InvalidArgument.field(field, str(error)) from None


def _value(text: bytes) -> Any:
    """Return the value of a JSON text. NotJson if it is none, or has a number that cannot be read, such as 1e999."""
    try:
        return json_text.decode(_ANY, text)
    except msgspec.ValidationError:
        raise NotJson("has a number that is out of range; send it as a string") from None


class Schema:
    """A compiled schema."""

    __slots__ = ("_cost", "_validator")

    def __init__(self, text: bytes) -> None:
        """Compile a schema; InvalidArgument, which names places in `schema`, for one that is refused."""
        schema = decoded("schema", text, bounds.MAX_SCHEMA_BYTES)
        self._cost = bounds.cost(schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema, pattern_options=_PATTERNS, retriever=_refuse, validate_formats=False, mask="the value"
            )
        except jsonschema_rs.ValidationError as error:
            field = "schema" + _pointer(error.instance_path)
            raise errors.InvalidArgument.field(field, _malformed(error)) from None
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise errors.InvalidArgument.field("schema", str(error).partition("\n")[0]) from None

    def violations(self, payload: bytes) -> Sequence[errors.Violation]:
        """Return what is wrong with a payload, at most ten; their fields are `payload` with a JSON Pointer."""
        objects = payload.count(b"{")
        values = 1 + objects + payload.count(b",") + payload.count(b"[")
        checks = self._cost.checks(objects=objects, values=values, size_bytes=len(payload))
        if checks > MAX_CHECKS or values > MAX_VALUES:
            return [
                _violation("", "is too large to be validated against its schema; send less, or simplify the schema")
            ]
        try:
            value = _value(payload)
        except NotJson as malformed:
            return [_violation("", str(malformed))]
        if self._validator.is_valid(value):
            return ()
        if values > LOCATED_VALUES:
            return [_violation("", "does not match its schema, and is too large to say where")]
        try:
            return self._first(value) if checks > LISTED_CHECKS else self._all(value)
        except ValueError:  # an error cannot have a copy of what is nested in hundreds of levels
            return [_violation("", "does not match its schema, and is nested too deeply to say where")]

    def _all(self, value: Any) -> Sequence[errors.Violation]:
        found: dict[errors.Violation, None] = {}
        for error in self._validator.iter_errors(value):
            found |= dict.fromkeys(_described(error))
            if len(found) >= MAX_ERRORS:
                break
        return list(found)[:MAX_ERRORS]

    def _first(self, value: Any) -> Sequence[errors.Violation]:
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return list(_described(error))[:MAX_ERRORS]
        raise AssertionError("it is not valid")


def _violation(path: str, description: str) -> errors.Violation:
    return errors.Violation(field=f"payload{path}", description=description).bounded()


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{escaped(str(step))}" for step in path)


def _malformed(error: jsonschema_rs.ValidationError) -> str:
    """Return what is wrong with a keyword of a schema."""
    if error.kind.name == "format" and error.kind.value == "regex":
        return "must be a regular expression without look-around or back-references, that is not too large"
    return _DESCRIBED.get(error.kind.name, _does_not_match)(error.kind.value, error.kind.name)


def _described(error: jsonschema_rs.ValidationError) -> Iterator[errors.Violation]:
    """Yield an error as violations: each names the member that is missing or is one too many, and shows no value."""
    path, kind = _pointer(error.instance_path), error.kind
    if kind.name == "required":
        yield _violation(f"{path}/{escaped(str(kind.value))}", "is required")
    elif kind.name == "additionalProperties":
        for name in kind.value[:MAX_ERRORS]:
            yield _violation(f"{path}/{escaped(str(name))}", "is not allowed")
    else:
        yield _violation(path, _DESCRIBED.get(kind.name, _does_not_match)(kind.value, kind.name))


def _does_not_match(_value: Any, keyword: str) -> str:
    return f"does not match {keyword} of the schema"


def _type(value: Any, _keyword: str) -> str:
    names = [value] if isinstance(value, str) else list(value)
    return f"must be {' or '.join(_TYPES.get(str(name), f'a {name}') for name in names)}"


def _enum(value: Any, _keyword: str) -> str:
    shown = [_shown(one) for one in value[:_SHOWN_VALUES]]
    more = f", or {len(value) - len(shown)} others" if len(value) > len(shown) else ""
    return f"must be one of {', '.join(shown)}{more}"


def _shown(value: Any) -> str:
    return errors.cut(msgspec.json.encode(value).decode(), errors.MAX_NAME_LENGTH)


def _says(text: str) -> Callable[[Any, str], str]:
    return lambda value, _keyword: text.format(_shown(value))


_DESCRIBED: Mapping[str, Callable[[Any, str], str]] = {
    "type": _type,
    "enum": _enum,
    "const": _says("must be {}"),
    "pattern": _says("must match the pattern {}"),
    "minLength": _says("must have at least {} characters"),
    "maxLength": _says("must have at most {} characters"),
    "minItems": _says("must have at least {} elements"),
    "maxItems": _says("must have at most {} elements"),
    "minProperties": _says("must have at least {} members"),
    "maxProperties": _says("must have at most {} members"),
    "minimum": _says("must be at least {}"),
    "maximum": _says("must be at most {}"),
    "exclusiveMinimum": _says("must be more than {}"),
    "exclusiveMaximum": _says("must be less than {}"),
    "multipleOf": _says("must be a multiple of {}"),
    "uniqueItems": lambda _value, _keyword: "must not have equal elements",
    "falseSchema": lambda _value, _keyword: "is not allowed",
    "propertyNames": lambda _value, _keyword: "has a member whose name is not allowed",
    "contains": lambda _value, _keyword: "must have an element that matches contains of the schema",
    "anyOf": lambda _value, _keyword: "must match one of the alternatives in anyOf of the schema",
    "oneOf": lambda _value, _keyword: "must match exactly one of the alternatives in oneOf of the schema",
    "not": lambda _value, _keyword: "must not match the schema in not",
}
