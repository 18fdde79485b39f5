"""A connection to the Postgres of what is measured, with its own event loop, so that its users need none."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import asyncpg

from services.platform.stores.sql import Queries

STATEMENT_TIMEOUT_SECONDS = 600.0


class Database:
    """Run named statements. `checkpoint` writes dirty pages to disk, which needs a superuser."""

    def __init__(self, url: str, queries: Queries, *, checkpoint: Callable[[], object]) -> None:
        self._url = url
        self._queries = queries
        self._checkpoint = checkpoint
        self._runner = asyncio.Runner()
        self._connection: Any = None

    def __enter__(self) -> Self:
        """Connect."""
        self._connection = self._runner.run(asyncpg.connect(self._url, command_timeout=STATEMENT_TIMEOUT_SECONDS))
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._connection.terminate()
        self._runner.close()

    def transactions(self) -> int:
        """Return how many transactions ended in this database so far, without this one."""
        return int(self.value("transactions"))

    def settle(self) -> None:
        """Let Postgres do now what it would otherwise do during the next measurement."""
        self.execute("analyze")
        self._checkpoint()

    def value(self, name: str, *arguments: object) -> Any:
        """Return the only value of a statement."""
        return self._runner.run(self._connection.fetchval(self._queries[name], *arguments))

    def row(self, name: str, *arguments: object) -> Any:
        """Return the only row of a statement."""
        return self._runner.run(self._connection.fetchrow(self._queries[name], *arguments))

    def rows(self, name: str, *arguments: object) -> Any:
        """Return the rows of a statement."""
        return self._runner.run(self._connection.fetch(self._queries[name], *arguments))

    def execute(self, name: str, *arguments: object) -> None:
        """Run a statement."""
        self._runner.run(self._connection.execute(self._queries[name], *arguments))
