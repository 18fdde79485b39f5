"""Refused events are counted for their tenants, and added by analytics: each once, and within bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from dev.harness.api import TLS
from dev.harness.waiting import wait_until
from protos.webhook.v1 import analytics_pb2_grpc, ingest_pb2
from services.gateway import app
from services.gateway.accept import refusals as refusals_module
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.refusals import Refusals, flushed
from services.gateway.accept.routes import IngestTokens
from services.gateway.settings import GatewaySettings
from services.gateway.web.backends import Backends, Channels
from services.gateway.web.callers import Bucket, Caller
from services.gateway.web.retries import Retries
from services.platform import errors, ids
from services.platform.auth import keys
from services.platform.auth.roles import Role
from services.platform.clock import Clock
from services.platform.errors import ErrorReason
from services.platform.grpc import client as grpc_client
from services.platform.grpc import errors as grpc_errors
from services.platform.process import probes
from services.platform.process.lifecycle import Process
from tests.gateway.conftest import MAX_PAYLOAD_BYTES, gateway
from tests.gateway.fakes import TOKEN, Services

SUBSCRIPTION = str(ids.new())
WEBHOOK = f"/api/v1/webhooks/ingest/{SUBSCRIPTION}"
KEY = {"authorization": "Bearer whk_key"}
MISMATCH, NOT_FOUND, INVALID = ErrorReason.SIGNATURE_MISMATCH, ErrorReason.NOT_FOUND, ErrorReason.INVALID_ARGUMENT
Counts = dict[tuple[str, str, str], int]


@pytest.fixture
def refusals() -> Refusals:
    """What the gateway of a test counts."""
    return Refusals()


@pytest_asyncio.fixture(loop_scope="session")
async def stub(services: Services) -> AsyncIterator[Any]:
    """Analytics, as a gateway calls it."""
    async with grpc_client.channel(f"127.0.0.1:{services.port}") as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


@pytest_asyncio.fixture(loop_scope="session")
async def client(services: Services, refusals: Refusals) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that counts there."""
    async with (
        gateway(services.port, refusals=refusals) as url,
        httpx.AsyncClient(base_url=url, timeout=60, verify=TLS) as opened,
    ):
        yield opened


def added(services: Services) -> Counts:
    """Return what was added: the number of events by tenant, subscription and reason."""
    counts: Counts = {}
    for count in services.refused:
        key = (count.tenant_id, count.subscription_id, count.reason)
        counts[key] = counts.get(key, 0) + count.events
    return counts


def uncounted() -> float:
    return REGISTRY.get_sample_value("webhook_http_refusals_uncounted_total") or 0.0


def refuse(error: errors.WebhookError) -> Any:
    """Return what has ingest refuse every event."""
    code = grpc_errors.to_status(error).code
    refused = ingest_pb2.ItemError(code=code, message=error.message, reason=error.reason)
    return lambda _item: ingest_pb2.IngestResult(error=refused)


async def test_refused_events_are_counted_by_tenant_subscription_and_reason(
    client: httpx.AsyncClient, services: Services, refusals: Refusals, stub: Any
) -> None:
    async def post(path: str, status: int, **parts: Any) -> None:
        answer = await client.post(path, **parts)
        assert answer.status_code == status, answer.text

    large = b"x" * (MAX_PAYLOAD_BYTES + 1)
    await post(WEBHOOK, 202, json={"payload": 1})
    await post(WEBHOOK.replace(SUBSCRIPTION, SUBSCRIPTION.upper()), 413, content=large)
    await post(WEBHOOK, 413, content=large, headers={"x-tenant": "acme"})
    await post(WEBHOOK.replace(SUBSCRIPTION, "no-id"), 422, json={})
    await post("/api/v1/events", 422, json={"payload": 1, "event_type": "?"})
    await post("/api/v1/events/batch", 415, json={"events": []}, headers={"content-encoding": "gzip"})
    two = [{"event_type": "?", "payload": 1}, {"event_type": "a", "payload": 1}, {"event_type": "?", "payload": 1}]
    await post("/api/v1/events/batch", 200, json={"events": two})
    await post("/api/v1/cloudevents", 415, json={}, headers={"content-type": "application/cloudevents+xml"})
    services.result = refuse(errors.SignatureMismatch("no"))
    for _ in range(3):
        await post(WEBHOOK, 401, json={"payload": 1})

    await refusals.flush(stub)

    assert added(services) == {
        ("default", SUBSCRIPTION, "PAYLOAD_TOO_LARGE"): 1,
        ("acme", SUBSCRIPTION, "PAYLOAD_TOO_LARGE"): 1,
        ("default", "", "INVALID_ARGUMENT"): 4,
        ("default", "", "UNSUPPORTED_MEDIA_TYPE"): 2,
        ("default", SUBSCRIPTION, "SIGNATURE_MISMATCH"): 3,
    }
    await refusals.flush(stub)
    assert sum(added(services).values()) == 11


async def test_what_is_not_found_is_counted_without_a_subscription(
    client: httpx.AsyncClient, services: Services, refusals: Refusals, stub: Any
) -> None:
    services.result = refuse(errors.NotFound("no such subscription"))
    for _ in range(3):
        assert (await client.post(f"/api/v1/webhooks/ingest/{ids.new()}", json={})).status_code == 404
    await refusals.flush(stub)
    assert added(services) == {("default", "", "NOT_FOUND"): 3}


class _Callers:
    """Callers of whom one shows a key."""

    required = True

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def known(self, header: bytes | None) -> Caller | None:
        return None if header is None else self._caller

    async def find(self, _header: bytes | None) -> Caller:
        raise keys.missing()


@contextlib.asynccontextmanager
async def with_keys(services: Services, refusals: Refusals, caller: Caller) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application that needs keys, and yield a client without one."""
    async with grpc_client.channel(f"127.0.0.1:{services.port}") as channel:
        channels = Channels(ingest=channel, delivery=channel, pulling=channel, watching=channel, analytics=channel)
        backends = Backends.over(channels, timeout_seconds=60)
        retries = Retries(60.0)
        application = app.create(
            backends,
            IngestBatches(backends.ingest, retries, GatewaySettings()),
            _Callers(caller),  # type: ignore[arg-type]
            IngestTokens(backends.subscriptions, retries),
            probes.Health(),
            max_payload_bytes=MAX_PAYLOAD_BYTES,
            serve_operations=False,
            refusals=refusals,
        )
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
            yield opened


async def test_requests_of_nobody_are_not_counted(services: Services, refusals: Refusals, stub: Any) -> None:
    async with with_keys(services, refusals, Caller(tenant_id="acme", role=Role.INGEST, key_id="k")) as client:
        assert (await client.post(WEBHOOK, json={})).status_code == 401
        wrong = f"{WEBHOOK}/{TOKEN[:-1]}{'a' if TOKEN[-1] != 'a' else 'b'}"
        assert (await client.post(wrong, json={})).status_code == 404
        assert (await client.post(f"{WEBHOOK}/{TOKEN}", content=b"x", headers={"x-event-type": "?"})).status_code == 422

    await refusals.flush(stub)

    # An ingest that does not tell the tenant of a token has its subscription stand for it.
    assert added(services) == {(SUBSCRIPTION, SUBSCRIPTION, "INVALID_ARGUMENT"): 1}


async def test_what_a_key_may_not_do_is_counted(services: Services, refusals: Refusals, stub: Any) -> None:
    async with with_keys(services, refusals, Caller(tenant_id="acme", role=Role.READ, key_id="k")) as client:
        assert (await client.post("/api/v1/events", json={}, headers=KEY)).status_code == 403
    await refusals.flush(stub)
    assert added(services) == {("acme", "", "ROLE_INSUFFICIENT"): 1}


async def test_events_above_the_rate_of_a_key_are_counted_and_other_requests_are_not(
    services: Services, refusals: Refusals, stub: Any
) -> None:
    limited = Caller(tenant_id="acme", role=Role.WRITE, key_id="k", bucket=Bucket(0.001))
    async with with_keys(services, refusals, limited) as client:
        assert (await client.post(WEBHOOK, json={}, headers=KEY)).status_code == 202
        for path in (WEBHOOK, "/api/v1/events", "/api/v1/events/batch", "/api/v1/cloudevents", "/api/v1/subscriptions"):
            assert (await client.post(path, json={}, headers=KEY)).status_code == 429
        assert (await client.get("/api/v1/events/batch", headers=KEY)).status_code == 429
    await refusals.flush(stub)
    assert added(services) == {("acme", SUBSCRIPTION, "RATE_LIMITED"): 1, ("acme", "", "RATE_LIMITED"): 3}


async def test_counts_are_kept_and_merged_while_analytics_is_away(
    services: Services, refusals: Refusals, stub: Any
) -> None:
    services.failure = errors.Unavailable("no")
    for _ in range(3):
        refusals.note("acme", MISMATCH, SUBSCRIPTION)
        with pytest.raises(errors.Unavailable):
            await refusals.flush(stub)
    services.failure = None

    await refusals.flush(stub)

    (count,) = services.refused
    assert (count.tenant_id, count.subscription_id, count.reason, count.events) == ("acme", SUBSCRIPTION, MISMATCH, 3)


async def test_counts_of_an_outage_come_into_the_hours_they_belong_to(
    services: Services, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock("ingest")
    refusals = Refusals(clock)
    for now in (3_599.5, 3_600.0, 3_700.0):
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        refusals.note("acme", MISMATCH)
    await refusals.flush(stub)
    found = [(count.events, count.last_at.seconds + count.last_at.nanos / 1e9) for count in services.refused]
    assert found == [(1, 3_599.5), (2, 3_700.0)]


async def test_what_is_refused_during_a_flush_is_added_by_the_next(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def called(_request: object) -> None:
        entered.set()
        await go_on.wait()

    monkeypatch.setattr(services, "_called", called)
    refusals.note("acme", MISMATCH)
    flushing = asyncio.create_task(refusals.flush(stub))
    await entered.wait()
    refusals.note("acme", MISMATCH)
    refusals.note("other", MISMATCH)
    # Waits for the one in progress, so that nothing is sent twice.
    again = asyncio.create_task(refusals.flush(stub))
    go_on.set()
    await asyncio.gather(flushing, again)

    assert [(count.tenant_id, count.events) for count in services.refused] == [("acme", 1), ("acme", 1), ("other", 1)]


async def test_a_flush_is_cut_into_calls_that_analytics_takes(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "MAX_SENT", 2)
    for number in range(5):
        refusals.note(f"tenant-{number}", MISMATCH)
    await refusals.flush(stub)
    assert [len(request.counts) for request in services.requests] == [2, 2, 1]
    assert len(added(services)) == 5


async def test_counts_that_analytics_does_not_take_are_dropped_and_said(
    services: Services, refusals: Refusals, stub: Any
) -> None:
    before = uncounted()
    refusals.note("acme", MISMATCH)
    refusals.note("acme", MISMATCH)
    services.failures = [errors.InvalidArgument.field("reason", "must be known")]
    await refusals.flush(stub)
    await refusals.flush(stub)
    assert (services.refused, uncounted() - before) == ([], 2)


async def test_made_up_ids_fill_neither_the_memory_nor_the_place_of_other_tenants(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "MAX_KEYS_OF_TENANT", 20)
    for _ in range(100):
        refusals.note("acme", INVALID, str(ids.new()))
    refusals.note("acme", MISMATCH)
    refusals.note("other", MISMATCH, SUBSCRIPTION)

    await refusals.flush(stub)

    found = added(services)
    assert len(found) == 13  # ten ids, and the others as one
    assert found["acme", "", INVALID] == 90
    assert found["acme", "", MISMATCH] == found["other", SUBSCRIPTION, MISMATCH] == 1
    # There is room again.
    refusals.note("acme", INVALID, SUBSCRIPTION)
    await refusals.flush(stub)
    assert added(services)["acme", SUBSCRIPTION, INVALID] == 1


async def test_the_keys_of_all_tenants_are_bounded(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "MAX_KEYS", 10)
    before = uncounted()
    for number in range(20):
        refusals.note(f"tenant-{number}", MISMATCH, SUBSCRIPTION)
    refusals.note("tenant-0", MISMATCH, SUBSCRIPTION)

    await refusals.flush(stub)

    found = added(services)
    assert [bool(subscription_id) for _, subscription_id, _ in found] == [True] * 5 + [False] * 5
    assert (found["tenant-0", SUBSCRIPTION, MISMATCH], uncounted() - before) == (2, 10)


async def test_a_gateway_flushes_every_few_seconds_and_as_it_ends(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "INTERVAL_SECONDS", 0.01)
    process = Process("gateway")
    async with flushed(process, refusals, stub):
        refusals.note("acme", MISMATCH)
        await wait_until(lambda: bool(services.refused), what="the first flush")
        services.failure = errors.Unavailable("no")
        refusals.note("acme", NOT_FOUND)
        await wait_until(lambda: len(services.requests) > 2, what="a flush that fails")
        services.failure = None
        await wait_until(lambda: len(services.refused) > 1, what="a flush after one that failed")
        monkeypatch.setattr(refusals_module, "INTERVAL_SECONDS", 3600.0)
    async with flushed(process, refusals, stub):
        await asyncio.sleep(0)
        refusals.note("acme", INVALID)
    assert [(count.reason, count.events) for count in services.refused] == [
        (MISMATCH, 1),
        (NOT_FOUND, 1),
        (INVALID, 1),
    ]
    assert not process.failed


async def test_a_gateway_ends_though_analytics_is_away(
    services: Services, refusals: Refusals, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "LAST_SECONDS", 0.05)
    services.delay_seconds = 0.2
    async with flushed(Process("gateway"), refusals, stub):
        refusals.note("acme", MISMATCH)
    services.delay_seconds = 0.0
    await refusals.flush(stub)
    assert sum(count.events for count in services.refused) >= 1
