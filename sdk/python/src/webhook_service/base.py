"""What models have in common: they accept what a newer service adds."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

import msgspec


class Model(msgspec.Struct, kw_only=True, dict=True):
    """An object of the API. Fields that this version of the SDK does not know are ignored."""

    @property
    def etag(self) -> str | None:
        """The `ETag` of the response that this object is from, for `if_match`; None in lists."""
        return cast("str | None", self.__dict__.get("etag"))

    def to_dict(self) -> dict[str, Any]:
        """Return it as the API has it: names of fields and plain values."""
        return cast("dict[str, Any]", msgspec.to_builtins(self))


class OpenEnum(StrEnum):
    """An enum that takes values of a newer service as they are: they equal their text."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member
