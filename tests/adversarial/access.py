"""What every request of these tests shows to be let in. One place, so that the tests need not know how that is done."""

from collections.abc import Mapping, Sequence

from dev.harness import keys
from services.platform.auth import roles
from services.platform.auth.roles import Role

# Variables of the stack.
ENVIRONMENT: Mapping[str, str] = keys.ENVIRONMENT
# Headers of REST.
HEADERS: Mapping[str, str] = keys.bearer(keys.ADMIN_KEY)


def metadata(path: str) -> Sequence[tuple[str, str]]:
    """The metadata of a gRPC call of the method at this path: an operator's, but where only a gateway may call."""
    rule = roles.RULES.get(path)
    of_gateway = rule is not None and rule.least is Role.SERVICE
    return keys.metadata(keys.SERVICE_KEY if of_gateway else keys.ADMIN_KEY)


def header_lines() -> bytes:
    """The headers as they stand in a raw request, each with its line end."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in HEADERS.items())
