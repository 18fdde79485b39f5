"""One command for every process of the service: python -m services ROLE… or python -m services JOB."""

import importlib
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

USAGE = "usage: python -m services ROLE [ROLE ...], or python -m services JOB"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A word of the command line: the module behind it, imported when it is asked for, and what it does."""

    module: str
    what: str


# Any of them run in one process; the module has a lifecycle.Role.
ROLES: Mapping[str, Command] = {
    "gateway": Command(module="services.gateway.__main__", what="REST, OpenAPI, Swagger UI; calls the others by gRPC"),
    "ingest": Command(module="services.ingest.__main__", what="gRPC: subscriptions; accepts events, notifies workers"),
    "delivery": Command(module="services.delivery.__main__", what="gRPC: deliveries; the dispatcher of what is due"),
    "worker": Command(module="services.delivery.worker.__main__", what="sends webhooks and records the attempts"),
    "analytics": Command(module="services.analytics.__main__", what="gRPC: statistics and time series; retention"),
    "relay": Command(module="services.relay.__main__", what="publishes what applications write to their outbox"),
}
# One at a time; the module has a main().
JOBS: Mapping[str, Command] = {
    "migrate": Command(
        module="services.schema.migrate", what="migrates the database to this release's schema, then exits"
    ),
    "wait": Command(
        module="services.schema.wait", what="waits until the database has this release's schema, then exits"
    ),
    "reencrypt": Command(
        module="services.ingest.reencryption",
        what="re-encrypts all secrets with the first of ENCRYPTION_KEYS, then exits",
    ),
}


def usage() -> str:
    """Return the help text: a line per role and job."""
    roles = (f"  {name:<10} {command.what}" for name, command in ROLES.items())
    jobs = (f"  {name:<10} {command.what}" for name, command in JOBS.items())
    lines = [USAGE, "", "roles, any of which run in one process:", *roles, "", "jobs:", *jobs, ""]
    return "\n".join(lines)


def problem(arguments: Sequence[str]) -> str | None:
    """Return what is wrong with the arguments; None if they name roles or a job."""
    choices = f"{USAGE}, with ROLE one of {', '.join(ROLES)} and JOB one of {', '.join(JOBS)}"
    if not arguments:
        return f"no role given; {choices}"
    for place, name in enumerate(arguments):
        if name in JOBS and len(arguments) > 1:
            return f"{name} takes no arguments and runs alone; settings come from environment variables; {USAGE}"
        if name not in ROLES and name not in JOBS:
            return f"unknown role {name!r}; settings come from environment variables; {choices}"
        if name in arguments[:place]:
            return f"{name} is given twice; {USAGE}"
    return None


def _stopped(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> None:
    """Run the named roles or job; report what is wrong with the arguments in one line, and exit with status 2."""
    # Until the process has handlers of its own: the first one of a container ignores a signal that has none.
    signal.signal(signal.SIGTERM, _stopped)
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(usage())
        return
    wrong = problem(arguments)
    if wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(2)
    if arguments[0] in JOBS:
        importlib.import_module(JOBS[arguments[0]].module).main()
        return
    roles = [importlib.import_module(ROLES[name].module).ROLE for name in ROLES if name in arguments]
    lifecycle = importlib.import_module("services.platform.process.lifecycle")
    lifecycle.run(*roles)


if __name__ == "__main__":
    main()
