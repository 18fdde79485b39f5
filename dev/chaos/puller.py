"""Consumers that pull: they get deliveries in batches, and report success, failure, or nothing at all."""

import asyncio
import base64
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from dev.chaos import events
from dev.chaos.evidence import Request

# The name of the subscription that they pull from.
PULLED = "pulled"
PULLERS = 4
MAX_DELIVERIES = 20
WAIT_SECONDS = 2.0
# The shortest that there is: what is not reported is soon to be had again.
LEASE_SECONDS = 10.0
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 0.25
WORK_SECONDS = (0.01, 0.1)
# Of what they pull, how much they fail to process, and how much they forget.
FAILURES, FORGOTTEN = 0.05, 0.02


class Pullers:
    """Created by `pulling`. What they get is recorded as requests are, which succeed once their result is recorded."""

    def __init__(self, session: aiohttp.ClientSession, url: str, requests: list[Request]) -> None:
        self._session = session
        self._url = url
        self._requests = requests
        # It spreads what they do; nothing depends on which does what.
        self._random = random.Random(0)  # noqa: S311

    async def run(self) -> None:
        """Pull until cancelled."""
        asked = {"max_deliveries": MAX_DELIVERIES, "wait_seconds": WAIT_SECONDS, "lease_seconds": LEASE_SECONDS}
        while True:
            answer = await self._post("/pull", asked)
            if answer is None:
                await asyncio.sleep(RETRY_SECONDS)
            elif answer["deliveries"]:
                await self._process(answer["deliveries"])

    async def _process(self, deliveries: list[dict[str, Any]]) -> None:
        begun_at = time.monotonic()
        seen: dict[str, Request] = {}
        results = []
        for delivery in deliveries:
            found = events.read(base64.b64decode(delivery["payload_base64"]), delivery["event_id"], delivery["id"])
            request = Request(delivery_id=UUID(delivery["id"]), begun_at=begun_at, pulled=True, **found)
            self._requests.append(request)
            lease = {"delivery_id": delivery["id"], "lease_token": delivery["lease_token"]}
            chance = self._random.random()
            if chance < FORGOTTEN:
                continue
            failed = chance < FORGOTTEN + FAILURES
            seen[delivery["id"]] = request
            became = ("failure", 503) if failed else ("success", 200)
            results.append({**lease, **dict(zip(("outcome", "status_code"), became, strict=True))})
        await asyncio.sleep(self._random.uniform(*WORK_SECONDS))
        if results:
            await self._report(results, seen)

    async def _report(self, results: list[dict[str, Any]], seen: dict[str, Request]) -> None:
        """Report until there is an answer: a request that is repeated changes nothing."""
        answer = None
        while answer is None:
            answer = await self._post("/pull/results", {"results": results})
            if answer is None:
                await asyncio.sleep(RETRY_SECONDS)
        for result, became in zip(results, answer["results"], strict=True):
            if became["status"] == "recorded":
                request = seen[result["delivery_id"]]
                request.status, request.answered_at = result["status_code"], time.monotonic()

    async def _post(self, path: str, body: object) -> Any:
        """Return the response; None if there is none, or it is an error."""
        content = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.post(self._url + path, data=content, headers=headers) as answer,
            ):
                found = await answer.json()
                return found if answer.status == 200 else None  # noqa: PLR2004 - done
        return None


@contextlib.asynccontextmanager
async def pulling(base_url: str, api_key: str, subscription_id: str, requests: list[Request]) -> AsyncIterator[None]:
    """Run consumers until the context ends."""
    url = f"{base_url}/api/v1/subscriptions/{subscription_id}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {api_key}"}) as session:
        tasks = [asyncio.create_task(Pullers(session, url, requests).run()) for _ in range(PULLERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
    died = [error for error in found if not isinstance(error, asyncio.CancelledError)]
    assert not died, died
