"""services/common/postgres.py against a real Postgres."""

import asyncio
import time

import pytest

from services.common import errors, postgres
from services.common.lifecycle import Process
from services.common.settings import PostgresSettings


async def test_a_client_that_freezes_in_a_transaction_keeps_its_locks_for_five_seconds(database: str) -> None:
    """And hears, when it wakes, that the store was away: what it wanted is to be done again."""
    async with postgres.pool(Process("test"), PostgresSettings(database_url=database)) as pool:
        lock = "SELECT * FROM tenants WHERE id = 'default' FOR UPDATE"
        frozen = await pool.acquire()
        try:
            transaction = frozen.transaction()
            await transaction.start()
            await frozen.execute(lock)
            began = time.monotonic()
            async with asyncio.timeout(postgres.IDLE_IN_TRANSACTION_SECONDS + 3):
                await pool.execute(lock)
            assert time.monotonic() - began > postgres.IDLE_IN_TRANSACTION_SECONDS - 1
            with pytest.raises(errors.STORE_AWAY) as raised:
                await frozen.execute(lock)
            assert errors.is_store_away(raised.value)
        finally:
            await pool.release(frozen)
