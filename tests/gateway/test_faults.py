"""Services that are unavailable, slow, or come back."""

import asyncio
import contextlib
import time

import httpx
import pytest
from prometheus_client import REGISTRY

from dev.harness.waiting import wait_until
from services.gateway.accept.batches import MAY_BE_STORED, NOT_STORED
from services.gateway.web import backends
from services.platform import errors, ids
from services.platform.process import probes
from tests.gateway.conftest import gateway
from tests.gateway.fakes import Services

WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"
# For a busy machine; a call without a deadline of its own would take much longer.
SOON_SECONDS = 20.0
UNAVAILABLE = errors.Unavailable("the database or Redis cannot be reached; try again")


async def post(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
    started = time.monotonic()
    answer = await client.post(WEBHOOK, content=b'{"payload": 1}')
    return answer, time.monotonic() - started


def assert_try_again(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_short_outage_is_not_seen(client: httpx.AsyncClient, services: Services) -> None:
    services.failures = [UNAVAILABLE]
    answer, _ = await post(client)
    assert answer.status_code == 202
    first, second = services.requests
    assert first.items[0].event_id == second.items[0].event_id == answer.json()["event_id"]


async def test_an_event_without_a_store_is_503_soon(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = UNAVAILABLE
    answer, seconds = await post(client)
    assert_try_again(answer)
    assert seconds < SOON_SECONDS
    assert len(services.requests) >= 2
    assert answer.json()["detail"] == NOT_STORED


async def test_an_event_while_ingest_hangs_is_503_soon_and_may_be_stored(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.delay_seconds = 30
    answers = await asyncio.gather(*(post(client) for _ in range(20)))
    for answer, seconds in answers:
        assert_try_again(answer)
        assert (answer.json()["reason"], answer.json()["detail"]) == ("OUTCOME_UNKNOWN", MAY_BE_STORED)
        assert seconds < SOON_SECONDS
    services.reset()
    await asyncio.sleep(0)
    assert (await post(client))[0].status_code == 202


async def test_an_error_that_is_not_retryable_is_not_retried(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = ValueError("a bug in ingest")
    answer, _ = await post(client)
    assert answer.status_code == 500
    assert "bug in ingest" not in answer.text
    assert len(services.requests) == 1


async def test_a_bug_is_a_problem_that_names_its_log_line(client: httpx.AsyncClient, services: Services) -> None:
    services.delivery.status = 99  # type: ignore[assignment]  # of a service newer than this gateway
    answer = await client.get(f"/api/v1/webhooks/deliveries/{ids.new()}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["instance"].startswith("urn:uuid:")
    assert "99" not in answer.json()["detail"]


async def test_routes_other_than_ingest_return_503_too(client: httpx.AsyncClient, services: Services) -> None:
    services.failure = UNAVAILABLE
    for path in ("/api/v1/subscriptions", f"/api/v1/webhooks/deliveries/{ids.new()}", "/api/v1/stats"):
        assert_try_again(await client.get(path))


async def test_the_gateway_works_as_soon_as_services_are_back() -> None:
    services = Services()
    async with contextlib.AsyncExitStack() as stack:
        async with services.serving():
            port = services.port
            url = await stack.enter_async_context(gateway(port))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
            assert (await post(client))[0].status_code == 202
        answer, seconds = await post(client)
        assert_try_again(answer)
        assert seconds < SOON_SECONDS
        answer = await client.get("/api/v1/subscriptions")
        assert_try_again(answer)
        assert "127.0.0.1" not in answer.text
        async with services.serving(port):

            async def accepts() -> bool:
                return (await post(client))[0].status_code == 202

            await wait_until(accepts)


@pytest.mark.parametrize("needed", [True, False])
async def test_readiness_needs_ingest_and_tells_of_the_others(needed: bool) -> None:  # noqa: FBT001 - a parameter
    health = probes.Health()
    services = Services()
    async with (
        services.serving(),
        gateway(services.port, health) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
    ):
        assert (await client.get("/readyz")).json() == {"status": "ready"}

        async def away() -> None:
            raise ConnectionError("away")

        if needed:
            health.add_readiness("ingest", away)
        health.add_optional("analytics", away)
        answer = await client.get("/readyz/")
        assert answer.status_code == (503 if needed else 200)
        assert answer.json()["degraded"] == {"analytics": "ConnectionError: away"}
        assert (await client.get("/healthz")).status_code == 200


async def test_livez_says_that_the_process_works_without_saying_why_not() -> None:
    health = probes.Health()
    services = Services()
    running = gateway(services.port, health, serve_operations=False)
    async with services.serving(), running as url, httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def dead() -> None:
            raise RuntimeError("s3cret died")

        health.add_readiness("postgres", dead)
        answer = await client.get("/livez")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        health.add_liveness("background_tasks", dead)
        answer = await client.get("/livez/")
        assert (answer.status_code, answer.json()) == (503, {"status": "failing"})
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.get("/healthz")).status_code == 404


async def test_a_storm_of_probes_is_answered_from_one_check(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "FRESH_SECONDS", 60.0)

    def checks() -> float:
        labels = {"method": "/grpc.health.v1.Health/Check", "code": "OK"}
        return REGISTRY.get_sample_value("webhook_rpc_requests_total", labels) or 0

    before = checks()
    answers = await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert checks() - before <= 6  # three services, and a second may start in between


async def test_a_gateway_is_ready_once_ingest_has_answered_and_stays_so() -> None:
    services = Services()
    async with contextlib.AsyncExitStack() as stack:
        async with services.serving():
            url = await stack.enter_async_context(gateway(services.port))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
            assert (await client.get("/readyz")).status_code == 200

        async def degraded() -> dict[str, str]:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (200, "ready")
            found: dict[str, str] = answer.json().get("degraded", {})
            return found

        found = await wait_until(degraded)
        assert found == dict.fromkeys(("ingest", "delivery", "analytics"), "NotServing: UNAVAILABLE")
        assert_try_again((await post(client))[0])


async def test_a_gateway_that_never_reached_ingest_is_not_ready(free_port: int) -> None:
    async with gateway(free_port) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert answer.json()["failures"] == {"ingest": "NotServing: UNAVAILABLE"}
