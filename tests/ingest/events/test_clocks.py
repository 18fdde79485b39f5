"""Machines whose clocks differ from Postgres's."""

import contextvars
import re
import time
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from dev.harness.waiting import wait_until
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.ingest.events.store import EventStore
from services.platform import errors, ids
from services.platform.process.probes import Health
from tests.gateway.conftest import gateway
from tests.ingest import conftest as ingests
from tests.ingest.conftest import Ingest, refused
from tests.ingest.events.inbound.providers import by_stripe

AHEAD_SECONDS = 3600.0
_IS_BEHIND = contextvars.ContextVar("is_behind", default=False)


@pytest.fixture
async def behind(
    database: str, redis_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ingest]:
    """An ingest on `free_port` whose clock is an hour behind Postgres's, and which knows it."""
    as_it_is = EventStore.now

    async def now(store: EventStore) -> float:
        return time.time() + AHEAD_SECONDS if _IS_BEHIND.get() else await as_it_is(store)

    # Not for the one of other tests, which compares its clock at the same time.
    _IS_BEHIND.set(True)
    monkeypatch.setattr(EventStore, "now", now)
    async with ingests.serving(database, redis_url, grpc_port=free_port) as ingest:
        subscription = await ingest.create()

        async def compared() -> bool:
            return bool((await ingest.batch(ingest.item(subscription.id, event_id=str(ids.new()))))[0].error.field)

        await wait_until(compared, what="ingest to know that its clock is off")
        yield ingest


async def test_machines_with_clocks_an_hour_behind_accept_events_and_log_it(behind: Ingest, free_port: int) -> None:
    subscription, health = await behind.create(), Health()
    async with gateway(free_port, health) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        for _ in range(2):
            answer = await client.post(f"/api/v1/webhooks/ingest/{subscription.id}", content=b"1")
            assert answer.status_code == 202, answer.text
            made = ids.seconds(UUID(answer.json()["event_id"]))
            assert abs(made - time.time() - AHEAD_SECONDS) < 10
        found = re.search(r"(\d+) s behind that of ingest", (await health.degraded())["clock"])
        assert found
        assert abs(int(found[1]) - AHEAD_SECONDS) < 10


async def test_the_time_of_a_signature_is_compared_with_postgres_clock(behind: Ingest) -> None:
    secret, body = "whsec_stripe", b'{"id": "evt_1", "type": "charge.succeeded"}'
    made = await behind.create(
        verification=pb.VERIFICATION_STRIPE, verification_secrets=pb.VerificationSecrets(values=[secret])
    )

    async def send(signed_at: float) -> None:
        item = behind.item(made.id, payload=body, event_id="")
        for name, value in by_stripe(secret, body, int(signed_at)).items():
            item.verification.headers.add(name=name, value=value)
        await behind.send_item(item)

    await send(time.time() + AHEAD_SECONDS)
    assert isinstance(await refused(send(time.time())), errors.SignatureExpired)
