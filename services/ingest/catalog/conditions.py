"""Filters against schemas: what a condition asks of payloads that the schemas of event types rule out.

A condition is followed through its tree with what a schema says of each part of a payload. What a schema leaves open,
and what is too intricate to follow, may be anything: only what cannot be right is found.
"""

import enum
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from services.domain.filters.rules import DATA
from services.domain.filters.syntax import Kind, Node

TYPE = "event.type"
# Of following a condition through a schema.
MAX_STEPS = 5_000
# Values of an enum that take as long as a step.
ENUM_STEP = 20
MAX_DEPTH = 32
_ALL = frozenset(("null", "boolean", "number", "string", "array", "object"))
_ORDERED = frozenset(("_<_", "_<=_", "_>_", "_>=_"))
_COMPARED = frozenset(("_==_", "_!=_", *_ORDERED))
_NUMBERS = frozenset(("_-_", "_*_", "_/_", "_%_", "-_"))
_TEXTS = frozenset(("startsWith", "endsWith", "contains", "matches"))
_SIZED = frozenset(("string", "array", "object"))


class State(enum.Enum):
    """What a condition comes to for all payloads of a schema."""

    TRUE = enum.auto()
    FALSE = enum.auto()
    # It has no result.
    ERROR = enum.auto()
    # One of the last two.
    NEVER = enum.auto()
    UNKNOWN = enum.auto()


_NOT_TRUE = frozenset((State.FALSE, State.ERROR, State.NEVER))


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Mistake:
    """What a condition asks for in vain, as the end of a sentence about an event type."""

    path: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is found out about a condition, for an event type."""

    mistakes: frozenset[Mistake]
    # Whether it is true for some payloads, as far as is known.
    can_match: bool


# Schemas that all apply to a part of a payload; none: it may be anything. None: there is no such part.
_Part: TypeAlias = "Sequence[Any] | None"


def finding(tree: Node, event_type: str, schema: Any) -> Finding:
    """Return what is found for events of a type whose payloads match a schema, that of one of its versions."""
    follower = _Follower(schema, event_type)
    state = follower.state(tree)
    return Finding(mistakes=frozenset(follower.mistakes), can_match=state not in _NOT_TRUE)


def of_any(found: Sequence[Finding]) -> Finding:
    """Return what is found for an event type, whose payloads match the schema of one of its versions."""
    if not found:
        return Finding(mistakes=frozenset(), can_match=True)
    mistakes = frozenset.intersection(*(one.mistakes for one in found))
    return Finding(mistakes=mistakes, can_match=any(one.can_match for one in found))


@dataclass(slots=True)
class _Value:
    """What is known of an operand."""

    # Its text in the condition, and the schemas that apply to it; None for what is no part of the payload.
    path: str = ""
    part: Sequence[Any] | None = None
    # Of a constant: its type in JSON, and its text.
    kind: str = ""
    text: str | None = None
    # Whether it can never have a value.
    fails: bool = False


@dataclass(slots=True)
class _Follower:
    """Follows a condition through one schema."""

    root: Any
    event_type: str
    mistakes: set[Mistake] = field(default_factory=set)
    _steps: int = 0
    _noted: int = 0

    # -- conditions --

    def state(self, node: Node, variables: Mapping[str, _Value] | None = None) -> State:  # noqa: PLR0911 - one for each kind
        """Return what a condition comes to, and note the mistakes that matter for that."""
        known = variables or {}
        if node.kind is Kind.COMPREHENSION:
            return self._loop(node, known)
        if node.kind is Kind.SELECT and node.is_test:
            return State.FALSE if self._member(node, known, test=True).fails else State.UNKNOWN
        if node.kind is not Kind.CALL:
            return State.ERROR if self._expect(node, known, frozenset(("boolean",)), "a boolean") else State.UNKNOWN
        match node.name:
            case "_&&_":
                return self._junction(node, known, decides=State.FALSE)
            case "_||_":
                return self._junction(node, known, decides=State.TRUE)
            case "!_":
                state = self.state(node.operands[0], known)
                turned = {State.TRUE: State.FALSE, State.FALSE: State.TRUE, State.ERROR: State.ERROR}
                return turned.get(state, State.UNKNOWN)
            case "_?_:_":
                return self._choice(node, known)
            case "@not_strictly_false":
                return State.UNKNOWN
        return self._call(node, known)

    def _junction(self, node: Node, known: Mapping[str, _Value], *, decides: State) -> State:
        before, states = set(self.mistakes), []
        for operand in node.operands:
            noted = self._noted
            states.append(self.state(operand, known))
            if states[-1] is decides and self._noted == noted:
                self.mistakes = before  # it decides on purpose: the other part does not matter
                return decides
        if decides in states:
            return decides
        other = State.TRUE if decides is State.FALSE else State.FALSE
        if all(state is other for state in states):
            return other
        if decides is State.FALSE:
            return State.NEVER if _NOT_TRUE.intersection(states) else State.UNKNOWN
        return State.NEVER if all(state in _NOT_TRUE for state in states) else State.UNKNOWN

    def _choice(self, node: Node, known: Mapping[str, _Value]) -> State:
        condition, chosen, otherwise = node.operands
        asked = self.state(condition, known)
        if asked is State.TRUE:
            return self.state(chosen, known)
        if asked is State.FALSE:
            return self.state(otherwise, known)
        states = [self.state(one, known) for one in (chosen, otherwise)]
        return State.NEVER if asked is State.ERROR or all(one in _NOT_TRUE for one in states) else State.UNKNOWN

    def _loop(self, node: Node, known: Mapping[str, _Value]) -> State:
        over = self._value(node.operands[0], known)
        if over.fails:
            return State.ERROR
        if over.part is not None and not self._types(over.part) & {"array", "object"}:
            self._note(over, "is not an array")
            return State.ERROR
        step = node.operands[3]
        item = _Value(path=node.variables[0], part=self._element(over.part or ()))
        if item.part is None:  # there are no items
            return State.UNKNOWN
        states = [self.state(operand, {**known, node.variables[0]: item}) for operand in step.operands]
        exists = step.kind is Kind.CALL and step.name == "_||_"
        return State.NEVER if exists and _NOT_TRUE.intersection(states) else State.UNKNOWN

    def _call(self, node: Node, known: Mapping[str, _Value]) -> State:
        name = node.name
        if name in _TEXTS:
            return self._text(node, known)
        if name == "@in":
            return self._in(node, known)
        if name in _COMPARED:
            return self._comparison(node, known)
        return State.ERROR if self._value(node, known).fails else State.UNKNOWN

    def _comparison(self, node: Node, known: Mapping[str, _Value]) -> State:  # noqa: PLR0911 - one for each mistake
        left, right = (self._value(operand, known) for operand in node.operands)
        if left.fails or right.fails:
            return State.ERROR
        if right.part is not None or right.path == TYPE:
            left, right = right, left
        equals = {"_==_": State.TRUE, "_!=_": State.FALSE}.get(node.name)
        if left.path == TYPE:
            if right.text is None or equals is None:
                return State.UNKNOWN
            same = right.text == self.event_type
            return equals if same else _OPPOSITE[equals]
        if left.part is None or not right.kind:
            return State.UNKNOWN
        types = self._types(left.part)
        if right.kind not in types:
            self._note(left, f"is {_listed(types)}, and is compared with {_ARTICLES[right.kind]}")
            return State.ERROR if equals is None else _OPPOSITE[equals]
        if equals is not None and right.text is not None and not self._may_be(left.part, right.text):
            self._note(left, f"is never {right.text!r}")
            return _OPPOSITE[equals]
        return State.UNKNOWN

    def _in(self, node: Node, known: Mapping[str, _Value]) -> State:  # noqa: PLR0911 - one for each mistake
        items = node.operands[1]
        value = self._value(node.operands[0], known)
        if items.kind is not Kind.LIST:
            within = self._value(items, known)
            if within.part is not None and not self._types(within.part) & {"array", "object"}:
                self._note(within, "is not an array")
                return State.ERROR
            return State.ERROR if value.fails or within.fails else State.UNKNOWN
        if value.fails:
            return State.ERROR
        constants = [(one.constant, one.text) for one in items.operands]
        if value.path == TYPE:
            return State.TRUE if self.event_type in {text for _, text in constants} else State.FALSE
        if value.part is None or not constants:
            return State.UNKNOWN
        types = self._types(value.part)
        if not any(kind in types for kind, _ in constants):
            self._note(value, f"is {_listed(types)}, and none of the list is")
            return State.FALSE
        texts = [text for _, text in constants if text is not None]
        if len(texts) == len(constants) and not any(self._may_be(value.part, text) for text in texts):
            self._note(value, "is never one of the list")
            return State.FALSE
        return State.UNKNOWN

    def _text(self, node: Node, known: Mapping[str, _Value]) -> State:
        target = self._value(node.operands[0], known)
        argument = node.operands[1].text
        if target.path == TYPE and argument is not None and node.name != "matches":
            tested = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}
            return State.TRUE if tested[node.name](self.event_type, argument) else State.FALSE
        if target.fails:
            return State.ERROR
        if target.part is not None and "string" not in self._types(target.part):
            self._note(target, f"is {_listed(self._types(target.part))}, and {node.name}() needs a string")
            return State.ERROR
        return State.UNKNOWN

    # -- values --

    def _expect(self, node: Node, known: Mapping[str, _Value], types: frozenset[str], needed: str) -> bool:
        """Return whether a value can never be of one of these types."""
        value = self._value(node, known)
        if value.fails:
            return True
        if value.part is not None and not self._types(value.part) & types:
            self._note(value, f"is {_listed(self._types(value.part))}, where {needed} is needed")
            return True
        return False

    def _value(self, node: Node, known: Mapping[str, _Value]) -> _Value:  # noqa: PLR0911 - one for each kind
        match node.kind:
            case Kind.CONSTANT:
                return _Value(kind=node.constant, text=node.text)
            case Kind.IDENT if node.name == DATA:
                return _Value(path=DATA, part=[self.root])
            case Kind.IDENT if node.name in known:
                return known[node.name]
            case Kind.IDENT:
                return _Value(path=node.name)
            case Kind.SELECT:
                return self._member(node, known)
            case Kind.CALL if node.name == "_[_]":
                return self._index(node, known)
            case Kind.CALL:
                return self._computed(node, known)
        return _Value()

    def _computed(self, node: Node, known: Mapping[str, _Value]) -> _Value:
        if node.name in {"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "@in", *_ORDERED, *_TEXTS}:
            return _Value(fails=self.state(node, known) is State.ERROR)
        if node.name in _NUMBERS:
            needed: tuple[frozenset[str], str] | None = (frozenset(("number",)), "a number")
        elif node.name == "size":
            needed = (_SIZED, "a string, an array, or an object")
        else:
            needed = None
        fails = False
        for operand in node.operands:
            if needed is not None:
                fails = self._expect(operand, known, *needed) or fails
            else:
                fails = self._value(operand, known).fails or fails
        return _Value(fails=fails)

    def _member(self, node: Node, known: Mapping[str, _Value], *, test: bool = False) -> _Value:
        return self._inner(self._value(node.operands[0], known), node.name, f".{node.name}", test=test)

    def _index(self, node: Node, known: Mapping[str, _Value]) -> _Value:
        value, index = self._value(node.operands[0], known), node.operands[1]
        if index.text is not None:
            return self._inner(value, index.text, f"[{index.text!r}]")
        if value.fails or value.part is None:
            return _Value(fails=value.fails)
        path = f"{value.path}[…]"
        if index.kind is Kind.CONSTANT and index.constant == "number" and "array" not in self._types(value.part):
            self._note(value, f"is {_listed(self._types(value.part))}, and not an array")
            return _Value(path=path, fails=True)
        return _Value(path=path, part=self._element(value.part) or ())

    def _inner(self, value: _Value, name: str, step: str, *, test: bool = False) -> _Value:
        if value.fails or value.part is None:
            return _Value(path=value.path + step, fails=value.fails)
        found = self._of_member(value.part, name, 0)
        made = _Value(path=value.path + step, part=found, fails=found is None)
        if found is None and not test:
            self._note(made, "does not exist")
        return made

    def _note(self, value: _Value, description: str) -> None:
        self._noted += 1
        self.mistakes.add(Mistake(path=value.path, description=description))

    # -- schemas --

    def _closed(self, schemas: Sequence[Any]) -> Iterator[Any]:
        """Yield these schemas with those that they refer to, and consist of."""
        rest, seen = list(schemas), set()
        while rest:
            schema = rest.pop()
            self._steps += 1 + (len(schema.get("enum", ())) // ENUM_STEP if isinstance(schema, dict) else 0)
            if id(schema) in seen or self._steps > MAX_STEPS:
                continue
            seen.add(id(schema))
            yield schema
            if isinstance(schema, dict):
                if "$ref" in schema:
                    rest += self._referred(schema["$ref"])
                rest += schema.get("allOf", ())

    def _referred(self, reference: str) -> Sequence[Any]:
        found = self.root
        pointer = urllib.parse.unquote(reference[1:])
        if pointer and not pointer.startswith("/"):  # an anchor, which is not followed
            return ()
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return (found,)

    def _of_member(self, part: Sequence[Any], name: str, depth: int) -> _Part:
        """Return what applies to a member of a value; None if there can be none."""
        found: list[Any] = []
        for schema in self._closed(part):
            if schema is False:
                return None
            if not isinstance(schema, dict):
                continue
            if "object" not in _own_types(schema):
                return None
            named = schema.get("properties", {})
            if name in named:
                found.append(named[name])
            elif not schema.get("patternProperties"):
                rest = schema.get("additionalProperties", True)
                if rest is False:
                    return None
                found.append(rest)
            for alternatives in _alternatives(schema, depth):
                options = [self._of_member([one], name, depth + 1) for one in alternatives]
                possible = [one for one in options if one is not None]
                if not possible:
                    return None
                found.append({"anyOf": [{"allOf": list(one)} for one in possible]})
        return None if any(one is False for one in self._closed(found)) else found

    def _element(self, part: Sequence[Any]) -> _Part:
        """Return what applies to each element of an array; None if there can be none."""
        if "object" in self._types(part):  # whose names the elements are
            return ()
        found: list[Any] = []
        for schema in self._closed(part):
            if isinstance(schema, dict) and "items" in schema and not schema.get("prefixItems"):
                if schema["items"] is False:
                    return None
                found.append(schema["items"])
        return found

    def _types(self, part: Sequence[Any], depth: int = 0) -> frozenset[str]:
        """Return the types in JSON that a value may have."""
        found = _ALL
        for schema in self._closed(part):
            if schema is False:
                return frozenset()
            if not isinstance(schema, dict):
                continue
            found &= _own_types(schema)
            for alternatives in _alternatives(schema, depth):
                found &= frozenset().union(*(self._types([one], depth + 1) for one in alternatives))
        return found

    def _may_be(self, part: Sequence[Any], text: str, depth: int = 0) -> bool:
        """Return whether a value may be this text."""
        for schema in self._closed(part):
            if schema is False:
                return False
            if not isinstance(schema, dict):
                continue
            if "const" in schema and schema["const"] != text:
                return False
            if "enum" in schema and text not in schema["enum"]:
                return False
            for alternatives in _alternatives(schema, depth):
                if not any(self._may_be([one], text, depth + 1) for one in alternatives):
                    return False
        return True


_OPPOSITE = {State.TRUE: State.FALSE, State.FALSE: State.TRUE}
_ARTICLES = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


def _listed(types: frozenset[str]) -> str:
    return " or ".join(_ARTICLES[name] for name in sorted(types)) or "nothing"


def _alternatives(schema: Mapping[str, Any], depth: int) -> Iterator[Sequence[Any]]:
    """Yield lists of schemas of which one has to apply; none where they are nested too deeply to be followed."""
    if depth < MAX_DEPTH:
        yield from (schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema)


def _own_types(schema: Mapping[str, Any]) -> frozenset[str]:
    found = _ALL
    given = schema.get("type")
    if given is not None:
        names = [given] if isinstance(given, str) else given
        found &= {"number" if name == "integer" else name for name in names}
    if "const" in schema:
        found &= {_type_of(schema["const"])}
    if "enum" in schema:
        found &= set(map(_type_of, schema["enum"]))
    return found


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "number", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")
