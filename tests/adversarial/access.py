"""What every request of these tests shows to be let in. One place, so that the tests need not know how that is done."""

from collections.abc import Mapping, Sequence

from tests.support import keys

# Variables of the stack.
ENVIRONMENT: Mapping[str, str] = keys.ENVIRONMENT
# Headers of REST.
HEADERS: Mapping[str, str] = keys.bearer(keys.ADMIN_KEY)
# Metadata of gRPC: as the service itself, which may call every method.
METADATA: Sequence[tuple[str, str]] = keys.metadata(keys.SERVICE_KEY)


def header_lines() -> bytes:
    """The headers as they stand in a raw request, each with its line end."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in HEADERS.items())
