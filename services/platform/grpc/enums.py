"""The values of a protobuf enum as the text that REST, SQL, and Python's enums have for them."""

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor

_UNSPECIFIED = "UNSPECIFIED"
_WITH_UNDERSCORE = ("half_open", "in_flight")


@functools.cache
def texts(enum: EnumDescriptor) -> Mapping[int, str]:
    """Return the text of each value but UNSPECIFIED: "hmac-sha256" for SIGNATURE_SCHEME_HMAC_SHA256."""
    prefix = enum.values_by_number[0].name.removesuffix(_UNSPECIFIED)
    names = {number: value.name.removeprefix(prefix).lower() for number, value in enum.values_by_number.items()}
    return {
        number: name if name in _WITH_UNDERSCORE else name.replace("_", "-") for number, name in names.items() if number
    }


@functools.cache
def numbers(enum: EnumDescriptor) -> Mapping[str, Any]:
    """Return the value of each text, for whatever enum type the stubs give the field."""
    return {text: number for number, text in texts(enum).items()}
