"""Loads a folder's queries.sql: named statements, each with a sentence on what it is for.

-- name --
-- What it is for.
SELECT …
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, TypeVar

Record = TypeVar("Record")

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """The statements of one queries.sql by name; a missing name is a KeyError at once."""

    def __init__(self, package: str) -> None:
        text = resources.files(package).joinpath("queries.sql").read_text()
        parts = _NAME.split(text)
        self._queries = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


def with_columns(statement: str, columns: Iterable[str], *, before: int) -> str:
    """Return a statement that names {columns}, and their {values} as parameters that follow those `before`."""
    names = list(columns)
    values = (f"${number}" for number in range(before + 1, before + 1 + len(names)))
    return statement.format(columns=", ".join(names), values=", ".join(values))


def record(kind: type[Record], row: Any, /, **others: Any) -> Record:
    """Return a dataclass whose fields are the columns of the same names, but for those that are given."""
    names: Mapping[str, Any] = kind.__dataclass_fields__  # type: ignore[attr-defined]  # there is no type for it
    return kind(**{name: others[name] if name in others else row[name] for name in names})
