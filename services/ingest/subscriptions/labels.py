"""Name and metadata of subscriptions: by what their owners find them. They decide nothing about deliveries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.domain import limits
from services.platform import errors

NAME, METADATA = "name", "metadata"
_NAME = re.compile(limits.SUBSCRIPTION_NAME_PATTERN)
_KEY = re.compile(limits.METADATA_KEY_PATTERN)
_NAME_EXPECTED = "must be 1 to 64 characters of a-z 0-9 . _ -"
_KEY_EXPECTED = "must be 1 to 64 characters of A-Z a-z 0-9 . _ / -"
_VALUE_EXPECTED = f"must be 1 to {limits.MAX_METADATA_VALUE_LENGTH} characters, without NUL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What the subscriptions of a list must have; None for what does not matter."""

    name: str | None = None
    # As `text` returns it: all of these pairs.
    metadata: str | None = None

    @classmethod
    def of(cls, name: str, metadata: Mapping[str, str]) -> "Labels | None":
        """Return what a request asks for; None if it asks for nothing. Raise InvalidArgument naming the field."""
        asked = cls(name=name or None, metadata=text(metadata))
        found = [*name_violations(asked.name), *metadata_violations(metadata)]
        if found:
            raise errors.InvalidArgument.of(*found)
        return None if asked == cls() else asked

    def are_of(self, name: str | None, metadata: str | None) -> bool:
        """Return whether a subscription with this name and metadata, as they are stored, has them."""
        has = pairs(metadata).items() >= pairs(self.metadata).items()
        return has and self.name in (None, name)


def text(metadata: Mapping[str, str]) -> str | None:
    """Return metadata as it is stored."""
    return msgspec.json.encode(dict(metadata), order="sorted").decode() if metadata else None


def pairs(metadata: str | None) -> dict[str, str]:
    """Return metadata as it was stored."""
    return {} if metadata is None else msgspec.json.decode(metadata, type=dict[str, str])


def name_violations(name: str | None) -> list[errors.Violation]:
    """Return what is wrong with a name."""
    if name is None or _NAME.fullmatch(name):
        return []
    return [errors.Violation(field=NAME, description=_NAME_EXPECTED)]


def metadata_violations(metadata: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with metadata."""
    if len(metadata) > limits.MAX_METADATA:
        return [errors.Violation(field=METADATA, description=f"must have at most {limits.MAX_METADATA} entries")]
    found = []
    for key, value in metadata.items():
        if not _KEY.fullmatch(key):
            why = f"the key {key[:64]!r} {_KEY_EXPECTED}"
            found.append(errors.Violation(field=METADATA, description=why))
        elif not 1 <= len(value) <= limits.MAX_METADATA_VALUE_LENGTH or "\x00" in value:
            found.append(errors.Violation(field=f"{METADATA}.{key}", description=_VALUE_EXPECTED))
    return found
