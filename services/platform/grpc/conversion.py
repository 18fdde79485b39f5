"""Between messages of gRPC and Python: enums as the text that REST and SQL have for them, times, and records."""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.platform import errors

Made = TypeVar("Made", bound=Message)

_UNSPECIFIED = "UNSPECIFIED"
_WITH_UNDERSCORE = ("half_open", "in_flight", "lease_expired", "new_version", "no_match", "not_found")


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


def message(kind: type[Made], record: object, **others: Any) -> Made:
    """Return a message with these values, and of the record's those of the same name. None leaves a field unset."""
    made = {}
    for name, known, is_repeated in _fields(kind.DESCRIPTOR):
        value = others[name] if name in others else getattr(record, name, None)
        if value is None:
            continue
        if known is not None:
            value = [known[one] for one in value] if is_repeated else known[value]
        made[name] = str(value) if isinstance(value, UUID) else value
    return kind(**made)


@functools.cache
def _fields(descriptor: Descriptor) -> tuple[tuple[str, Mapping[str, Any] | None, bool], ...]:
    """Return of each field its name, the values of its enum if it is one, and whether it is repeated."""
    return tuple(
        (field.name, numbers(field.enum_type) if field.enum_type is not None else None, field.is_repeated)
        for field in descriptor.fields
    )


def period(message: Any) -> tuple[datetime | None, datetime | None, list[errors.Violation]]:
    """Return from_time and to_time of a message, and what is wrong with them."""
    from_time = moment("from_time", message.from_time) if message.HasField("from_time") else None
    to_time = moment("to_time", message.to_time) if message.HasField("to_time") else None
    if from_time is None or to_time is None or from_time < to_time:
        return from_time, to_time, []
    return from_time, to_time, [errors.Violation(field="to_time", description="must be after from_time")]


def stamp(moment: datetime | None) -> Timestamp | None:
    """Return the message of a time, if there is one."""
    if moment is None:
        return None
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def unix(seconds: float) -> Timestamp:
    """Return the message of a Unix time, which takes a quarter of the time that a datetime takes."""
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def moment(field: str, stamp: Timestamp) -> datetime:
    """Return the time in UTC; InvalidArgument, which names the field, if it is out of range."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidArgument.field(field, "must be between the years 1 and 9999") from None
