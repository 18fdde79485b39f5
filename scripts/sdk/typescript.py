"""The generated module of the TypeScript SDK: a class for each resource. Its types are made by openapi-typescript."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.sdk import document
from scripts.sdk.document import Operation, Parameter

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "sdk/typescript/src/resources.ts"
WIDTH = 100

_HEADER = """\
// The operations of the REST API. Generated from the OpenAPI document by `make generate`; do not edit.
import type { components } from './schema.js';
import { Pages, pick, segment, type Transport } from './transport.js';

type Schemas = components['schemas'];

"""
_PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
# Headers as options.
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
    """Return the generated module by path."""
    _, operations = document.load()
    names = list(dict.fromkeys(operation.resource for operation in operations))
    classes = []
    for name in names:
        methods = "\n".join(_method(operation) for operation in operations if operation.resource == name)
        head = f"export class {_class(name)} {{\n  constructor(private readonly transport: Transport) {{}}\n\n"
        classes.append(f"/** Operations on {name.replace('_', ' ')}. */\n{head}{methods}}}\n")
    fields = "\n".join(f"  readonly {camel(name)}: {_class(name)};" for name in names)
    made = "\n".join(f"    this.{camel(name)} = new {_class(name)}(transport);" for name in names)
    root = (
        f"/** Every operation of the REST API, by resource. */\nexport class Api {{\n{fields}\n\n"
        f"  constructor(protected readonly transport: Transport) {{\n{made}\n  }}\n}}\n"
    )
    return {FILE: _HEADER + "\n".join([*classes, root])}


def camel(name: str) -> str:
    """Return a name of the API as TypeScript has it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _class(resource: str) -> str:
    return "".join(part.capitalize() for part in resource.split("_")) + "Resource"


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type of a parameter."""
    name = document.name_of(dict(schema))
    if name is not None:
        return f"Schemas['{name}']"
    if "anyOf" in schema:
        options = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " | ".join(dict.fromkeys(map(_type, options)))
    if schema.get("type") == "array":
        return f"({_type(schema['items'])})[]"
    return _PRIMITIVES.get(str(schema.get("type")), "string")


def _method(operation: Operation) -> str:
    path = [one for one in operation.parameters if one.place == "path"]
    query = [one for one in operation.parameters if one.place == "query"]
    headers = [
        one
        for one in operation.parameters
        if one.place == "header" and not (operation.body and one.name in document.IN_BODY)
    ]
    positional = [f"{camel(one.name)}: string" for one in path]
    if operation.raw:
        positional.append("body: string | Uint8Array")
    options = _options(operation, query, headers)
    if options:
        required = any(one.required for one in query) or (operation.body is not None and not _is_optional(operation))
        positional.append(f"options: {options}{'' if required else ' = {}'}")
    template = operation.path
    for one in path:
        template = template.replace(f"{{{one.name}}}", f"${{segment({camel(one.name)})}}")
    answered = [f"Schemas['{name}']" for name in operation.responses.values() if name]
    call = ", ".join(_call(operation, template, query, headers))
    if operation.listed:
        returned = f"Pages<Schemas['{operation.listed}'], {answered[0]}>"
        body = f"return new Pages(this.transport, {{ {call} }});"
    else:
        returned = f"Promise<{' | '.join(answered) or 'void'}>"
        body = f"return this.transport.call({{ {call} }});"
    text = f"{operation.summary}.\n\n" + "\n\n".join(
        " ".join(part.split())
        for part in operation.description.split("\n\n")
        if not part.lstrip().startswith(("* ", "- "))
    )
    described = [line for part in text.split("\n\n") for line in (*textwrap.wrap(part, WIDTH), "")][:-1]
    lines = "\n".join(f"   * {line}".rstrip() for line in described).replace("*/", "* /")
    method = camel(operation.method)
    return f"  /**\n{lines}\n   */\n  {method}({', '.join(positional)}): {returned} {{\n    {body}\n  }}\n"


def _is_optional(operation: Operation) -> bool:
    schemas, _ = document.load()
    return operation.body is not None and not schemas[operation.body].get("required")


def _options(operation: Operation, query: list[Parameter], headers: list[Parameter]) -> str:
    parts = [f"Schemas['{operation.body}']"] if operation.body else []
    kinds = {"X-Webhook-Tags": "Record<string, string>", "X-Webhook-Event-Version": "number"}
    fields = [f"{_quoted(one.name)}{'' if one.required else '?'}: {_type(one.schema)}" for one in query] + [
        f"{_HEADERS[one.name]}?: {kinds.get(one.name, 'string')}" for one in headers
    ]
    if operation.raw:
        fields.append("content_type?: string")
    if fields:
        parts.append("{ " + "; ".join(fields) + " }")
    return " & ".join(parts)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else f"'{name}'"


def _call(operation: Operation, template: str, query: list[Parameter], headers: list[Parameter]) -> list[str]:
    quote = "`" if "$" in template else "'"
    statuses = ", ".join(map(str, operation.responses))
    parts = [f"method: '{operation.http_method}'", f"path: {quote}{template}{quote}", f"statuses: [{statuses}]"]
    if query:
        names = ", ".join(f"'{one.name}'" for one in query)
        parts.append(f"query: pick(options, [{names}])")
    if operation.body:
        schemas, _ = document.load()
        names = ", ".join(f"'{name}'" for name in schemas[operation.body]["properties"])
        parts.append(f"body: pick(options, [{names}])")
    if operation.raw:
        parts.append("raw: body, contentType: options.content_type")
    plain = [one for one in headers if one.name != "Idempotency-Key"]
    if plain:
        parts.append("headers: { " + ", ".join(f"'{one.name}': options.{_HEADERS[one.name]}" for one in plain) + " }")
    if operation.keyed:
        parts.append("keyed: true, idempotencyKey: options.idempotency_key")
    if operation.body and document.WAITS in document.load()[0][operation.body]["properties"]:
        parts.append(f"waitSeconds: options.{document.WAITS}")
    if operation.http_method == "GET":
        parts.append("reads: true")
    return parts
