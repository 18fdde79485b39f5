"""Which role may use each operation, by the rules of the services. docs/guides/keys.md is checked against it."""

from collections.abc import Iterator, Mapping

from services.gateway import app
from services.gateway.web import routing
from services.platform.auth import roles
from services.platform.auth.roles import Role

# The columns of the table.
ROLES = ("admin", "write", "ingest", "read", "pull")


def dotted(method: str) -> str:
    """Return a method as it appears in the table: SubscriptionService.GetSubscription."""
    return method.removeprefix("/webhook.v1.").replace("/", ".")


def _rows() -> Iterator[tuple[tuple[str, str], frozenset[str]]]:
    allowed = {
        method: frozenset(role for role in ROLES if roles.includes(Role(role), rule.least))
        for method, rule in roles.RULES.items()
    }
    behind = set()
    for path, operations in app.described().openapi()["paths"].items():
        for verb, operation in operations.items():
            method = routing.method_of(operation["operationId"])
            if method is not None:
                behind.add(method)
                yield (f"{verb.upper()} {path}", dotted(method)), allowed[method]
    for method in allowed.keys() - behind:
        yield ("", dotted(method)), allowed[method]


# By REST operation ("" if there is none) and gRPC method.
ALLOWED: Mapping[tuple[str, str], frozenset[str]] = dict(_rows())
