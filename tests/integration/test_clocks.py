"""Machines whose clocks differ from that of Postgres."""

import time
from uuid import UUID

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.common import ids
from services.common.ops import Health
from services.ingest.event_store import EventStore
from tests.integration.gateway.conftest import gateway
from tests.integration.ingest import conftest as ingests
from tests.support.providers import by_stripe
from tests.support.waiting import wait_until

AHEAD_SECONDS = 3600.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_machines_that_are_an_hour_behind_postgres_accept_events_and_say_so(
    database: str, redis_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def now(_: EventStore) -> float:
        return time.time() + AHEAD_SECONDS

    monkeypatch.setattr(EventStore, "now", now)
    health = Health()
    async with ingests.serving(database, redis_url, grpc_port=free_port) as ingest:
        subscription = await ingest.create()

        async def compared() -> bool:
            return bool((await ingest.batch(ingest.item(subscription.id, event_id=str(ids.new()))))[0].error.field)

        await wait_until(compared, what="ingest to know that its clock is off")
        # So the time of a signature is compared with the right one.
        signed = await ingest.create(
            verification=pb.VERIFICATION_STRIPE, verification_secrets=pb.VerificationSecrets(values=[SECRET])
        )
        for ahead, taken in ((AHEAD_SECONDS, True), (0, False)):
            item = ingest.item(signed.id, payload=b"{}")
            for name, value in by_stripe(SECRET, b"{}", int(time.time() + ahead)).items():
                item.verification.headers.add(name=name, value=value)
            (result,) = await ingest.batch(item)
            assert result.HasField("accepted") is taken, result
        async with gateway(free_port, health) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
            for _ in range(2):
                answer = await client.post(f"/api/v1/webhooks/ingest/{subscription.id}", content=b"1")
                assert answer.status_code == 202, answer.text
                made = ids.seconds(UUID(answer.json()["event_id"]))
                assert abs(made - time.time() - AHEAD_SECONDS) < 10
            assert "3600 s behind that of ingest" in (await health.degraded())["clock"]
