"""The queries in the runbooks run as printed on the current schema."""

import re
from pathlib import Path

import asyncpg
import pytest

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs/operations/runbooks"
QUERIES = [
    (page.stem, number, query)
    for page in sorted(RUNBOOKS.glob("*.md"))
    for number, query in enumerate(re.findall(r"^```sql\n(.+?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize(("page", "number", "query"), QUERIES, ids=[f"{page}-{number}" for page, number, _ in QUERIES])
async def test_a_query_of_a_runbook_runs_and_changes_nothing(page: str, number: int, query: str, database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction(readonly=True):
            await connection.fetch(query)
    finally:
        await connection.close()
