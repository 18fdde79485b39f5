"""Each role is a module with settings and serve(process, settings): all of them run in one process."""

import contextlib
from typing import Any

import httpx

from dev.embedded import ports
from dev.harness.keys import ENCRYPTION_KEY
from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from services.analytics import __main__ as analytics
from services.analytics.settings import AnalyticsSettings
from services.delivery import __main__ as delivery
from services.delivery.worker import __main__ as worker
from services.gateway import __main__ as gateway
from services.gateway.settings import GatewaySettings
from services.ingest import __main__ as ingest
from services.ingest.settings import IngestSettings
from services.platform.process import lifecycle
from services.platform.process.whole import Whole
from tests.delivery.world import World


async def test_process_with_all_roles_accepts_and_delivers_a_webhook(world: World, receiver: Receiver) -> None:
    whole = Whole(("ingest", "delivery", "worker", "analytics", "gateway"), servers=3)
    of = {role: lifecycle.Process(role, whole=whole) for role in whole.roles}
    port, ingest_port, analytics_port = ports.free_port(), ports.free_port(), ports.free_port()
    of_delivery = world.delivery_settings()
    stores: dict[str, Any] = {"env": "development", "database_url": world.database_url}
    async with contextlib.AsyncExitStack() as stack:
        for serving in (
            ingest.serve(
                of["ingest"],
                IngestSettings(
                    **stores, redis_url=world.redis_url, grpc_port=ingest_port, encryption_keys=ENCRYPTION_KEY
                ),
            ),
            delivery.serve(of["delivery"], of_delivery),
            worker.serve(of["worker"], world.worker_settings()),
            analytics.serve(of["analytics"], AnalyticsSettings(**stores, grpc_port=analytics_port)),
            gateway.serve(
                of["gateway"],
                GatewaySettings(
                    env="development",
                    port=port,
                    ingest_addr=f"127.0.0.1:{ingest_port}",
                    delivery_addr=f"127.0.0.1:{of_delivery.grpc_port}",
                    analytics_addr=f"127.0.0.1:{analytics_port}",
                ),
            ),
        ):
            await stack.enter_async_context(serving)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False))

        async def is_ready() -> bool:
            failures, degraded = await whole.health.state()
            return not failures and not degraded

        await wait_until(is_ready, what="readiness of all roles")
        made = await http.post("/api/v1/subscriptions", json={"target_url": receiver.url()})
        assert made.status_code == 201, made.text
        accepted = await http.post(f"/api/v1/webhooks/ingest/{made.json()['id']}", json={"order": 1})
        assert accepted.status_code == 202, accepted.text
        (request,) = await receiver.wait_for(1)
        assert request.headers["webhook-id"] == accepted.json()["delivery_id"]
        # The statistics of the fifth role, over the fourth channel.
        assert (await http.get("/api/v1/stats")).status_code == 200
    await whole.cancel_all()
    assert not whole.failed
