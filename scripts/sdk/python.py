"""The generated modules of the Python SDK: models, and a class for each resource, sync and async."""

import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.sdk import document
from scripts.sdk.document import Operation, Parameter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sdk/python/src/webhook_service"
WIDTH = 100

_HEADER = '"""{}\n\nGenerated from the OpenAPI document by `make generate`; do not edit.\n"""\n'
_PRIMITIVES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
# Headers as arguments.
_HEADERS = {
    "Idempotency-Key": "idempotency_key",
    "If-Match": "if_match",
    "X-Event-Type": "event_type",
    "X-Webhook-Tags": "tags",
    "X-Webhook-Event-Version": "event_version",
    "X-Hub-Signature-256": "hub_signature",
    "Content-Encoding": "content_encoding",
}


def files() -> dict[Path, str]:
    """Return the generated modules by path."""
    schemas, operations = document.load()
    made = {
        "models.py": _models(schemas, operations),
        "resources.py": _resources(schemas, operations, is_async=False),
        "async_resources.py": _resources(schemas, operations, is_async=True),
    }
    return {PACKAGE / name: _formatted(text) for name, text in made.items()}


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).parent / "ruff"
    command = (str(ruff), "format", "--isolated", "--line-length", "120", "--stdin-filename", "generated.py", "-")
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S603


def _identifier(name: str) -> str:
    name = re.sub(r"[. -]", "_", name)
    if name[0].isdigit():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def _type(schema: Mapping[str, Any], *, given: bool = False) -> str:
    """Return the annotation of a schema. `given`: of an argument, which may be what is easily made into it."""
    kind = schema.get("type")
    options = schema.get("anyOf") or ([{**schema, "type": one} for one in kind] if isinstance(kind, list) else None)
    if options is not None:
        return " | ".join(dict.fromkeys(_type(one, given=given) for one in options))
    name = document.name_of(dict(schema))
    if name is None and kind == "array":
        name = f"{'Sequence' if given else 'list'}[{_type(schema.get('items', {}), given=given)}]"
    elif name is None and kind == "object":
        values = _type(schema.get("additionalProperties", {}), given=given)
        name = f"{'Mapping' if given else 'dict'}[str, {values}]"
    elif name is None and schema.get("format") == "date-time":
        name = "datetime | str" if given else "datetime"
    elif name is None and "const" in schema:
        name = "str"
    return name or _PRIMITIVES.get(str(kind), "Any")


def _argument_type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return the annotation of an argument: enums also as text, objects also as mappings."""
    found = _type(schema, given=True)
    for name in sorted(_names(schema)):
        also = "str" if "enum" in schemas[name] else "Mapping[str, Any]"
        found = re.sub(rf"\b{name}\b", f"{name} | {also}", found)
    return found


def _names(node: Any) -> set[str]:
    """Return the names of the schemas that a schema refers to."""
    if isinstance(node, dict):
        name = document.name_of(node) if isinstance(node.get("$ref"), str) else None
        return ({name} if name else set()).union(*(_names(value) for value in node.values()))
    return set().union(*(_names(item) for item in node)) if isinstance(node, list) else set()


def _requested(schemas: Mapping[str, Any], operations: Iterable[Operation]) -> set[str]:
    """Return the names of the schemas that requests are made of."""
    waiting = {operation.body for operation in operations if operation.body}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _names(schemas[name]) - found
    return found


def _text(text: str, indent: str) -> str:
    """Return a docstring."""
    text = text.replace("\\", "\\\\").strip()
    paragraphs = [
        "\n".join(textwrap.wrap(part, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False))
        for part in text.split("\n\n")
    ]
    body = "\n\n".join(paragraphs)
    closing = "\n" if "\n" in body else ""
    return textwrap.indent(f'"""{body}{closing}"""', indent, lambda line: bool(line.strip()))


def _models(schemas: Mapping[str, Any], operations: list[Operation]) -> str:
    requested = _requested(schemas, operations)
    enums = {name: schema for name, schema in schemas.items() if "enum" in schema}
    objects = {name: schema for name, schema in schemas.items() if "enum" not in schema}
    imports = (
        "from __future__ import annotations\n\nfrom datetime import datetime\nfrom typing import Any\n\n"
        "from msgspec import UNSET, UnsetType, field\n\nfrom webhook_service.base import Model, OpenEnum\n"
    )
    parts = [
        _HEADER.format("What requests and responses consist of."),
        imports,
        *(_enum(name, schema) for name, schema in sorted(enums.items())),
        *(_struct(name, schema, requested=name in requested) for name, schema in sorted(objects.items())),
    ]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def _enum(name: str, schema: Mapping[str, Any]) -> str:
    described = schema.get("description") or f"Values of {name}."
    members = [f'    {_identifier(value).upper()} = "{value}"' for value in schema["enum"]]
    return "\n".join([f"class {name}(OpenEnum):", _text(described, "    "), "", *members])


def _struct(name: str, schema: Mapping[str, Any], *, requested: bool) -> str:
    required = set(schema.get("required", ()))
    lines = [f"class {name}(Model, kw_only=True):", _text(schema.get("description") or f"{name}.", "    ")]
    for field, value in schema.get("properties", {}).items():
        annotation, identifier = _type(value), _identifier(field)
        default = ""
        if field not in required:
            absent = "UNSET" if requested else "None"
            if requested:
                annotation = f"{annotation} | UnsetType"
            elif "None" not in annotation.split(" | ") and annotation != "Any":
                annotation = f"{annotation} | None"
            default = absent
        if identifier != field:
            given = f", default={default}" if default else ""
            default = f'field(name="{field}"{given})'
        lines.append(f"\n    {identifier}: {annotation}{f' = {default}' if default else ''}")
        if value.get("description"):
            lines.append(_text(value["description"], "    "))
    return "\n".join(lines)


def _resources(schemas: Mapping[str, Any], operations: list[Operation], *, is_async: bool) -> str:
    prefix = "Async" if is_async else ""
    names = list(dict.fromkeys(operation.resource for operation in operations))
    classes = []
    used: set[str] = set()
    for resource in names:
        own = [_Method(operation, schemas) for operation in operations if operation.resource == resource]
        used.update(*(method.models for method in own))
        title = resource.replace("_", " ")
        head = f'class {prefix}{_class(resource)}Resource({prefix}Resource):\n    """Operations on {title}."""\n\n'
        classes.append(head + "\n\n".join(method.text(is_async=is_async) for method in own))
    fields = "\n".join(f"        self.{name} = {prefix}{_class(name)}Resource(self)" for name in names)
    root = (
        f'class {prefix}Api({prefix}Transport):\n    """Every operation of the REST API, by resource."""\n\n'
        f"    def _add_resources(self) -> None:\n{fields}"
    )
    imported = ", ".join(sorted(used))
    kind = "asynchronous" if is_async else "blocking"
    module = "async_transport" if is_async else "transport"
    imports = (
        "from __future__ import annotations\n\nfrom collections.abc import Mapping, Sequence\n"
        "from datetime import datetime\nfrom typing import Any, cast\n\nfrom msgspec import UNSET, UnsetType\n\n"
        f"from webhook_service.calls import Call, segment\n"
        f"from webhook_service.{module} import {prefix}Pages, {prefix}Resource, {prefix}Transport\n"
        f"from webhook_service.models import {imported}\n"
    )
    parts = [_HEADER.format(f"The operations of the REST API, {kind}."), imports, *classes, root]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def _class(resource: str) -> str:
    return "".join(part.capitalize() for part in resource.split("_"))


class _Method:
    """The method of an operation."""

    def __init__(self, operation: Operation, schemas: Mapping[str, Any]) -> None:
        self._operation = operation
        self._schemas = schemas
        body = schemas[operation.body] if operation.body else {}
        self._fields: dict[str, Any] = body.get("properties", {})
        required = set(body.get("required", ()))
        self._required = [field for field in self._fields if field in required]
        self._optional = [field for field in self._fields if field not in required]
        self._path = self._placed("path")
        self._query = self._placed("query")
        self._headers = [one for one in self._placed("header") if document.IN_BODY.get(one.name) not in self._fields]

    def _placed(self, place: str) -> list[Parameter]:
        return [one for one in self._operation.parameters if one.place == place]

    @property
    def models(self) -> set[str]:
        """The names of the schemas that it mentions."""
        found = _names([*self._fields.values(), *(one.schema for one in self._operation.parameters)])
        found.update(name for name in self._operation.responses.values() if name)
        return found | ({self._operation.listed} if self._operation.listed else set())

    def text(self, *, is_async: bool) -> str:
        """Return the source."""
        operation, prefix = self._operation, "Async" if is_async else ""
        answered = [name for name in operation.responses.values() if name]
        if operation.listed:
            returned = f"{prefix}Pages[{operation.listed}]"
            result = f"{prefix}Pages(self._transport, call, {answered[0]})"
        else:
            returned = " | ".join(answered) or "None"
            awaited = "await " if is_async else ""
            result = f'cast("{returned}", {awaited}self._transport.call(call))'
        marker = "async " if is_async and not operation.listed else ""
        named = self._named()
        arguments = ", ".join(["self", *self._positional(), *(["*", *named] if named else [])])
        described = _text(f"{operation.summary}.\n\n{_described(operation)}", "        ")
        return (
            f"    {marker}def {operation.method}({arguments}) -> {returned}:\n{described}\n"
            f"        call = Call({', '.join(self._call())})\n        return {result}\n"
        )

    def _positional(self) -> list[str]:
        found = [f"{one.name}: str" for one in self._path]
        if self._operation.raw:
            found.append("body: bytes | str")
        fields = [(_identifier(field), self._fields[field]) for field in self._required]
        return found + [f"{name}: {_argument_type(schema, self._schemas)}" for name, schema in fields]

    def _named(self) -> list[str]:
        found = ['content_type: str = "application/json"'] if self._operation.raw else []
        queried = [(_identifier(one.name), _argument_type(one.schema, self._schemas), one) for one in self._query]
        found += [f"{name}: {annotation}" for name, annotation, one in queried if one.required]
        for field in self._optional:
            annotation = _argument_type(self._fields[field], self._schemas)
            found.append(f"{_identifier(field)}: {annotation} | UnsetType = UNSET")
        found += [f"{name}: {_optional(annotation)} = None" for name, annotation, one in queried if not one.required]
        kinds = {"X-Webhook-Tags": "Mapping[str, str]", "X-Webhook-Event-Version": "int"}
        return found + [f"{_HEADERS[one.name]}: {kinds.get(one.name, 'str')} | None = None" for one in self._headers]

    def _call(self) -> list[str]:
        """Return the arguments of the Call."""
        operation = self._operation
        template = operation.path
        for one in self._path:
            template = template.replace(f"{{{one.name}}}", f"{{segment({one.name})}}")
        responses = ", ".join(f"{status}: {name}" for status, name in operation.responses.items())
        parts = [f'"{operation.http_method}"', f'{"f" if self._path else ""}"{template}"', f"responses={{{responses}}}"]
        if self._query:
            parts.append(_mapping("query", [(one.name, _identifier(one.name)) for one in self._query]))
        if operation.body:
            parts.append(_mapping("body", [(name, _identifier(name)) for name in (*self._required, *self._optional)]))
        if operation.raw:
            parts.append("raw=body, content_type=content_type")
        headers = [(one.name, _HEADERS[one.name]) for one in self._headers if one.name != "Idempotency-Key"]
        if headers:
            parts.append(_mapping("headers", headers))
        if operation.keyed:
            parts.append("idempotency_key=idempotency_key, keyed=True")
        if document.WAITS in self._fields:
            parts.append(f"wait_seconds={document.WAITS}")
        if operation.http_method == "GET":
            parts.append("reads=True")
        return parts


def _described(operation: Operation) -> str:
    """Return the description of an operation without its lists, whose lines would run together."""
    paragraphs = [part for part in operation.description.split("\n\n") if not part.lstrip().startswith(("* ", "- "))]
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)


def _optional(annotation: str) -> str:
    return annotation if "None" in annotation.split(" | ") else f"{annotation} | None"


def _mapping(name: str, items: list[tuple[str, str]]) -> str:
    pairs = ", ".join(f'"{key}": {value}' for key, value in items)
    return f"{name}={{{pairs}}}"
