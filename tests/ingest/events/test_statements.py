"""What accepting a batch asks of Postgres: features that a tenant does not use add no statement."""

from typing import Any

import asyncpg.connection
import pytest

from services.platform.stores import sql
from tests.ingest.catalog.conftest import Catalog
from tests.ingest.conftest import Ingest

TYPE = "statements.counted"
EVENTS = sql.Queries("services.ingest.events")
CATALOG = sql.Queries("services.ingest.catalog")
# What runs beside the batches, whatever they contain.
_BESIDE = {"select_expansions", "select_now", "create_partitions"}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the statements that tell of events, as they are run in this process."""
    run: list[str] = []
    connection: Any = asyncpg.connection.Connection
    execute = connection._execute
    beside = {EVENTS[name] for name in _BESIDE} | {CATALOG["add_invalid_events"]}

    async def counted(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        if "webhook_events" in query or "subscription" in query or "event_" in query:
            run.extend(() if query in beside else [query])
        return await execute(self, query, *arguments, **options)

    monkeypatch.setattr(connection, "_execute", counted)
    return run


async def test_a_batch_of_a_tenant_without_flags_is_one_statement(ingest: Ingest, statements: list[str]) -> None:
    tenant = await ingest.of("statements-plain")
    for _ in range(3):
        await tenant.create(event_types=[TYPE])
    await tenant.send(event_type=TYPE)  # so that its subscriptions are in memory
    statements.clear()
    results = await tenant.batch(*(tenant.item(event_type=TYPE) for _ in range(50)))
    assert [result.accepted.deliveries for result in results] == [3] * 50
    assert statements == [EVENTS["insert_events"]]


async def test_filters_of_a_tenant_add_no_statement_to_a_batch(ingest: Ingest, statements: list[str]) -> None:
    for amount in range(10):
        await ingest.create(event_types=[TYPE], filter=f"event.data.amount > {amount}")
    await ingest.send(event_type=TYPE, payload=b'{"amount": 5}')
    statements.clear()
    results = await ingest.batch(*(ingest.item(event_type=TYPE, payload=b'{"amount": 3}') for _ in range(50)))
    assert [result.accepted.deliveries for result in results] == [3] * 50
    assert statements == [EVENTS["insert_events"]]


async def test_versions_of_events_and_pins_of_subscriptions_add_no_statement_to_a_batch(
    ingest: Ingest, statements: list[str]
) -> None:
    await Catalog(ingest).create(TYPE)
    for _ in range(3):
        await ingest.create(event_types=[TYPE], event_versions={"statements.*": 1})
    item: dict[str, Any] = {"event_type": TYPE, "payload": b'{"id": "a"}', "event_version": 1}
    await ingest.send(**item)
    statements.clear()
    results = await ingest.batch(*(ingest.item(**item) for _ in range(50)))
    assert [result.accepted.deliveries for result in results] == [3] * 50
    assert statements == [EVENTS["insert_events"]]


async def test_a_batch_of_a_tenant_without_a_catalog_is_one_statement_while_others_have_one(
    ingest: Ingest, statements: list[str]
) -> None:
    await Catalog(ingest).create(TYPE)
    await ingest.send(event_type=TYPE, payload=b'{"id": "a"}')
    tenant = await ingest.of("statements-without-catalog")
    await tenant.send(event_type=TYPE)  # so that its subscriptions are in memory
    statements.clear()
    await tenant.batch(*(tenant.item(event_type=TYPE) for _ in range(50)))
    assert statements == [EVENTS["insert_events"]]
