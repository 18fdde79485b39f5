"""Messages of gRPC: valid ones, broken ones, and bytes that are none."""

import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.adversarial.calls import changed, changes

# Bytes that are no message, and no gRPC: the tables of test_grpc.py.


def varint(number: int) -> bytes:
    """As protobuf writes it."""
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


# Sent to every method.
SHAPES = {
    "nothing": b"",
    "a tag alone": b"\x0a",
    "a length beyond the end": b"\x0a\x7f",
    "a length beyond 32 bits": b"\x0a\xff\xff\xff\xff\xff\x01",
    "a negative length": b"\x0a" + b"\xff" * 9 + b"\x01",
    "a number of 11 bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "field 0": b"\x02\x00",
    "a field beyond all numbers": b"\xfa\xff\xff\xff\x0f\x00",
    "wire type 6": b"\x0e\x00",
    "wire type 7": b"\x0f\x00",
    "a group that ends without beginning": b"\x0c",
    "a group without an end": b"\x0b",
    "a group that ends as another": b"\x0b\x14",
    "groups 10,000 deep": b"\x0b" * 10_000 + b"\x0c" * 10_000,
    "messages 10,000 deep": functools.reduce(lambda inner, _: field(1, inner), range(2_000), b""),
    "every field as a number": b"".join(varint(n << 3) + b"\x01" for n in range(1, 20)),
    "every field as 64 bits": b"".join(varint(n << 3 | 1) + b"\x01" * 8 for n in range(1, 20)),
    "every field as 32 bits": b"".join(varint(n << 3 | 5) + b"\x01" * 4 for n in range(1, 20)),
    "every field as an empty text": b"".join(field(n, b"") for n in range(1, 20)),
    "every field as a text that is no UTF-8": b"".join(field(n, b"\xff\xfe\xed\xa0\x80") for n in range(1, 20)),
    "every field as NUL": b"".join(field(n, b"\x00") for n in range(1, 20)),
    "every field twice": b"".join(field(n, b"a") for n in range(1, 20)) * 2,
    "100,000 unknown fields": b"".join(field(1000 + n, b"x") for n in range(100_000)),
    "field 1 200,000 times": field(1, b"") * 200_000,
    "field 4 200,000 times": field(4, b"a") * 200_000,
    "a packed field of 200,000 numbers": field(11, field(5, b"\x00" * 8 * 200_000)),
    "a text of 3 MB": field(1, b"a" * 3_000_000),
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAMES = {
    "nothing": b"",
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)),
    "random bytes": bytes(range(256)) * 40,
    "half a preface": PREFACE[:10],
    "a preface and nonsense": PREFACE + b"\xff" * 1000,
    "a frame of 16 MB": PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 1000,
    "settings of odd length": PREFACE + b"\x00\x00\x05\x04\x00\x00\x00\x00\x00" + b"x" * 5,
    "10,000 settings": PREFACE + (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00") * 10_000,
    "10,000 pings": PREFACE
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + (b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"x" * 8) * 10_000,
    "10,000 resets": PREFACE
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + b"".join(
        b"\x00\x00\x01\x01\x04"
        + struct.pack(">I", n)
        + b"\x82"
        + b"\x00\x00\x04\x03\x00"
        + struct.pack(">I", n)
        + b"\0" * 4
        for n in range(1, 20_001, 2)
    ),
    "headers without end": PREFACE
    + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    + b"\x00\x40\x00\x01\x00\x00\x00\x00\x01"
    + b"\x40\x01a\x01b" * 3276
    + b"\x00" * 4
    + (b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"\x00" * 0x4000) * 100,
}
# Messages of any type as hypothesis makes them: of their shape with hostile values, or bytes that are nearly one.
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
