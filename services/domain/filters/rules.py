"""What an expression may contain, so that what it takes is known before it is evaluated.

Without these rules 600 characters took seconds and gigabytes. They are about the checked tree; what they allow has a
cost that grows with the payload no faster than linearly, and Cost says how fast.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.domain.filters.syntax import Kind, Node

DATA = "event.data"
MAX_NODES = 250
MAX_REFERENCES = 30
MAX_ITEMS = 100
MAX_SEARCHED_LENGTH = 256
MAX_PATTERN_LENGTH = 128
# What the patterns of all calls of matches() come to, with their repetitions counted out.
MAX_PATTERNS_SIZE = 256
# Values of a payload, of which JSON arrays and objects have many. CEL's own bound of iterations is the same.
MAX_VALUES = 10_000
# Every filter is evaluated for payloads of so many values, and with texts of so many bytes; one that would take too
# long for these is refused.
LEAST_VALUES = 500
LEAST_TEXT_BYTES = 500

# What an evaluation may take at most because of the values of a payload, and because of its longest text.
_VALUES_NS = _TEXT_NS = 8_000_000
# Measured, and rounded up: for each value of a payload that a reference or an iteration meets, and for each byte of its
# longest text.
_REFERENCE_NS = 500
_ITERATION_NS = 1_500
_NODE_NS = 250
_CALL_NS = 1_000
_ITEM_NS = 50
_COPY_BYTE_NS = 0.3
_CONVERT_BYTE_NS = 2.0
_SEARCH_BYTE_NS = 70.0
_PATTERN_BYTE_NS = 60.0

_OPERATORS = frozenset(
    {
        *("_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]"),
        *("_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@not_strictly_false"),
    }
)
_CONVERSIONS = frozenset({"bool", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint", "size"})
_TIMES = frozenset(
    {
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours"),
        *("getMinutes", "getSeconds", "getMilliseconds"),
    }
)
_TEXTS = frozenset({"startsWith", "endsWith", "contains", "matches"})
_PREFIX = "only its variable can be used inside exists(), exists_one(), and all()"
_REPETITION = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_UNICODE_CLASS = re.compile(r"\\[pP]")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an expression."""

    # In characters, from 0; None: nowhere in particular.
    place: int | None
    description: str


class Rules:
    """Checks one tree."""

    def __init__(self, tree: Node) -> None:
        self.problems: list[Problem] = []
        # The calls of matches(), whose pattern is the second operand.
        self.matches: list[Node] = []
        self._nodes = self._references = self._patterns_size = 0
        self._value_ns = self._byte_ns = 0.0
        self._check(tree, loop=None)
        if tree.kind is Kind.IDENT:
            self._refuse(tree, "must be a condition, such as event.data.amount > 100")
        if self._nodes > MAX_NODES:
            self._refuse(None, f"has {self._nodes} parts; at most {MAX_NODES} are allowed")
        if self._references > MAX_REFERENCES:
            self._refuse(None, f"refers to {DATA} {self._references} times; at most {MAX_REFERENCES} are allowed")
        if self._patterns_size > MAX_PATTERNS_SIZE:
            self._refuse(None, "has regular expressions that are too large; shorten them, or their repetitions")
        if self.max_values < LEAST_VALUES or self.max_text_bytes < LEAST_TEXT_BYTES:
            self._refuse(None, "takes too long; use fewer operations, or fewer conditions inside exists() and all()")

    @property
    def max_values(self) -> float:
        """How many values a payload may have, so that an evaluation takes milliseconds."""
        return min(_VALUES_NS / self._value_ns, MAX_VALUES) if self._value_ns else math.inf

    @property
    def max_text_bytes(self) -> float:
        """How many bytes the longest text of a payload may have, for the same."""
        return _TEXT_NS / self._byte_ns if self._byte_ns else math.inf

    def _refuse(self, node: Node | None, description: str) -> None:
        self.problems.append(Problem(None if node is None else node.place, description))

    def _check(self, node: Node, loop: Node | None) -> None:
        self._nodes += 1
        if loop is not None:
            self._value_ns += _NODE_NS
        match node.kind:
            case Kind.IDENT if node.name == DATA:
                self._references += 1
                self._value_ns += _REFERENCE_NS
                self._byte_ns += _COPY_BYTE_NS
                if loop is not None:
                    self._refuse(node, f"{DATA}: {_PREFIX}")
            case Kind.LIST:
                self._refuse(node, "a list can only be on the right of `in`")
            case Kind.STRUCT:
                self._refuse(node, "maps and messages cannot be made in a filter")
            case Kind.CALL:
                self._check_call(node, loop)
                return
            case Kind.COMPREHENSION:
                self._check_comprehension(node, loop)
                return
        self._check_all(node.operands, loop)

    def _check_all(self, nodes: Sequence[Node], loop: Node | None) -> None:
        for node in nodes:
            self._check(node, loop)

    def _check_call(self, node: Node, loop: Node | None) -> None:
        if node.name in _TEXTS:
            self._check_text_function(node, loop)
        elif node.name in _CONVERSIONS or node.name in _TIMES:
            self._byte_ns += _CONVERT_BYTE_NS
            self._value_ns += _CALL_NS if loop is not None else 0
            if node.name in _TIMES and any(one.kind is not Kind.CONSTANT for one in node.operands[1:]):
                self._refuse(node, f"{node.name}(): the time zone must be a text, such as 'Europe/Berlin'")
        elif node.name not in _OPERATORS:
            self._refuse(node, f"{node.name}() is not available in filters")
        if node.name == "_+_" and (loop is None or not _collects(node, loop)):
            # Texts and lists are copied.
            self._value_ns += 4 * _REFERENCE_NS
            self._byte_ns += 4 * _CONVERT_BYTE_NS
            if loop is not None and any(one.kind is not Kind.CONSTANT for one in node.operands):
                self._value_ns += _CALL_NS
        if node.name == "@in" and node.operands[1].kind is Kind.LIST:
            self._check_items(node.operands[1], loop)
            self._check(node.operands[0], loop)
            return
        self._check_all(node.operands, loop)

    def _check_items(self, node: Node, loop: Node | None) -> None:
        items = node.operands
        self._nodes += 1
        if len(items) > MAX_ITEMS:
            self._refuse(node, f"a list can have at most {MAX_ITEMS} items, and this one has {len(items)}")
        for item in items:
            if item.kind is not Kind.CONSTANT:
                self._refuse(item, "the items of a list must be constants")
                return
        if loop is not None:
            self._value_ns += _ITEM_NS * len(items)

    def _check_text_function(self, node: Node, loop: Node | None) -> None:
        name, target = node.name, node.operands[0]
        if not node.has_target:
            self._refuse(node, f"{name}() must be called on a text, as in event.data.name.{name}('a')")
            return
        root = _root(target)
        if root is None:
            self._refuse(node, f"{name}() must be called on a field, as in event.data.name.{name}('a')")
        elif loop is not None and root.name != loop.variables[0]:
            self._refuse(node, f"{name}(): {_PREFIX}")
        argument = node.operands[1]
        if argument.text is None and (loop is not None or name in {"contains", "matches"} or _root(argument) is None):
            self._refuse(node, f"{name}(): the argument must be a text, as in {name}('a')")
            return
        if loop is not None:
            self._value_ns += _CALL_NS
        if name == "contains":
            self._byte_ns += _SEARCH_BYTE_NS
            if len(argument.text or "") > MAX_SEARCHED_LENGTH:
                self._refuse(node, f"contains(): the text must have at most {MAX_SEARCHED_LENGTH} characters")
        elif name == "matches":
            self._check_pattern(node, argument.text or "", loop)

    def _check_pattern(self, node: Node, pattern: str, loop: Node | None) -> None:
        if loop is not None:
            self._refuse(node, "matches() cannot be used inside exists(), exists_one(), and all()")
        if len(pattern) > MAX_PATTERN_LENGTH:
            self._refuse(node, f"matches(): the pattern must have at most {MAX_PATTERN_LENGTH} characters")
        if _UNICODE_CLASS.search(pattern):
            self._refuse(node, r"matches(): the pattern must not contain \p or \P")
        size = max(1, len(pattern))
        for least, most in _REPETITION.findall(pattern):
            size *= max(1, int(least[:6] or 0), int(most[:6] or 0))
        self.matches.append(node)
        self._patterns_size += size
        self._byte_ns += _PATTERN_BYTE_NS * size

    def _check_comprehension(self, node: Node, loop: Node | None) -> None:
        over, begins_with, condition, step, result = node.operands
        if loop is not None:
            self._refuse(node, "exists(), exists_one(), and all() cannot be nested")
            return
        if begins_with.kind is Kind.LIST:
            self._refuse(node, "map() and filter() are not available in filters; use exists(), exists_one(), or all()")
            return
        if _root(over) is None:
            self._refuse(node, "exists(), exists_one(), and all() must be called on a field")
        self._value_ns += _ITERATION_NS
        self._check(over, None)
        self._check_all((condition, step, result), node)


def _collects(node: Node, loop: Node) -> bool:
    """Return whether a sum is the one that exists_one() makes."""
    return any(one.kind is Kind.IDENT and one.name == loop.variables[1] for one in node.operands)


def _root(node: Node) -> Node | None:
    """Return the identifier that a path such as event.data.items[0].name begins with; None for what is no path."""
    while node.kind is Kind.SELECT or (node.kind is Kind.CALL and node.name in {"_[_]", "string"}):
        node = node.operands[0]
    return node if node.kind is Kind.IDENT else None


def conjuncts(tree: Node) -> Iterator[int]:
    """Yield the places of the && that join the parts of a condition that all have to be true, in no order."""
    if tree.kind is Kind.CALL and tree.name == "_&&_":
        if tree.place is not None:
            yield tree.place
        for operand in tree.operands:
            yield from conjuncts(operand)
