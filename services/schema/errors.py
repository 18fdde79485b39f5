"""Why the schema is not what it should be."""

import asyncpg


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message is one line for the user, and another try ends the same."""


class PostgresUnusable(MigrationError):
    """Postgres cannot be used, which another try may find changed."""


def reason(error: BaseException) -> str:
    """Return an error in one line, with its SQLSTATE if it has one."""
    words = [str(error) or type(error).__name__]
    if isinstance(error, asyncpg.PostgresError):
        more = (getattr(error, name, None) for name in ("detail", "hint"))
        words = [str(error.args[0]), f"(SQLSTATE {error.sqlstate})", *(word for word in more if word)]
    return " ".join(" ".join(words).split())
