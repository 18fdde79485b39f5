"""Receivers that answer hostile things to the real worker: recorded, shown, and no harm to the next delivery."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.waiting import wait_until
from tests.adversarial.answers import HOSTILE, OK, Hostile
from tests.adversarial.tally import Tally
from tests.delivery import raw

pytestmark = pytest.mark.usefixtures("unharmed")

ENDED = {"delivered", "failed", "cancelled"}
# The service stores that much of an answer.
STORED_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the service tells of a delivery with a hostile answer, of the next one, and the head of its request."""

    hostile: dict[str, Any]
    following: dict[str, Any]
    head: bytes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(api: Api) -> dict[str, Told]:
    """What became of all of them, which are delivered side by side."""
    return dict(zip(HOSTILE, await asyncio.gather(*(_deliver(api, row) for row in HOSTILE.values())), strict=True))


async def _deliver(api: Api, row: Hostile) -> Told:
    async def answer(connection: raw.Connection) -> None:
        await (row.answer if server.connections[0] is connection else raw.answering(OK))(connection)

    async with raw.serving(answer) as server:
        subscription = await api.subscribe(server.url())
        hostile = await _ended(api, await api.sent(subscription))
        following = await _ended(api, await api.sent(subscription))
        await api.http.delete(f"/api/v1/subscriptions/{subscription}")
        return Told(hostile=hostile, following=following, head=server.connections[-1].heads[-1])


async def _ended(api: Api, delivery_id: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found = await api.delivery(delivery_id)
        return found if found["status"] in ENDED else None

    return await wait_until(ended, 30, what=f"{delivery_id} to end") or {}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_recorded_and_shown_and_harms_nothing(
    told: dict[str, Told], tally: Tally, name: str
) -> None:
    tally.add("receivers' answers")
    row, found = HOSTILE[name], told[name]
    (attempt,) = found.hostile["attempts"]
    error = attempt["error"] or {"kind": None, "message": "none"}
    assert (error["kind"], attempt["status_code"]) == (row.kind, row.status), attempt
    assert found.hostile["status"] == ("failed" if row.kind else "delivered")
    assert error["message"]
    for text in (error["message"], attempt["response_body"] or ""):
        assert "\x00" not in text
        assert len(text.encode()) <= STORED_BYTES
    assert found.following["status"] == "delivered"
    assert b"cookie" not in found.head.lower()


async def test_lists_and_statistics_of_all_that_are_json(told: dict[str, Told], api: Api) -> None:
    stats = (await api.http.get("/api/v1/stats?window=1h")).json()
    assert stats["attempts_by_outcome"]
    for found in told.values():
        answer = await api.http.get(f"/api/v1/events/{found.hostile['event_id']}/deliveries")
        assert answer.json()["items"][0]["id"] == found.hostile["id"]
