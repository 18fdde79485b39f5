"""The errors of events whose commit failed: that nothing was stored, or that it may have been."""

import dataclasses
from collections.abc import Sequence

import asyncpg
import pytest

from services.ingest.events import committer, store
from services.ingest.events.committer import Committer
from services.ingest.events.records import NewEvent, Result
from services.ingest.settings import IngestSettings
from services.platform import errors, ids

LOST = [
    ConnectionResetError(),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError(),
    asyncpg.InterfaceError("the connection is closed"),
    # Another backend crashed, possibly just after this one had committed.
    asyncpg.CrashShutdownError(),
    asyncpg.StatementCompletionUnknownError(),
]
ROLLED_BACK = [asyncpg.AdminShutdownError(), asyncpg.ReadOnlySQLTransactionError(), asyncpg.DiskFullError()]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_connection_that_is_lost_leaves_it_open(error: Exception) -> None:
    with pytest.raises(errors.OutcomeUnknown), store.committing():
        raise error


@pytest.mark.parametrize("error", ROLLED_BACK, ids=lambda error: type(error).__name__)
def test_error_that_postgres_reports_for_a_statement_is_trusted(error: Exception) -> None:
    with pytest.raises(type(error)), store.committing():
        raise error
    with pytest.raises(errors.OutcomeUnknown), store.committing(committed=True):
        raise error


def test_a_bug_stays_one() -> None:
    with pytest.raises(KeyError), store.committing(committed=True):
        raise KeyError


class _Fails:
    """A fake store that accepts this many transactions, and refuses the following ones."""

    def __init__(self, transactions: int) -> None:
        self._left = transactions

    async def insert_events(self, events: Sequence[NewEvent], **_: object) -> list[Result]:
        self._left -= 1
        if self._left < 0:
            raise asyncpg.AdminShutdownError
        return [event.accepted for event in events]


class _Silent:
    def open_to(self, _: str) -> bool:
        return False


@pytest.mark.parametrize(("transactions", "error"), [(0, asyncpg.AdminShutdownError), (1, errors.OutcomeUnknown)])
async def test_a_second_transaction_that_fails_leaves_the_first_open(transactions: int, error: type[Exception]) -> None:
    made = Committer(_Fails(transactions), _Silent(), IngestSettings(), print)  # type: ignore[arg-type]
    event = NewEvent(
        id=ids.new(), tenant_id="default", event_type=None, content_type="text/plain", payload=b"", deliveries=()
    )
    # The same id twice goes into two transactions.
    again = dataclasses.replace(event)
    assert len(list(committer._groups([event, again]))) == 2
    with pytest.raises(error):
        await made.commit([event, again])
