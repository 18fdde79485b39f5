"""Messages of any type as hypothesis makes them: of their shape with hostile values, or bytes that are nearly one."""

import math
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.adversarial.changes import changed, changes

MAX_DEPTH = 3
TEXTS = [
    *("", " ", "default", "another-tenant", "order.created", "order.*", "standard-webhooks", "application/json"),
    *("\x00", "a\x00b", "\r\nX: 1", "\x7f", "☃" * 50, "\U0001f4a3", "\u202e", "a" * 300, "%00", "../../etc/passwd"),
    *("' OR 1=1 --", "$1", "{}", "null", "-1", "00000000-0000-0000-0000-000000000000"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61", "AZztcBxdfwKj2XwexY8gRg"),
    *("whsec_", "whsec_!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sha256=" + "0" * 64),
    *(
        "http://hook.invalid/",
        "http://hook.invalid:0/",
        "http://[::1%25eth0]/",
        "http://\u2488/",
        "ftp://hook.invalid/",
    ),
]
INTEGERS = [0, 1, -1, 2, 50, 201, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, math.inf, -math.inf, math.nan]
_INT32 = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM)


def messages(descriptor: Descriptor, ids: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Messages of this type, as bytes; `ids` of objects that exist are among the texts."""
    return _messages(descriptor, tuple(ids), MAX_DEPTH).map(lambda message: bytes(message.SerializeToString()))


def broken(descriptor: Descriptor, ids: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Bytes that were such a message before something was put in, taken out, or put in the place of something."""
    pieces = (b"\xff" * 11, b"\x0b", b"\x0c", b"\x00", b"\x0a\xff\xff\xff\xff\x0f")
    return st.builds(changed, messages(descriptor, ids), changes(*pieces))


@st.composite
def _messages(draw: st.DrawFn, descriptor: Descriptor, ids: tuple[str, ...], depth: int) -> Any:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.message_type is not None:
            if depth == 0 or not draw(st.booleans()):
                continue
            parts = _messages(field.message_type, ids, depth - 1)
            if field.message_type.GetOptions().map_entry:
                getattr(message, field.name).update(
                    {entry.key: entry.value for entry in draw(st.lists(parts, max_size=3))}
                )
            elif field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(parts, max_size=3)))
            else:
                getattr(message, field.name).CopyFrom(draw(parts))
        elif draw(st.booleans()):
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(_values(field, ids), max_size=5)))
            else:
                setattr(message, field.name, draw(_values(field, ids)))
    return message


def _values(field: FieldDescriptor, ids: tuple[str, ...]) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=200)
        return st.sampled_from([*ids, *TEXTS]) | st.text(max_size=20)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return st.sampled_from(NUMBERS) | st.floats()
    if kind in _INT32:
        return st.sampled_from([n for n in INTEGERS if -(2**31) <= n < 2**31])
    return st.sampled_from([n for n in INTEGERS if n < 2**63])
