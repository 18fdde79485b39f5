"""The live stream over HTTP: who gets what, and how it ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dev.harness.api import Api
from dev.harness.keys import Admin, bearer
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from tests.e2e.access.test_portal_links import token

STREAM = "/api/v1/stream"


@contextlib.asynccontextmanager
async def watching(http: httpx.AsyncClient, key: str, **query: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Yield the events of a stream, from when it is open."""
    async with http.stream("GET", STREAM, params={"topic": "deliveries", **query}, headers=bearer(key)) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (answer.headers["cache-control"], answer.headers.get("content-encoding")) == ("no-store", None)
        lines = answer.aiter_lines()

        async def events() -> AsyncIterator[dict[str, Any]]:
            fields: dict[str, str] = {}
            async for line in lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    if "data" in fields:
                        yield {"event": fields["event"], "id": fields["id"], **json.loads(fields["data"])}
                    fields = {}

        assert (await anext(lines)).startswith("retry: ")
        yield events()


async def test_watchers_get_what_their_key_or_link_may_see(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin, a_name: str, receiver: Receiver
) -> None:
    key = await admin.key(await admin.tenant(a_name))
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(key), timeout=60) as own:
        api = Api(own)
        first, second = await api.subscribe(receiver.url()), await api.subscribe(receiver.url())
        held = await token(http, key, subscriptions=[second])
        foreign = await http.get(STREAM, params={"topic": "deliveries", "subscription_id": first}, headers=bearer(held))
        assert (foreign.status_code, foreign.json()["reason"]) == (404, "NOT_FOUND")
        async with (
            watching(http, key) as of_tenant,
            watching(http, held) as of_link,
            watching(http, key, topic="stats") as counts,
        ):

            async def send() -> None:
                # Workers look once a second whether somebody watches.
                while True:
                    await api.sent(first)
                    await api.sent(second)
                    await asyncio.sleep(0.1)

            sending = asyncio.create_task(send())
            seen: dict[str, Any] = {}
            async for found in of_tenant:
                seen |= {item["subscription_id"]: item for item in found["items"]}
                if second in seen:
                    break
            assert (seen[second]["status"], seen[second]["status_code"], seen[second]["attempt_count"]) == (
                "delivered",
                200,
                1,
            )
            limited = await anext(of_link)
            assert {item["subscription_id"] for item in limited["items"]} == {second}
            async for found in counts:
                if found["delivered"] > 0:
                    break
            sending.cancel()


@pytest.mark.parametrize("query", [{}, {"topic": "nonsense"}, {"topic": "stats", "status": "nonsense"}])
async def test_what_cannot_be_watched_is_refused(http: httpx.AsyncClient, admin: Admin, query: dict[str, str]) -> None:
    answer = await http.get(STREAM, params=query, headers=bearer(await admin.key(role="read")))
    assert answer.status_code == 422
