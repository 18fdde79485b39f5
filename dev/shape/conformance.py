"""Filters give the results that CEL's own conformance tests expect of what filters allow.

conformance.json has the cases, made from the tests of CEL's specification (github.com/google/cel-spec, tests/simple,
Apache-2.0). To make it again:

    go mod download -json cel.dev/expr@v0.26.0   # prints the folder of the module
    python -m dev.shape.conformance FOLDER

A filter is a condition, its lists are constants on the right of `in`, and its functions are called on fields. So values
of a test become members of event.data, and what is no condition is compared with what it should be. Tests of what
filters do not allow, such as messages, map() and bytes, are counted and left out.
"""

import functools
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.platform import ids

CASES = Path(__file__).with_name("conformance.json")
SOURCE = "https://github.com/google/cel-spec, tests/simple/testdata, Apache-2.0"
FILES = (
    *("basic", "comparisons", "conversions", "dynamic", "fields", "fp_math", "integer_math", "lists", "logic"),
    *("macros", "parse", "plumbing", "string", "timestamps"),
)
# Durations beyond 9,999 years: their sums are wrong, or errors, in Google's library.
UNLIKE = frozenset(
    f"timestamps/timestamp_arithmetic/{name}"
    for name in (
        "subtract_max_duration_from_max_time",
        "add_duration_to_duration_max",
        "subtract_duration_from_duration_min",
    )
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A filter, the payload that it is evaluated on, and what it says of it: a Verdict."""

    name: str
    filter: str
    data: Mapping[str, Any]
    verdict: str


def cases() -> list[Case]:
    """Return all cases."""
    return [Case(**case) for case in json.loads(CASES.read_text())["cases"]]


def wrong(found: Sequence[Case]) -> list[str]:
    """Return what is wrong with cases: filters that are refused, or say something else."""
    return [f"{case.name}: {said} instead of {case.verdict}" for case in found if (said := _said(case)) != case.verdict]


def _said(case: Case) -> str:
    violations = expression.violations(case.filter)
    if violations:
        return f"refused ({violations[0].description})"
    evaluation = Evaluation(
        event_id=ids.new(),
        event_type="order.created",
        content_type="application/json",
        content_encoding=None,
        tags={},
        payload=msgspec.json.encode(case.data),
    )
    return str(evaluation.evaluate(expression.compiled(case.filter))[0])


# -- making the cases --

_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "File": {"section": "*Section"},
    "Section": {"name": "string", "test": "*Test"},
    "Test": {
        "name": "string",
        "expr": "string",
        "disable_macros": "bool",
        "check_only": "bool",
        "container": "string",
        "bindings": "*Binding",
        "value": "Value",
        **dict.fromkeys(("eval_error", "any_eval_errors", "unknown", "any_unknowns", "typed_result"), "Nothing"),
    },
    "Binding": {"key": "string", "value": "Bound"},
    "Bound": {"value": "Value"},
    "Value": {
        "null_value": "string",
        "bool_value": "bool",
        "int64_value": "int64",
        "uint64_value": "uint64",
        "double_value": "double",
        "string_value": "string",
        "list_value": "List",
        "map_value": "Map",
    },
    "List": {"values": "*Value"},
    "Map": {"entries": "*Entry"},
    "Entry": {"key": "Value", "value": "Value"},
    "Nothing": {},
}
_Field = descriptor_pb2.FieldDescriptorProto
_TOKEN = re.compile(
    r"""\s+|//[^\n]*|[rR]?(?:'{3}(?s:.*?)'{3}|"{3}(?s:.*?)"{3})|[rR]'[^'\n]*'|[rR]"[^"\n]*"|'(?:\\.|[^'\\\n])*'"""
    r"""|"(?:\\.|[^"\\\n])*"|[bB][rR]?['"].*|0x[0-9a-fA-F]+[uU]?|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+"""
    r"""|\.\d+(?:[eE][+-]?\d+)?|\d+[uU]?|[A-Za-z_]\w*|==|!=|<=|>=|&&|\|\||.""",
    re.DOTALL,
)
_CLOSING = {"[": "]", "{": "}"}


class _NoDataError(Exception):
    """A value that no payload has, as filters read it."""


def make(folder: Path) -> Mapping[str, Any]:
    """Return the content of conformance.json."""
    made, left = [], Counter[str]()
    for name in FILES:
        text = (folder / "tests/simple/testdata" / f"{name}.textproto").read_text()
        text = re.sub("null_value: (NULL_VALUE|0)", 'null_value: "null"', text)
        file = text_format.Parse(text, _classes()["File"](), allow_unknown_field=True)
        for section in file.section:
            for test in section.test:
                try:
                    case = _case(f"{name}/{section.name}/{test.name}", test)
                except _NoDataError:
                    left["values that payloads do not have"] += 1
                    continue
                if case is None:
                    left["not about the result"] += 1
                elif case.name in UNLIKE:
                    left["durations beyond 9,999 years"] += 1
                elif expression.violations(case.filter):
                    left["not allowed in filters"] += 1
                else:
                    made.append(asdict(case))
    return {"source": f"{SOURCE}, {folder.name.rpartition('@')[2]}", "left_out": dict(left), "cases": made}


def _write(content: Mapping[str, Any]) -> None:
    """Write the content with a line for each case."""
    lines = ",\n".join(json.dumps(case) for case in content["cases"])
    head = json.dumps({name: value for name, value in content.items() if name != "cases"})
    CASES.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')


def _case(name: str, test: Any) -> Case | None:
    if test.disable_macros or test.check_only or test.container or test.HasField("unknown"):
        return None
    if test.HasField("any_unknowns") or test.HasField("any_eval_errors") or test.HasField("typed_result"):
        return None
    data = {binding.key: _plain(binding.value.value) for binding in test.bindings}
    text = "".join(_with_data([token[0] for token in _TOKEN.finditer(test.expr)], data))
    if test.HasField("eval_error"):
        is_condition = _returns_bool(text)
        return Case(name=name, filter=text if is_condition else f"dyn({text}) == 1", data=data, verdict="error")
    # A test that says nothing expects true.
    value = test.value if test.HasField("value") else None
    if value is None or value.HasField("bool_value"):
        return Case(
            name=name, filter=text, data=data, verdict="match" if value is None or value.bool_value else "no_match"
        )
    return Case(name=name, filter=f"({text}) == {_literal(value, data)}", data=data, verdict="match")


def _with_data(tokens: list[str], data: dict[str, Any]) -> Iterator[str]:
    """Yield the tokens of an expression, with its variables and literals in event.data where filters want them."""
    names = set(data)
    place, before = 0, ""
    while place < len(tokens):
        token = tokens[place]
        if token in names and before != ".":
            yield f"event.data.{token}"
        elif token in _CLOSING and not re.fullmatch(r"\w+|[)\]}'\"]", before[-1:]) and before != "in":
            literal, end = _group(tokens, place)
            yield _kept(literal, data)
            place, token = end, tokens[end]
        elif token[0] in "'\"rR" and token[-1] in "'\"" and "".join(tokens[place + 1 : place + 2]) == ".":
            yield _kept(token, data)
        else:
            yield token
        if not token.isspace():
            before = token
        place += 1


def _group(tokens: Sequence[str], begin: int) -> tuple[str, int]:
    depth = 0
    for place in range(begin, len(tokens)):
        depth += (tokens[place] in _CLOSING) - (tokens[place] in _CLOSING.values())
        if not depth:
            return "".join(tokens[begin : place + 1]), place
    raise _NoDataError


def _kept(literal: str, data: dict[str, Any]) -> str:
    """Put the value of a literal into the payload, and return how it is named there."""
    from cel_expr_python import cel

    try:
        environment = cel.NewEnv()
        value = environment.compile(literal).eval(environment.Activation({}))
    except RuntimeError:
        raise _NoDataError from None
    name = f"literal_{len(data)}"
    data[name] = _of_json(value.plain_value() if hasattr(value, "plain_value") else value.value())
    return f"event.data.{name}"


def _of_json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_of_json(one) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _of_json(value[key]) for key in sorted(value)}
    if value is None or type(value) in {bool, int, float, str}:
        return _usable(value)
    raise _NoDataError


def _usable(value: Any) -> Any:
    """Return a value; _NoDataError for a number that is none, or infinite, and for a text with NUL."""
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, str) and "\0" in value):
        raise _NoDataError
    return value


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    for name in ("bool_value", "int64_value", "double_value", "string_value"):
        if value.HasField(name):
            return _usable(getattr(value, name))
    if value.HasField("null_value"):
        return None
    if value.HasField("list_value"):
        return [_plain(one) for one in value.list_value.values]
    if value.HasField("map_value") and all(entry.key.HasField("string_value") for entry in value.map_value.entries):
        return {entry.key.string_value: _plain(entry.value) for entry in value.map_value.entries}
    raise _NoDataError


def _literal(value: Any, data: dict[str, Any]) -> str:
    if value.HasField("uint64_value"):
        return f"{value.uint64_value}u"
    plain = _plain(value)
    if plain is None:
        return "null"
    if isinstance(plain, int | float):
        return f"({plain!r})"
    data["expected"] = plain
    return "event.data.expected"


def _returns_bool(text: str) -> bool:
    try:
        return bool(expression.environment().compile(text).return_type().name() == "BOOL")
    except RuntimeError:
        return True


@functools.cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="conformance.proto", package="conformance", syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (name, written) in enumerate(fields.items(), 1):
            field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            kind = written.lstrip("*")
            if kind != written:
                field.label = _Field.LABEL_REPEATED
            if kind in _MESSAGES:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".conformance.{kind}"
            else:
                field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
                field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{name}")
    found = message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
    return {name.removeprefix("conformance."): message for name, message in found.items()}


if __name__ == "__main__":
    _write(make(Path(sys.argv[1])))
