"""The headers by which providers sign and name what they send."""

from collections.abc import Iterable

from services.platform import errors

MAX_LENGTH = 1024


class Headers:
    """Headers of one request by their names in lower case."""

    __slots__ = ("_repeated", "_values")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        self._repeated: set[str] = set()
        for name, value in pairs:
            lower = name.lower()
            if lower in self._values:
                self._repeated.add(lower)
            self._values[lower] = value.strip(" \t")  # RFC 9110, 5.5: no part of the value

    def has(self, name: str) -> bool:
        """Whether a header is there."""
        return name.lower() in self._values

    def signed(self, name: str) -> str:
        """A header that a signature needs; SignatureMissing, or SignatureMismatch for what can be none."""
        lower = name.lower()
        value = self._values.get(lower)
        if value is None:
            raise missing(name)
        if lower in self._repeated:
            raise mismatch(name, "stands in the request twice")
        if len(value) > MAX_LENGTH:
            raise mismatch(name, f"must be at most {MAX_LENGTH} characters")
        if not value.isascii():
            raise mismatch(name, "must be ASCII")
        return value

    def named(self, name: str) -> str:
        """A header that says what a request is; empty when it is not there, or there twice."""
        lower = name.lower()
        return "" if lower in self._repeated else self._values.get(lower, "")


def missing(name: str) -> errors.SignatureMissing:
    """The error for a request without a header that its subscription asks for."""
    return errors.SignatureMissing.header(name, "is required: this subscription takes nothing unsigned")


def mismatch(name: str, why: str) -> errors.SignatureMismatch:
    """The error for a signature that does not hold."""
    return errors.SignatureMismatch.header(name, why)


def expired(name: str, why: str) -> errors.SignatureExpired:
    """The error for a signature that holds, of another time."""
    return errors.SignatureExpired.header(name, why)
