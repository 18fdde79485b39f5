r"""JSON as senders write it: read without refusing what RFC 8259 lets pass, and cut without writing it again.

Parts are decoded as msgspec.Raw, which keeps their bytes and checks the syntax of what it skips, but not that it is
UTF-8. What else msgspec does differently than this service needs, all of it rare, is dealt with around it: it takes the
last of duplicate keys, and refuses lone surrogate escapes ("\ud83d", as JavaScript writes a cut emoji).
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

BOM = b"\xef\xbb\xbf"

_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"(?:[^"\\]|\\.)*+"'
_BEGIN = rb"%b\{%b" % (_SPACE, _SPACE)
_KEY = rb"(%b)%b:%b" % (_STRING, _SPACE, _SPACE)
_MEMBER = rb"%b%b:%b%b%b" % (_STRING, _SPACE, _SPACE, _STRING, _SPACE)
FIRST_KEY = re.compile(_BEGIN + _KEY, re.DOTALL)
# A member whose value is a string, and the key of the next.
STRING_THEN_KEY = re.compile(_BEGIN + _MEMBER + rb",%b" % _SPACE + _KEY, re.DOTALL)
END = re.compile(rb"%b\}%b" % (_SPACE, _SPACE))
STRING_THEN_END = re.compile(rb"%b,%b%b\}%b" % (_SPACE, _SPACE, _MEMBER, _SPACE), re.DOTALL)
_COMMA = re.compile(rb"%b,%b" % (_SPACE, _SPACE))
_NEXT_KEY = re.compile(rb"%b,%b" % (_SPACE, _SPACE) + _KEY, re.DOTALL)
_FIRST_ELEMENT = re.compile(_BEGIN + _KEY + rb"\[%b" % _SPACE, re.DOTALL)
_END_OF_ARRAY = re.compile(rb"%b\]%b\}%b" % (_SPACE, _SPACE, _SPACE))

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_MARK = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
# Levels that are kept of what is nested too deeply, and how many strings and brackets are looked at.
_KEPT_DEPTH = 2
_MAX_MARKS = 100_000

Decoded = TypeVar("Decoded")


class NotJson(ValueError):
    """The message says what the text is instead, as in "is not valid JSON: …"."""


class TooDeep(NotJson):
    """The text is nested more deeply than it can be read."""


class RepeatedKey(NotJson):
    """The text is an object with a key that appears twice, so that nobody knows which value is meant."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    payload: msgspec.Raw


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def decode(decoder: "msgspec.json.Decoder[Decoded]", text: bytes) -> Decoded:
    """Decode a JSON text. NotJson when it is not JSON in UTF-8, ValidationError when it has another shape.

    Raw values of the result have the right lengths, but a surrogate escape in them may be U+FFFD.
    """
    try:
        if not text.isascii():
            text.decode()
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        # The same text with U+FFFD for surrogates: as long, and JSON if and only if this one is.
        replaced = _SURROGATE.sub(rb"\\ufffd", text)
        if replaced != text:
            return decode(decoder, replaced)
        raise NotJson(f"is not valid JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise NotJson(f"is not valid JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise TooDeep("is nested too deeply") from None


def fields(decoder: "msgspec.json.Decoder[Decoded]", text: bytes) -> Decoded | None:
    """Decode an object into a struct of Raw fields, which are decoded separately; None if it is not a JSON object.

    No other part of the text makes a field unreadable: neither its depth nor bytes that are not UTF-8. A byte order
    mark is ignored.
    """
    text = text.removeprefix(BOM)
    if not text.isascii():
        text = text.decode(errors="replace").encode()
    try:
        return decode(decoder, text)
    except TooDeep:
        return fields(decoder, _shallow(text))
    except (NotJson, msgspec.ValidationError):
        return None


def string(value: "msgspec.Raw | msgspec.UnsetType") -> str:
    """Return the string that a field holds, or an empty one when it holds something else."""
    if value is msgspec.UNSET:
        return ""
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        return ""


def enveloped_payload(body: bytes) -> bytes | None:
    """Return the exact bytes of the value of {"payload": …}, or None when the body is other JSON.

    NotJson when it is not JSON, RepeatedKey when it has "payload" twice.
    """
    try:
        size = len(decode(_ENVELOPE, body).payload)
    except msgspec.ValidationError:  # JSON as far as it was read, and something else than the envelope
        return None
    return cut(body, size, FIRST_KEY, END)


def cut(body: bytes, size: int, before: "re.Pattern[bytes]", after: "re.Pattern[bytes]") -> bytes:
    """Return the `size` bytes between `before` and `after`; RepeatedKey when they do not fit.

    The body is known to be an object with the right keys. Were one there twice, the last
    value, whose size this is, could not reach from the first one's place to the end.
    """
    begin = before.match(body)
    if begin is None or not after.fullmatch(body, begin.end() + size):
        raise RepeatedKey("has a duplicate key")
    return body[begin.end() : begin.end() + size]


def members(text: bytes, values: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    """Return the exact bytes of these values: all members of an object, as they were decoded, in any order.

    RepeatedKey when a key is there twice. Then the values are not those at the places where the keys come first, or
    something follows the last of them.
    """
    found: dict[str, bytes] = {}
    end = 0
    key = FIRST_KEY.match(text)
    while key is not None and len(found) < len(values):
        name = string(msgspec.Raw(key[1]))
        value = values.get(name)
        if value is None or name in found:
            break
        found[name] = _piece(text, key.end(), value)
        end = key.end() + len(value)
        key = _NEXT_KEY.match(text, end)
    if len(found) < len(values) or not END.fullmatch(text, end):
        raise RepeatedKey("has a duplicate key")
    return found


def elements(text: bytes, values: Sequence[msgspec.Raw]) -> list[bytes]:
    """Return the exact bytes of these values, the elements of the array that is the only member of an object.

    RepeatedKey when it is there twice.
    """
    found: list[bytes] = []
    place = _FIRST_ELEMENT.match(text)
    end = 0 if place is None else place.end()
    for value in values:
        if place is None:
            break
        found.append(_piece(text, place.end(), value))
        end = place.end() + len(value)
        place = _COMMA.match(text, end)
    if len(found) < len(values) or not _END_OF_ARRAY.fullmatch(text, end):
        raise RepeatedKey("has a duplicate key")
    return found


def _piece(text: bytes, begin: int, value: msgspec.Raw) -> bytes:
    """Return the exact bytes of a value that is to begin here; RepeatedKey when another one does."""
    piece = text[begin : begin + len(value)]
    if memoryview(value) != piece and memoryview(value) != _SURROGATE.sub(rb"\\ufffd", piece):
        raise RepeatedKey("has a duplicate key")
    return piece


def _shallow(text: bytes) -> bytes:
    """Return the text with null in place of what is nested deeply; no JSON when there is too much of it."""
    kept: list[bytes] = []
    depth = begin = 0
    for mark in itertools.islice(_MARK.finditer(text), _MAX_MARKS):
        if mark[0] in {b"[", b"{"}:
            depth += 1
            if depth == _KEPT_DEPTH + 1:
                kept += (text[begin : mark.start()], b"null")
        elif mark[0] in {b"]", b"}"}:
            if depth == _KEPT_DEPTH + 1:
                begin = mark.end()
            depth -= 1
    return b"".join((*kept, text[begin:])) if depth == 0 else b""
