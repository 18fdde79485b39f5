"""The whole service with an outbox, as `make run` starts it."""

import asyncio
from pathlib import Path

import httpx

from dev.harness import stack as stacks
from dev.harness.waiting import wait_until
from tests.docs.test_docs import ROOT, code_names, roles, table_rows
from tests.e2e.test_metrics import metrics_of, values
from tests.relay.conftest import Outbox


async def test_make_run_relays_an_outbox_and_shows_it(outbox: Outbox, short_folder: Path) -> None:
    """In a process with ingest, which is called without a connection."""
    environment = {"OUTBOX_DATABASE_URL": outbox.relay_url}
    stack = stacks.Stack(short_folder / "relayed", environment=environment, processes="one")
    await asyncio.to_thread(stack.start)
    try:
        assert "Outbox     relayed from OUTBOX_DATABASE_URL" in stack.output
        await outbox.publish("order.created", '{"order":  42}', tags='{"order": "42"}')
        await wait_until(outbox.empty)
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
            (found,) = (await http.get("/api/v1/events", params={"tag": "order=42"})).json()["items"]
        assert found["event_type"] == "order.created"
        exported = metrics_of(stack, "relay")
        documented = [
            code_names(name)[0]
            for name, _, _, _, processes in table_rows(ROOT / "docs/reference/metrics.md")
            if "relay" in roles(processes)
        ]
        assert {name for name in documented if "outbox" in name} <= exported.keys()
        assert values(exported, "webhook_outbox_rows_total", {"outcome": "accepted"}) == [1]
        assert values(exported, "webhook_store_up", {"store": "outbox"}) == [1]
    finally:
        await asyncio.to_thread(stack.stop)
