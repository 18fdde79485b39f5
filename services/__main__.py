"""One command for every process of the service: python -m services ROLE."""

import importlib
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

USAGE = "usage: python -m services ROLE"


@dataclass(frozen=True, kw_only=True)
class Role:
    """A process: the module whose `main` runs it, imported when it is asked for, and what it does."""

    module: str
    what: str


ROLES: Mapping[str, Role] = {
    "gateway": Role(module="services.gateway.__main__", what="REST, OpenAPI, Swagger UI; talks gRPC to the others"),
    "ingest": Role(module="services.ingest.__main__", what="gRPC: subscriptions; accepts events, notifies the workers"),
    "delivery": Role(module="services.delivery.__main__", what="gRPC: deliveries; the dispatcher of what is due"),
    "worker": Role(module="services.delivery.worker.__main__", what="sends webhooks and records the attempts"),
    "analytics": Role(module="services.analytics.__main__", what="gRPC: statistics and time series; retention"),
    "migrate": Role(
        module="services.schema.migrate", what="migrates the database to this release's schema, then exits"
    ),
    "wait": Role(module="services.schema.wait", what="waits until the database has this release's schema, then exits"),
    "reencrypt": Role(
        module="services.ingest.reencryption",
        what="re-encrypts all secrets with the first of ENCRYPTION_KEYS, then exits",
    ),
}


def usage() -> str:
    """Return the help text: a line per role."""
    return "\n".join([USAGE, "", *(f"  {name:<10} {role.what}" for name, role in ROLES.items()), ""])


def _stopped(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> None:
    """Run the named role; report an unknown one in one line and exit with status 2."""
    # Until the role has handlers of its own: the first process of a container ignores a signal that has none.
    signal.signal(signal.SIGTERM, _stopped)
    match sys.argv[1:]:
        case ["-h" | "--help"]:
            sys.stdout.write(usage())
        case [name] if name in ROLES:
            importlib.import_module(ROLES[name].module).main()
        case [name, *_] if name in ROLES:
            sys.stderr.write(f"{name} takes no arguments; settings come from environment variables; {USAGE}\n")
            sys.exit(2)
        case arguments:
            problem = f"unknown role {' '.join(arguments)!r}" if arguments else "no role given"
            sys.stderr.write(f"{problem}; {USAGE}, with ROLE one of {', '.join(ROLES)}\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
