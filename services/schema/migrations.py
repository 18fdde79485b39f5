"""The files of migrations/, and the runner that applies them.

Safe behind a pooler of transactions: nothing outlives one.
"""

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from services.platform.settings import PostgresSettings
from services.platform.stores import postgres, sql
from services.platform.stores.availability import is_store_away


class MigrationError(Exception):
    """The schema cannot be brought up to date, and another try would fail the same way. The message is one line."""


class PostgresUnusable(MigrationError):
    """Postgres cannot be used; another try may succeed."""


def reason(error: BaseException) -> str:
    """Return an error in one line, with its SQLSTATE if it has one."""
    words = [str(error) or type(error).__name__]
    if isinstance(error, asyncpg.PostgresError):
        more = (getattr(error, name, None) for name in ("detail", "hint"))
        words = [str(error.args[0]), f"(SQLSTATE {error.sqlstate})", *(word for word in more if word)]
    return " ".join(" ".join(words).split())


FOLDER = Path(__file__).resolve().parents[2] / "migrations"
_NAME = re.compile(r"(?P<version>[0-9]{14})_[a-z0-9_]+\.sql")
# dbmate's mark: it runs what follows only to undo a migration; here it would be run as part of it.
_DOWN = "-- migrate:down"


@dataclass(frozen=True, kw_only=True)
class File:
    """One migration."""

    version: str
    name: str
    sql: str = field(repr=False)
    sha256: bytes = field(repr=False)


def read_files(folder: Path = FOLDER) -> Sequence[File]:
    """Return the migrations in order. Raises MigrationError."""
    found = [_file(path) for path in sorted(folder.glob("*.sql"))]
    if not found:
        raise MigrationError(f"{folder} contains no migrations")
    versions = [file.version for file in found]
    twice = next((version for version in versions if versions.count(version) > 1), None)
    if twice:
        raise MigrationError(f"{folder} contains more than one migration of version {twice}")
    return found


def _file(path: Path) -> File:
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise MigrationError(f"{path.name} is not a valid name of a migration, such as 20261124000001_initial.sql")
    sql = path.read_text(encoding="utf-8")
    if _DOWN in sql:
        raise MigrationError(f"{path.name} has a section {_DOWN!r}, which would also run; remove it")
    return File(version=name["version"], name=path.name, sql=sql, sha256=hashlib.sha256(sql.encode()).digest())


_queries = sql.Queries("services.schema")
# No version was released yet, so there is no data to keep.
_EMPTY = "empty DATA_DIR (for make run), or use an empty database"


class Schema:
    """The schema of one database, compared with these files."""

    def __init__(
        self, settings: PostgresSettings, connection: "asyncpg.Connection[asyncpg.Record]", files: Sequence[File]
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._files = files

    async def migrate(self, say: Callable[[str], None]) -> None:
        """Apply the missing files and say each. Raises MigrationError.

        Whether a file is missing is checked again under the lock: if many processes start at once, one applies it.
        """
        while True:
            async with self._turn():
                there = await self._applied()
                file = next((file for file in self._files if file.version not in there), None)
                if file is None:
                    return
                if not there:
                    await self._run(_queries["create_table"], "the table schema_migrations")
                await self._run(file.sql, file.name)
                await self._connection.execute(_queries["insert_applied"], file.version, file.name, file.sha256)
            say(f"applied {file.name}")

    async def version(self) -> str | None:
        """Return the newest version that was applied, None for an empty database. Raises MigrationError."""
        async with self._transaction():
            return max(await self._applied(), default=None)

    async def grant(self, role: str) -> None:
        """Give a role what the services need at run time, and no more. Raises MigrationError."""
        async with self._turn():
            found = await self._connection.fetchrow(_queries["check_runtime_role"], role)
            if found is None:
                raise MigrationError(f"POSTGRES_RUNTIME_USER: role {role!r} does not exist; create it first")
            if found["owns"]:
                raise MigrationError(
                    f"POSTGRES_RUNTIME_USER: {role!r} has the privileges of the schema's owner; use another role"
                )
            for row in await self._connection.fetch(_queries["grant_statements"], role):
                await self._run(row[0], f"granting to {role!r}")

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Open a transaction once no other process migrates."""
        async with self._transaction("SET TRANSACTION READ WRITE"):
            await self._connection.execute(_queries["lock"])
            yield

    @contextlib.asynccontextmanager
    async def _transaction(self, *statements: str) -> AsyncIterator[None]:
        """Open a transaction with the settings that the migrations rely on."""
        async with self._connection.transaction():
            major = self._connection.get_server_version().major
            pins = postgres.pin_statement(self._settings, server_version=major, local=True)
            await self._connection.execute("; ".join((*statements, pins)))
            yield

    async def _applied(self) -> Mapping[str, bytes]:
        """Return the digests of what was applied, by version. Raises MigrationError for what is not of these files."""
        state = await self._connection.fetchrow(_queries["table_state"])
        assert state is not None, "an aggregate has a row"
        if not state["present"]:
            return {}
        if not state["ours"]:
            raise MigrationError(
                "the table schema_migrations was made by another program, or by an unreleased version of this one: "
                f"{_EMPTY}"
            )
        there = {row["version"]: row["sha256"] for row in await self._connection.fetch(_queries["select_applied"])}
        for file in self._files:
            if there.get(file.version, file.sha256) != file.sha256:
                raise MigrationError(
                    f"the database was made by another text of {file.name}, from an unreleased version: {_EMPTY}"
                )
        return there

    async def _run(self, text: str, name: str) -> None:
        try:
            await self._connection.execute(text)
        except asyncpg.PostgresError as error:
            if is_store_away(error):
                raise
            raise MigrationError(f"{name}{_line(text, error)} failed: {reason(error)}") from error


def _line(text: str, error: asyncpg.PostgresError) -> str:
    """Return where in the text the error is, if Postgres says so."""
    position = getattr(error, "position", None)
    return f", line {text.count(chr(10), 0, int(position) - 1) + 1}," if position else ""
