"""The generated files of the Go SDK: types, and a struct for each resource. They are as gofmt would write them."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.sdk import document
from scripts.sdk.document import Operation, Parameter

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "sdk/go"
WIDTH = 100

_HEADER = "// Code generated from the OpenAPI document by `make generate`. DO NOT EDIT.\n\npackage webhooks\n\n"
_PRIMITIVES = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
_WORDS = {"id": "ID", "ids": "IDs", "url": "URL", "api": "API", "json": "JSON", "http": "HTTP"}
# Types that can be absent as they are.
_NILABLE = ("[]", "map[", "*", "any", "json.RawMessage")


def files() -> dict[Path, str]:
    """Return the generated files by path."""
    schemas, operations = document.load()
    return {
        FOLDER / "types.go": _types(schemas, operations),
        FOLDER / "resources.go": _resources(operations),
    }


def _name(text: str) -> str:
    """Return a name of the API as Go has it."""
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", text) if part]
    return "".join(_WORDS.get(part, part[0].upper() + part[1:]) for part in parts)


def _comment(text: str, indent: str = "") -> str:
    lines: list[str] = []
    for part in text.split("\n\n"):
        lines += ["", *textwrap.wrap(" ".join(part.split()), WIDTH - len(indent), break_on_hyphens=False)]
    return "".join(f"{indent}// {line}".rstrip() + "\n" for line in lines[1:])


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema that has a value."""
    kind = schema.get("type")
    options = schema.get("anyOf") or ([{**schema, "type": one} for one in kind] if isinstance(kind, list) else None)
    if options is not None:
        found = {_type(one) for one in options if one.get("type") != "null"}
        return found.pop() if len(found) == 1 else "any"
    name = document.name_of(dict(schema))
    if name is None and kind == "array":
        name = f"[]{_type(schema.get('items', {}))}"
    elif name is None and kind == "object":
        values = schema.get("additionalProperties", {})
        name = f"map[string]{'*' if _is_nullable(values) else ''}{_type(values)}"
    elif name is None and schema.get("format") == "date-time":
        name = "time.Time"
    return name or _PRIMITIVES.get(str(kind), "any")


def _is_nullable(schema: Mapping[str, Any]) -> bool:
    options = schema.get("anyOf", ())
    kind = schema.get("type")
    return any(one.get("type") == "null" for one in options) or (isinstance(kind, list) and "null" in kind)


def _types(schemas: Mapping[str, Any], operations: list[Operation]) -> str:
    parts = []
    requested = {operation.body for operation in operations}
    for name, schema in sorted(schemas.items()):
        described = _comment(
            f"{name}: {schema['description']}" if schema.get("description") else f"{name} has a value."
        )
        if "enum" in schema:
            others = f"// Values of {name}; a newer service may have others."
            values = "\n\n".join(f'\t{name}{_name(value)} {name} = "{value}"' for value in schema["enum"])
            parts.append(f"{described}type {name} string\n\n{others}\nconst (\n{values}\n)\n")
        else:
            parts.append(described + _struct(name, schema, requested=name in requested))
    return _HEADER + 'import (\n\t"encoding/json"\n\t"time"\n)\n\n' + "\n".join(parts)


def _struct(name: str, schema: Mapping[str, Any], *, requested: bool) -> str:
    required = set(schema.get("required", ()))
    fields = []
    for field, value in schema.get("properties", {}).items():
        kind = _type(value)
        if kind == "any" and not requested and name != "BatchedEvent":
            kind = "json.RawMessage"  # the exact bytes
        if (field not in required or _is_nullable(value)) and not kind.startswith(_NILABLE):
            kind = f"*{kind}"
        omitted = "" if field in required else ",omitempty"
        described = _comment(value["description"], "\t") if value.get("description") else ""
        fields.append(f'{described}\t{_name(field)} {kind} `json:"{field}{omitted}"`\n')
    if not name.endswith("Patch"):
        return f"type {name} struct {{\n" + "\n".join(fields) + "}\n"
    null = '\t// Null has the names of fields to reset or remove, as in the API.\n\tNull []string `json:"-"`\n'
    marshal = (
        f"\n// MarshalJSON also writes the fields that are null.\nfunc (p {name}) MarshalJSON() ([]byte, error) {{\n"
        f"\ttype plain {name}\n\treturn withNull(plain(p), p.Null)\n}}\n"
    )
    return f"type {name} struct {{\n" + "\n".join([*fields, null]) + "}\n" + marshal


def _resources(operations: list[Operation]) -> str:
    names = list(dict.fromkeys(operation.resource for operation in operations))
    parts = []
    for name in names:
        kind = f"{_name(name)}Resource"
        parts.append(
            f"// {kind} has the operations on {name.replace('_', ' ')}.\ntype {kind} struct {{\n\tclient *Client\n}}\n"
        )
        parts += [_method(operation) for operation in operations if operation.resource == name]
    fields = "\n".join(f"\t{_name(name)} *{_name(name)}Resource\n" for name in names)
    made = "\n".join(f"\tr.{_name(name)} = &{_name(name)}Resource{{client}}" for name in names)
    parts.append(
        f"// Resources has every operation of the REST API.\ntype Resources struct {{\n{fields}}}\n\n"
        f"func (r *Resources) connect(client *Client) {{\n{made}\n}}\n"
    )
    imports = 'import (\n\t"context"\n\t"iter"\n\t"net/url"\n\t"time"\n)\n\n'
    return _HEADER + imports + "\n".join(parts)


def _method(operation: Operation) -> str:
    path = [one for one in operation.parameters if one.place == "path"]
    query = [one for one in operation.parameters if one.place == "query"]
    method, kind = _name(operation.method), f"{_name(operation.resource)}Resource"
    arguments = ["ctx context.Context", *(f"{_argument(one.name)} string" for one in path)]
    before = ""
    if operation.raw:
        arguments.append("webhook Webhook")
    if operation.body:
        arguments.append(f"body {operation.body}")
    if query:
        params = f"{_name(operation.resource)}{method}Params"
        before = _params(params, query) + "\n"
        arguments.append(f"params {params}")
    arguments.append("options ...CallOption")
    answered = [name for name in operation.responses.values() if name]
    call = f"&call{{{', '.join(_call(operation, path, query))}}}"
    described = _comment(f"{method}: {operation.summary}.\n\n" + _described(operation))
    head = f"func (r *{kind}) {method}({', '.join(arguments)}) "
    if operation.listed:
        page = operation.listed
        body = f"{head}iter.Seq2[{page}, error] {{\n\treturn pages[{page}](ctx, r.client, {call}, options)\n}}\n"
    elif not answered:
        body = f"{head}error {{\n\treturn r.client.call(ctx, {call}, options, noContent({_statuses(operation)}))\n}}\n"
    elif len(answered) == 1:
        (name,) = answered
        body = (
            f"{head}(*{name}, error) {{\n\tfound := new({name})\n"
            f"\treturn found, r.client.call(ctx, {call}, options, map[int]any{{{_statuses(operation)}: found}})\n}}\n"
        )
    else:
        result = f"{_name(operation.resource)}{method}Result"
        fields = "\n".join(f"\t{name} *{name}\n" for name in answered)
        before += f"// {result} has one of these; the others are nil.\ntype {result} struct {{\n{fields}}}\n\n"
        pairs = ", ".join(f"{status}: &found.{name}" for status, name in operation.responses.items())
        body = (
            f"{head}(*{result}, error) {{\n\tfound := new({result})\n"
            f"\treturn found, r.client.call(ctx, {call}, options, map[int]any{{{pairs}}})\n}}\n"
        )
    return before + described + body


def _statuses(operation: Operation) -> str:
    return ", ".join(map(str, operation.responses))


def _argument(name: str) -> str:
    first, *rest = name.split("_")
    return first + _name("_".join(rest)) if rest else first


def _described(operation: Operation) -> str:
    paragraphs = [part for part in operation.description.split("\n\n") if not part.lstrip().startswith(("* ", "- "))]
    return "\n\n".join(paragraphs)


def _params(name: str, query: list[Parameter]) -> str:
    fields, added = [], []
    for one in query:
        kind = _type(one.schema)
        kind = re.sub(r"^(\[\])?[A-Z]\w+$", lambda found: (found[1] or "") + "string", kind)
        described = _comment(one.description, "\t") if one.description else ""
        fields.append(f"{described}\t{_name(one.name)} {kind}\n")
        added.append(f'\tadd(values, "{one.name}", p.{_name(one.name)})')
    return (
        f"// {name} are the parameters; those that are zero are not sent.\ntype {name} struct {{\n"
        + "\n".join(fields)
        + "}\n\n"
        f"func (p {name}) values() url.Values {{\n\tvalues := url.Values{{}}\n"
        + "\n".join(added)
        + "\n\treturn values\n}\n"
    )


def _call(operation: Operation, path: list[Parameter], query: list[Parameter]) -> list[str]:
    template = f'"{operation.path}"'
    for one in path:
        template = template.replace(f"{{{one.name}}}", f'" + url.PathEscape({_argument(one.name)}) + "')
    template = template.removesuffix(' + ""')
    parts = [f'method: "{operation.http_method}"', f"path: {template}"]
    if query:
        parts.append("query: params.values()")
    if operation.body:
        parts.append("body: body")
    if operation.raw:
        parts.append("webhook: &webhook")
    if operation.keyed:
        parts.append("keyed: true")
    if operation.body and document.WAITS in document.load()[0][operation.body]["properties"]:
        parts.append(f"wait: seconds(body.{_name(document.WAITS)})")
    if operation.http_method == "GET":
        parts.append("reads: true")
    return parts
