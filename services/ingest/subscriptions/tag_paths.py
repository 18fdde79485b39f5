"""Paths at which a subscription finds the tags of what is sent to it, since providers cannot send our header.

A path is a JSON Pointer (RFC 6901). A payload is read only along the paths: what is beside them is skipped.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from services.domain import events, limits
from services.platform import errors
from services.platform.http import json_text

TAG_PATHS = "tag_paths"
_PATH = re.compile(limits.TAG_PATH_PATTERN)
_PATH_EXPECTED = (
    f"must be a JSON Pointer such as /data/object/id, of at most {limits.MAX_TAG_PATH_LENGTH} characters and "
    f"{limits.MAX_TAG_PATH_DEPTH} steps"
)
# The least indexes are looked for in arrays.
_INDEX = re.compile(r"0|[1-9][0-9]?")
# Decoders that are kept, of all subscriptions: making one takes a tenth of a millisecond.
_DECODERS = 1_000
_SCALAR = re.compile(rb"-?[0-9][-+.0-9eE]*|true|false")

# What is wanted below a place: by the next step.
_Tree: TypeAlias = dict[str, "_Node"]


class _Node:
    """A place in a payload: the tags that have its value, and what is wanted below it."""

    __slots__ = ("below", "keys")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.below: _Tree = {}


class TagPaths:
    """The paths of a subscription, as they are used."""

    __slots__ = ("_root",)

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._root = _Node()
        for key, path in paths.items():
            node = self._root
            for step in path[1:].split("/"):
                node = node.below.setdefault(step.replace("~1", "/").replace("~0", "~"), _Node())
            node.keys.append(key)

    def tags(self, payload: bytes) -> dict[str, str]:
        """Return the tags that a payload has; none if it is not JSON."""
        found: dict[str, str] = {}
        _find(self._root, payload.removeprefix(json_text.BOM), found)
        return found


def violations(paths: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with paths, by the keys of their tags."""
    if len(paths) > events.MAX_TAGS:
        return [errors.Violation(field=TAG_PATHS, description=f"must have at most {events.MAX_TAGS} entries")]
    found = []
    for key, path in paths.items():
        if not events.is_valid_tag_key(key):
            why = f"the key {key[:64]!r} {events.TAG_KEY_EXPECTED}"
            found.append(errors.Violation(field=TAG_PATHS, description=why))
        elif not _PATH.fullmatch(path) or len(path) > limits.MAX_TAG_PATH_LENGTH or not path.isprintable():
            found.append(errors.Violation(field=f"{TAG_PATHS}.{key}", description=_PATH_EXPECTED))
    return found


def _find(node: _Node, text: bytes, found: dict[str, str]) -> None:
    if node.keys and (value := _value(text)):
        found.update(dict.fromkeys(node.keys, value))
    if not node.below:
        return
    begin = text.lstrip(b" \t\r\n")[:1] if text[:1] in b" \t\r\n" else text[:1]
    if begin == b"{":
        steps, decoder = tuple(node.below), _members(tuple(node.below))
    elif begin == b"[":
        steps = tuple(sorted(filter(_INDEX.fullmatch, node.below), key=int))
        if not steps:
            return
        decoder = _elements(int(steps[-1]))
    else:
        return
    read = json_text.fields(decoder, text)
    if read is None:
        return
    values: Sequence[Any] = msgspec.structs.astuple(read)
    for place, step in enumerate(steps):
        value = values[place if begin == b"{" else int(step)]
        if value is not UNSET:
            _find(node.below[step], bytes(value), found)


def _value(text: bytes) -> str:
    """Return the tag's value for a string, a number as it is written, or a boolean; empty for anything else."""
    if text[:1] == b'"':
        value = json_text.string(Raw(text)).strip()
    else:
        value = text.decode() if _SCALAR.fullmatch(text) else ""
    return value if events.is_valid_tag_value(value) else ""


_OPTIONAL: Any = Raw | UnsetType


@functools.lru_cache(_DECODERS)
def _members(names: tuple[str, ...]) -> "msgspec.json.Decoder[Any]":
    """Return what decodes these members of an object, and skips the others."""
    fields = {f"member_{place}": name for place, name in enumerate(names)}
    kind = msgspec.defstruct("_Members", [(field, _OPTIONAL, UNSET) for field in fields], rename=fields)
    return msgspec.json.Decoder(kind)


@functools.lru_cache(_DECODERS)
def _elements(last: int) -> "msgspec.json.Decoder[Any]":
    """Return what decodes the elements of an array up to this one, and skips the others."""
    fields = [(f"element_{place}", _OPTIONAL, UNSET) for place in range(last + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("_Elements", fields, array_like=True))
