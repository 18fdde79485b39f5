"""The whole service in fewer processes than five: what `make run` starts."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import ROLES, Stack
from dev.harness.waiting import wait_until
from tests.e2e.conftest import ENVIRONMENT

SENDERS = 8
# Long enough that the stop meets requests in flight, and short enough that they end in time.
ANSWER_SECONDS = 0.2


@pytest.fixture(scope="module", params=["one", "two"])
def shaped(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Stack]:
    """A stack whose roles share processes."""
    with stacks.running(short_folder / request.param, environment=ENVIRONMENT, processes=request.param) as running:
        yield running


@pytest.fixture
async def shaped_api(shaped: Stack) -> AsyncIterator[Api]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=shaped.base_url, timeout=60) as http:
        yield Api(http)


async def test_a_webhook_is_delivered_and_retried(shaped_api: Api, receiver: Receiver) -> None:
    receiver.script(500, then=200)
    delivered = await shaped_api.until(await shaped_api.sent(await shaped_api.subscribe(receiver.url())), "delivered")
    assert [attempt["status_code"] for attempt in delivered["attempts"]] == [500, 200]
    statistics = await shaped_api.http.get("/api/v1/stats")
    assert statistics.status_code == 200


async def test_readiness_metrics_and_logs_name_the_role(shaped: Stack, shaped_api: Api, receiver: Receiver) -> None:
    await shaped_api.until(await shaped_api.sent(await shaped_api.subscribe(receiver.url())), "delivered")
    ports = {shaped.ports["metrics"][role] for role in ROLES}
    assert len(ports) < len(ROLES)
    async with httpx.AsyncClient(timeout=60) as http:
        pages = [(await http.get(f"http://127.0.0.1:{port}/metrics")).text for port in ports]
        for port in ports:
            assert (await http.get(f"http://127.0.0.1:{port}/readyz")).json()["status"] == "ready"
    for role in ROLES:
        assert sum(f'role="{role}"' in page for page in pages) == 1, role
    logs = "\n".join(path.read_text() for path in (shaped.data_dir / "logs").glob("*.log"))
    assert {role for role in ROLES if f"role={role}" in logs} >= {"gateway", "ingest", "worker"}


async def test_a_process_that_is_killed_while_it_sends_leaves_a_delivery_that_is_sent_once_more(
    shaped: Stack, shaped_api: Api, receiver: Receiver
) -> None:
    """After its lease; in one process it was handed over, and nobody claimed it."""
    receiver.script(Reply(hang=True), then=200)
    delivery_id = await shaped_api.sent(await shaped_api.subscribe(receiver.url()))
    await receiver.wait_for(1)
    await asyncio.to_thread(shaped.kill_role, "worker")

    async def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await shaped_api.http.get(f"/api/v1/webhooks/deliveries/{delivery_id}")).status_code == 200
        return False

    await wait_until(answers, what="the next process to answer")
    found = await shaped_api.until(delivery_id, "delivered")
    # One, unless the machine is so busy that the next lease runs out, too.
    *interrupted, delivered = found["attempts"]
    assert {attempt["error"]["kind"] for attempt in interrupted} == {"interrupted"}
    assert delivered["status_code"] == 200
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery_id}


async def test_a_stop_under_load_interrupts_no_request_and_sends_nothing_twice(
    shaped: Stack, shaped_api: Api, receiver: Receiver
) -> None:
    """What was answered with 202 is delivered after the next start; the rest was refused."""
    receiver.script(then=Reply(delay_seconds=ANSWER_SECONDS))
    subscription = await shaped_api.subscribe(receiver.url())
    accepted: set[str] = set()

    async def send() -> None:
        while True:
            try:
                answer = await shaped_api.http.post(f"/api/v1/webhooks/ingest/{subscription}", json={"payload": 1})
            except httpx.TransportError:
                return
            if answer.status_code == 202:
                accepted.add(answer.json()["delivery_id"])

    sending = [asyncio.create_task(send()) for _ in range(SENDERS)]
    await receiver.wait_for(50)
    assert await asyncio.to_thread(shaped.stop, signal.SIGTERM) == 0
    await asyncio.gather(*sending)
    logs = "\n".join(path.read_text() for path in (shaped.data_dir / "logs").glob("*.log"))
    assert "interrupted by shutdown" not in logs
    assert "killing it" not in shaped.output
    await asyncio.to_thread(shaped.start)
    for delivery in accepted:
        found = await shaped_api.until(delivery, "delivered")
        assert len(found["attempts"]) == 1
    sent = [request.headers["webhook-id"] for request in receiver.requests]
    assert accepted <= set(sent)
    assert len(sent) == len(set(sent))
