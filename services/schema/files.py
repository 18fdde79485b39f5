"""The files of migrations/."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.schema.errors import MigrationError

FOLDER = Path(__file__).resolve().parents[2] / "migrations"
_NAME = re.compile(r"(?P<version>[0-9]{14})_[a-z0-9_]+\.sql")
# Of dbmate, which would run what follows only to undo a migration.
_DOWN = "-- migrate:down"


@dataclass(frozen=True, kw_only=True)
class File:
    """One migration."""

    version: str
    name: str
    sql: str = field(repr=False)
    sha256: bytes = field(repr=False)


def read(folder: Path = FOLDER) -> Sequence[File]:
    """Return the migrations in order. Raises MigrationError."""
    found = [_file(path) for path in sorted(folder.glob("*.sql"))]
    if not found:
        raise MigrationError(f"{folder} holds no migrations")
    versions = [file.version for file in found]
    twice = next((version for version in versions if versions.count(version) > 1), None)
    if twice:
        raise MigrationError(f"{folder} holds more than one migration of version {twice}")
    return found


def _file(path: Path) -> File:
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise MigrationError(f"{path.name} is not named as a migration, such as 20261124000001_initial.sql")
    sql = path.read_text(encoding="utf-8")
    if _DOWN in sql:
        raise MigrationError(f"{path.name} has a section {_DOWN!r}, which would be run, too: remove it")
    return File(version=name["version"], name=path.name, sql=sql, sha256=hashlib.sha256(sql.encode()).digest())
