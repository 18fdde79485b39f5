"""The checked syntax tree of an expression.

cel-expr-python compiles and evaluates expressions, but shows no tree. What it serializes is the CheckedExpr of CEL's
specification (cel/expr/checked.proto), whose messages come with no Python package: here is as much of them as is read.
"""

import enum
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class Kind(enum.StrEnum):
    """What a node is, by the name of its field in Expr below."""

    CONSTANT = "constant"
    IDENT = "ident"
    SELECT = "select"
    CALL = "call"
    LIST = "list"
    STRUCT = "struct"
    COMPREHENSION = "comprehension"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of the tree, with its place in the text."""

    kind: Kind
    # In characters, from 0; None for what a macro made.
    place: int | None
    # Of an identifier, of the field that is selected, or of the function that is called.
    name: str = ""
    # Of a constant string; None of others.
    text: str | None = None
    # Of a constant that JSON has: its type there.
    constant: str = ""
    # Whether a selection is has(), which asks whether the field exists.
    is_test: bool = False
    # What is selected from, the arguments with the target first, or the items. Of a comprehension: the range, the
    # value that it begins with, the condition, the step, and the result.
    operands: tuple["Node", ...] = ()
    # Whether a call has a target, as in `target.function()`.
    has_target: bool = False
    # The variable of a comprehension, and the one that collects its result.
    variables: tuple[str, str] = ("", "")

    def walk(self) -> Iterator["Node"]:
        """Yield the node, and all below it."""
        yield self
        for operand in self.operands:
            yield from operand.walk()


# Fields by their number and type; "*" is repeated.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Any": {"value": (2, "bytes")},
    "CheckedExpr": {"expr": (4, "Expr"), "source_info": (5, "SourceInfo")},
    "SourceInfo": {"positions": (4, "*Position")},
    "Position": {"id": (1, "int64"), "place": (2, "int32")},
    "Expr": {
        "id": (2, "int64"),
        Kind.CONSTANT: (3, "Constant"),
        Kind.IDENT: (4, "Ident"),
        Kind.SELECT: (5, "Select"),
        Kind.CALL: (6, "Call"),
        Kind.LIST: (7, "List"),
        Kind.STRUCT: (8, "Struct"),
        Kind.COMPREHENSION: (9, "Comprehension"),
    },
    "Constant": {
        "null": (1, "?int32"),
        "boolean": (2, "?bool"),
        "int": (3, "?int64"),
        "uint": (4, "?uint64"),
        "double": (5, "?double"),
        "text": (6, "?string"),
    },
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "is_test": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "*Expr")},
    "List": {"elements": (1, "*Expr")},
    "Struct": {},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
_SCALARS = {"int32", "int64", "uint64", "bool", "double", "string", "bytes"}
# Types of JSON by the fields of Constant.
_CONSTANTS: Mapping[str, str] = {
    "null": "null",
    "boolean": "boolean",
    "int": "number",
    "uint": "number",
    "double": "number",
    "text": "string",
}
_Field = descriptor_pb2.FieldDescriptorProto


def tree(serialized: bytes) -> Node:
    """Return the tree of what `Expression.serialize` returned."""
    wrapped, checked = _message("Any"), _message("CheckedExpr")
    wrapped.ParseFromString(serialized)
    checked.ParseFromString(wrapped.value)
    return _node(checked.expr, {one.id: one.place for one in checked.source_info.positions})


def _node(expr: Any, places: Mapping[int, int]) -> Node:
    kind = next((kind for kind in Kind if expr.HasField(kind)), Kind.CONSTANT)
    found = getattr(expr, kind)
    operands: list[Any] = []
    given: dict[str, Any] = {}
    match kind:
        case Kind.CONSTANT:
            given["text"] = found.text if found.HasField("text") else None
            given["constant"] = next((kind for name, kind in _CONSTANTS.items() if found.HasField(name)), "")
        case Kind.IDENT:
            given["name"] = found.name
        case Kind.SELECT:
            given["name"], given["is_test"], operands = found.field, found.is_test, [found.operand]
        case Kind.CALL:
            given["name"], given["has_target"] = found.function, found.HasField("target")
            operands = [*([found.target] if given["has_target"] else []), *found.args]
        case Kind.LIST:
            operands = list(found.elements)
        case Kind.COMPREHENSION:
            given["variables"] = (found.iter_var, found.accu_var)
            operands = [found.iter_range, found.accu_init, found.loop_condition, found.loop_step, found.result]
    below = tuple(_node(operand, places) for operand in operands)
    return Node(kind=kind, place=places.get(expr.id), operands=below, **given)


def _message(name: str) -> Any:
    return _classes()[f"filters.{name}"]()


@functools.cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="filters/syntax.proto", package="filters", syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, written) in fields.items():
            field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            kind = written.lstrip("*?")
            if written.startswith("*"):
                field.label = _Field.LABEL_REPEATED
            if written.startswith("?"):
                field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{name}")
            if kind in _SCALARS:
                field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".filters.{kind}"
    # A pool of its own: names of other files do not matter.
    return message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
