"""What every request of these tests shows to be let in. One place, so that the tests need not know how that is done."""

from collections.abc import Mapping, Sequence

# Variables of the stack.
ENVIRONMENT: Mapping[str, str] = {}
# Headers of REST.
HEADERS: Mapping[str, str] = {}
# Metadata of gRPC.
METADATA: Sequence[tuple[str, str]] = ()


def header_lines() -> bytes:
    """The headers as they stand in a raw request, each with its line end."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in HEADERS.items())
