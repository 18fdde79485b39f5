"""Bytes that are no message, and no gRPC: the tables of test_grpc.py."""

import functools
import struct


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
