"""What the benchmark asks of the stack's Postgres, over one connection."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg

from dev.benchmarks.load.payloads import Template
from services.platform.stores import sql

SQL = sql.Queries("dev.benchmarks")
TIMEOUT_SECONDS = 600.0
DELIVERIES_PER_STATEMENT = 50_000


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Successful attempts."""

    total: int
    in_window: int


class Store:
    """A connection that lives in an event loop of its own, so that its users need none.

    `checkpoint` writes out what is dirty, which only a superuser may order.
    """

    def __init__(self, database_url: str, *, checkpoint: Callable[[], object]) -> None:
        self._url = database_url
        self._checkpoint = checkpoint
        self._runner = asyncio.Runner()
        self._connection: Any = None

    def __enter__(self) -> Self:
        """Connects."""
        self._connection = self._runner.run(asyncpg.connect(self._url, command_timeout=TIMEOUT_SECONDS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnects."""
        self._connection.terminate()
        self._runner.close()

    def unfinished(self, subscriptions: Sequence[UUID] | None = None) -> bool:
        """Whether any delivery, or any to these subscriptions, has not ended."""
        asked = (SQL["unfinished"],) if subscriptions is None else (SQL["unfinished_of"], subscriptions)
        return bool(self._runner.run(self._connection.fetchval(*asked)))

    def recorded(self, since: float, until: float, subscriptions: Sequence[UUID] | None = None) -> Recorded:
        """Successful attempts since a moment, and those between two moments, in Unix seconds."""
        row = self._runner.run(self._connection.fetchrow(SQL["recorded"], since, until, subscriptions))
        return Recorded(total=row["recorded"], in_window=row["in_window"])

    def insert_subscriptions(self, targets: Sequence[tuple[UUID, str]], secret: str) -> None:
        """Makes subscriptions past the API."""
        urls = [url for _, url in targets]
        self._execute("insert_subscriptions", [subscription for subscription, _ in targets], urls, secret)

    def insert_backlog(
        self, count: int, subscriptions: Sequence[UUID], payload: Template, *, on_made: Callable[[int], None]
    ) -> None:
        """Makes events numbered from 0, each with a due delivery to one of the subscriptions in turn."""
        begin, end = payload.prefix.decode(), payload.suffix.decode()
        for first in range(0, count, DELIVERIES_PER_STATEMENT):
            last = min(count, first + DELIVERIES_PER_STATEMENT) - 1
            self._execute("insert_backlog", first, last, list(subscriptions), begin, end)
            on_made(last + 1)

    def settle(self) -> None:
        """Have Postgres do at once what it would do a little later, in the middle of what is measured next."""
        self._execute("analyze")
        self._checkpoint()

    def _execute(self, name: str, *arguments: object) -> None:
        self._runner.run(self._connection.execute(SQL[name], *arguments))
