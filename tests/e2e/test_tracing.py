"""Traces of the whole service, as a collector receives them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio

from dev.harness import collector as collectors
from dev.harness import stack as stacks
from dev.harness.api import TLS, Api
from dev.harness.collector import Collector
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.e2e.conftest import ENVIRONMENT

CALLERS_SPAN = "00f067aa0ba902b7"
TOKEN = "token-of-the-collector"
WEBHOOK = "POST /api/v1/webhooks/ingest/{subscription_id}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with collectors.collecting() as collecting:
        yield collecting


@pytest.fixture(scope="module")
def traced(collector: Collector, short_folder: Path) -> Iterator[Stack]:
    """A stack in which only callers decide what is traced."""
    environment = {
        **ENVIRONMENT,
        "LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=here",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "TRACING_TRUST_CALLERS": "true",
        "TRACING_TO_RECEIVERS": "true",
    }
    with stacks.running(short_folder / "traced", environment=environment) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def api(traced: Stack) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(base_url=traced.base_url, timeout=60, verify=TLS) as http:
        yield Api(http)


@pytest.fixture
def trace_id() -> str:
    return secrets.token_hex(16)


def header(trace_id: str, *, sampled: bool = True) -> str:
    return f"00-{trace_id}-{CALLERS_SPAN}-{'01' if sampled else '00'}"


async def test_a_webhook_is_one_trace_from_the_request_to_its_second_attempt(
    api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    receiver.script(500, 200)
    subscription_id = await api.subscribe(receiver.url("/hook?token=s3cret"))
    delivery_id = await api.sent(subscription_id, traceparent=header(trace_id))
    await api.until(delivery_id, "delivered", attempts=2)
    first, second = await collector.wait_for(trace_id, "webhook attempt", 2)
    (request,) = await collector.wait_for(trace_id, "POST")
    (accept,) = await collector.wait_for(trace_id, "webhook accept")

    assert (request.name, request.service, request.kind) == (WEBHOOK, "webhook-gateway", "SERVER")
    assert request.parent_id == CALLERS_SPAN
    assert request.attributes["http.route"] == WEBHOOK.removeprefix("POST ")
    assert request.attributes["http.response.status_code"] == 202
    assert (accept.service, accept.kind, accept.parent_id) == ("webhook-ingest", "PRODUCER", request.span_id)
    assert accept.attributes["webhook.subscription.id"] == subscription_id
    assert accept.seconds < request.seconds
    assert {first.service, second.service} == {"webhook-worker"}
    assert {first.parent_id, second.parent_id} == {accept.span_id}
    assert [span.attributes["webhook.attempt.number"] for span in (first, second)] == [1, 2]
    assert [span.attributes["http.response.status_code"] for span in (first, second)] == [500, 200]
    assert [span.attributes.get("error.type") for span in (first, second)] == ["http_5xx", None]
    assert [span.failed for span in (request, accept, first, second)] == [False, False, True, False]
    assert first.attributes["webhook.delivery.id"] == delivery_id
    assert 0 < first.attributes["webhook.attempt.waited_seconds"] < 60
    assert first.attributes["server.address"] == "127.0.0.1"
    assert "s3cret" not in repr(collector.spans)
    # The traceparent of each request names its attempt.
    sent = [received.headers["traceparent"] for received in receiver.requests]
    assert [text.split("-")[1:3] for text in sent] == [[trace_id, first.span_id], [trace_id, second.span_id]]
    assert not any("tracestate" in received.headers for received in receiver.requests)


async def test_processes_say_who_they_are(api: Api, collector: Collector, receiver: Receiver, trace_id: str) -> None:
    await api.sent(await api.subscribe(receiver.url()), traceparent=header(trace_id))
    await collector.wait_for(trace_id, "webhook attempt")
    worker = collector.resources["webhook-worker"]
    assert (worker["service.namespace"], worker["k8s.namespace.name"]) == ("webhook", "here")
    assert worker["service.version"]
    assert collector.metadata["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "sent", [None, "00-0-0-01", f"00-{'0' * 32}-{CALLERS_SPAN}-01", f"ff-{'a' * 32}-{CALLERS_SPAN}-01", "unsampled"]
)
async def test_an_unsampled_request_leaves_no_trace(
    sent: str | None, traced: Stack, api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    if sent == "unsampled":
        sent = header(trace_id, sampled=False)
    subscription_id = await api.subscribe(receiver.url())
    headers = {"traceparent": sent} if sent else {}
    delivery_id = await api.sent(subscription_id, b'{"payload": {}}', **headers)
    found = await api.until(delivery_id, "delivered")
    # Later spans are exported no sooner.
    marker = secrets.token_hex(16)
    await api.sent(subscription_id, traceparent=header(marker))
    await collector.wait_for(marker, count=3)
    assert not [span for span in collector.spans if found["event_id"] in span.attributes.values()]
    assert not collector.of(trace_id)
    assert "traceparent" not in receiver.requests[0].headers
    assert await stored(traced, found["event_id"]) is None


async def test_an_event_for_many_has_a_span_for_each_delivery(
    api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    event_type = f"type.{trace_id}"
    wanted = {await api.subscribe(receiver.url(), event_types=[event_type]) for _ in range(3)}
    answer = await api.http.post(
        "/api/v1/events",
        json={"event_type": event_type, "payload": {}},
        headers={"traceparent": header(trace_id)},
    )
    # The subscriptions of the other tests match every type.
    deliveries = answer.json()["deliveries"]
    assert deliveries >= 3
    attempts = await collector.wait_for(trace_id, "webhook attempt", deliveries)
    (accept,) = await collector.wait_for(trace_id, "webhook accept")
    assert accept.attributes["webhook.deliveries"] == deliveries
    assert {span.parent_id for span in attempts} == {accept.span_id}
    assert {span.attributes["webhook.subscription.id"] for span in attempts} >= wanted


async def test_events_that_share_calls_and_commits_keep_their_traces(
    api: Api, collector: Collector, receiver: Receiver
) -> None:
    subscription_id = await api.subscribe(receiver.url())
    trace_ids = [secrets.token_hex(16) for _ in range(60)]

    async def send(number: int) -> str:
        sampled = number % 2 == 0
        answer = await api.send(subscription_id, traceparent=header(trace_ids[number], sampled=sampled))
        event_id: str = answer.json()["event_id"]
        return event_id

    event_ids = await asyncio.gather(*(send(number) for number in range(len(trace_ids))))
    together = 0
    for trace_id, event_id in zip(trace_ids[::2], event_ids[::2], strict=True):
        (attempt,) = await collector.wait_for(trace_id, "webhook attempt")
        (accept,) = await collector.wait_for(trace_id, "webhook accept")
        assert accept.attributes["webhook.event.id"] == attempt.attributes["webhook.event.id"] == event_id
        assert attempt.parent_id == accept.span_id
        together = max(together, accept.attributes["messaging.batch.message_count"])
    assert together > 1
    assert not [span for trace_id in trace_ids[1::2] for span in collector.of(trace_id)]


async def test_trace_of_another_request_shows_the_calls_that_it_makes(
    api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    headers = {"traceparent": header(trace_id)}
    answer = await api.http.post("/api/v1/subscriptions", json={"target_url": receiver.url()}, headers=headers)
    assert answer.status_code == 201
    (request,) = await collector.wait_for(trace_id, "POST /api/v1/subscriptions")
    (call,) = await collector.wait_for(trace_id, "webhook.v1.SubscriptionService/CreateSubscription")
    assert (call.service, call.kind, call.parent_id) == ("webhook-ingest", "SERVER", request.span_id)
    assert call.attributes["rpc.response.status_code"] == "OK"


async def test_an_error_is_in_the_span_of_its_call(api: Api, collector: Collector, trace_id: str) -> None:
    headers = {"traceparent": header(trace_id)}
    unknown = "01890a5d-ac96-774b-8cce-b302099a8057"
    assert (await api.http.get(f"/api/v1/webhooks/deliveries/{unknown}", headers=headers)).status_code == 404
    (call,) = await collector.wait_for(trace_id, "webhook.v1.DeliveryService/GetDelivery")
    assert (call.attributes["error.type"], call.failed) == ("NOT_FOUND", False)
    (request,) = await collector.wait_for(trace_id, "GET")
    assert request.attributes["http.response.status_code"] == 404
    assert unknown not in repr([call, request])


async def test_a_refused_webhook_says_why(api: Api, collector: Collector, trace_id: str) -> None:
    answer = await api.send("01890a5d-ac96-774b-8cce-b302099a8057", traceparent=header(trace_id))
    assert answer.status_code == 404
    (accept,) = await collector.wait_for(trace_id, "webhook accept")
    assert accept.attributes["error.type"] == "NOT_FOUND"


async def test_a_retry_by_hand_goes_on_in_the_trace_of_the_event(
    api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    delivery_id = await api.sent(await api.subscribe(receiver.url()), traceparent=header(trace_id))
    await api.until(delivery_id, "delivered")
    own = secrets.token_hex(16)
    path = f"/api/v1/webhooks/deliveries/{delivery_id}/retry"
    assert (await api.http.post(path, headers={"traceparent": header(own)})).status_code == 200
    attempts = await collector.wait_for(trace_id, "webhook attempt", 2)
    assert sorted(span.attributes["webhook.attempt.number"] for span in attempts) == [1, 2]
    (call,) = await collector.wait_for(own, "webhook.v1.DeliveryService/BatchRetryDeliveries")
    assert call.links == [trace_id]


async def test_a_replayed_webhook_is_marked_in_its_trace(
    api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    subscription_id = await api.subscribe(receiver.url())
    first = await api.sent(subscription_id, traceparent=header(secrets.token_hex(16)), idempotency_key=trace_id)
    assert await api.sent(subscription_id, traceparent=header(trace_id), idempotency_key=trace_id) == first
    (accept,) = await collector.wait_for(trace_id, "webhook accept")
    assert accept.attributes["webhook.repeated"] is True


async def test_lines_of_the_log_name_their_trace(
    traced: Stack, api: Api, collector: Collector, receiver: Receiver, trace_id: str
) -> None:
    await api.sent(await api.subscribe(receiver.url()), traceparent=header(trace_id))
    (attempt,) = await collector.wait_for(trace_id, "webhook attempt")
    log = (traced.data_dir / "logs/worker.log").read_text()
    (line,) = [line for line in log.splitlines() if f"trace_id={trace_id}" in line]
    assert f"span_id={attempt.span_id}" in line
    assert attempt.attributes["webhook.delivery.id"] in line


async def test_the_service_works_and_stops_in_time_without_a_collector(receiver: Receiver, short_folder: Path) -> None:
    environment = {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with stacks.running(short_folder / "unheard", environment=environment, processes="two") as running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=60) as http:
            unheard = Api(http)
            subscription_id = await unheard.subscribe(receiver.url())
            for _ in range(20):
                await unheard.until(await unheard.sent(subscription_id), "delivered")

            async def dropped() -> bool:
                port = running.ports["metrics"]["gateway"]
                text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                (line,) = [line for line in text.splitlines() if line.startswith("webhook_spans_dropped_total")]
                return float(line.split()[1]) > 0

            await wait_until(dropped, what="dropped spans")
            await unheard.until(await unheard.sent(subscription_id), "delivered")
        assert running.stop() == 0
        log = (running.data_dir / "logs/front.log").read_text()
    assert "does not stop" not in running.output
    assert log.count("Failed to export traces") == 1
    # By default, receivers get no traceparent.
    assert not any("traceparent" in received.headers for received in receiver.requests)


async def test_a_callers_trace_ends_at_the_gateway_when_tracing_is_off(
    stack: Stack, receiver: Receiver, trace_id: str
) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        off = Api(http)
        delivery_id = await off.sent(await off.subscribe(receiver.url()), traceparent=header(trace_id))
        found = await off.until(delivery_id, "delivered")
    assert "traceparent" not in receiver.requests[0].headers
    assert await stored(stack, found["event_id"]) is None


async def stored(stack: Stack, event_id: str) -> str | None:
    """Return the stored context of an event."""
    url = json.loads((stack.data_dir / "ports.json").read_text())["database_url"]
    connection = await asyncpg.connect(url)
    try:
        found: str | None = await connection.fetchval("SELECT traceparent FROM webhook_events WHERE id = $1", event_id)
    finally:
        await connection.close()
    return found
