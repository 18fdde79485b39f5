"""Traffic for all panels: endpoints that work, fail, are slow, limited, or paused; and bad requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from dev.harness.api import Api
from dev.harness.receiver import Receiver, Reply, receiving
from dev.harness.stack import Stack

ROUND_SECONDS = 0.2
FAN_OUT = 3
NOBODY = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
# Failures are quick, so that a breaker opens and deliveries end within seconds.
ENVIRONMENT = {"RETRY_LIMIT": "1", "RETRY_BASE_SECONDS": "1", "LOG_LEVEL": "warning"}


@contextlib.asynccontextmanager
async def flowing(stack: Stack) -> AsyncIterator[None]:
    """Send traffic until the context ends; an error in it fails the context."""
    async with receiving() as receiver, httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        _script(receiver)
        flow = asyncio.create_task(_flow(Api(http), receiver), name="traffic")
        try:
            yield
        finally:
            flow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await flow


def _script(receiver: Receiver) -> None:
    receiver.script(then=500, path="/fails")
    receiver.script(then=Reply(delay_seconds=1.5), path="/slow")
    receiver.script(then=410, path="/gone")


async def _flow(api: Api, receiver: Receiver) -> None:
    well = await api.subscribe(receiver.url("/well"))
    slow = await api.subscribe(receiver.url("/slow"))
    limited = await api.subscribe(receiver.url("/limited"), rate_limit_per_second=2)
    paused = await api.subscribe(receiver.url("/paused"))
    failing = [await api.subscribe(receiver.url("/fails")) for _ in range(2)]
    gone = await api.subscribe(receiver.url("/gone"))
    for _ in range(FAN_OUT):
        await api.subscribe(receiver.url("/fan-out"), event_types=["fan.out"])
    await api.http.post(f"/api/v1/subscriptions/{paused}/pause")
    await api.sent(gone)
    for _ in range(20):
        await api.sent(paused)
        for subscription in failing:
            await api.sent(subscription)
    while True:
        delivery = await api.sent(well)
        await api.send(limited)
        await api.send(slow)
        await api.send(failing[0])
        await api.http.post("/api/v1/events", json={"event_type": "fan.out", "payload": {}})
        await _ask_badly(api)
        await api.delivery(delivery)
        await api.http.get("/api/v1/stats")
        await asyncio.sleep(ROUND_SECONDS)


async def _ask_badly(api: Api) -> None:
    """Send an empty body, invalid JSON, a request for a missing object, and a wrong key."""
    await api.send(NOBODY)
    await api.send(NOBODY, b"{")
    await api.http.get(f"/api/v1/webhooks/deliveries/{NOBODY}")
    await api.http.get("/api/v1/stats", headers={"Authorization": "Bearer whk_wrong"})
