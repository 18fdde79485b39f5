"""From a stored event to the receiver, and what is recorded about it."""

import asyncio
import base64
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from email.utils import formatdate
from itertools import pairwise
from uuid import UUID

import grpc
import msgspec
import pytest
import standardwebhooks

from dev.embedded import ports
from dev.harness.keys import ENCRYPTION_KEY
from dev.harness.receiver import Receiver, Reply
from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc, subscriptions_pb2, subscriptions_pb2_grpc
from services.delivery.destinations.http.request import USER_AGENT
from services.delivery.dispatcher import sweeper
from services.delivery.worker.claims import Claim
from services.delivery.worker.store import WorkerStore
from services.ingest import __main__ as ingest
from services.ingest.settings import IngestSettings
from services.platform import clock
from services.platform.grpc import client
from services.platform.process import lifecycle
from tests.delivery import sending
from tests.delivery.conftest import Shared
from tests.delivery.world import PATIENT, Counted, World, numbers, outcomes

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
PAYLOAD = b'{ "z": 1.50, "a": "\xc3\xa9\\u00e9", "n": 1e400 }'


@contextlib.asynccontextmanager
async def ingesting(world: World) -> AsyncIterator[grpc.aio.Channel]:
    """The real ingest service; a channel to it."""
    process, port = lifecycle.Process("ingest"), ports.free_port()
    settings = IngestSettings(
        database_url=world.database_url,
        redis_url=world.redis_url,
        grpc_port=port,
        encryption_keys=ENCRYPTION_KEY,
    )
    async with ingest.serve(process, settings), client.channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await process.cancel_all()


# -- the main path --


async def test_accepted_webhook_is_delivered_with_its_exact_bytes_and_headers(world: World, receiver: Receiver) -> None:
    async with ingesting(world) as channel, world.running():
        subscriptions = subscriptions_pb2_grpc.SubscriptionServiceStub(channel)
        wanted = subscriptions_pb2.CreateSubscriptionRequest(
            spec=subscriptions_pb2.SubscriptionSpec(target_url=receiver.url(), secret_key=SECRET)
        )
        made = await subscriptions.CreateSubscription(wanted)
        item = ingest_pb2.IngestItem(
            subscription_id=made.subscription.id,
            event_type="order.created",
            content_type="application/json; charset=utf-8",
            payload=PAYLOAD,
        )
        answer = await ingest_pb2_grpc.IngestServiceStub(channel).Ingest(ingest_pb2.IngestRequest(item=item))
        (request,) = await receiver.wait_for(1)
        row = await world.in_state(UUID(answer.accepted.delivery_id))
    assert row["status"] == "delivered"
    assert request.body == PAYLOAD
    assert request.method == "POST"
    headers = dict(request.headers)
    standardwebhooks.Webhook(SECRET).verify(request.body, headers)
    assert abs(int(headers.pop("webhook-timestamp")) - time.time()) < 30
    assert headers.pop("webhook-signature").startswith("v1,")
    assert headers.pop("X-Hub-Signature-256").startswith("sha256=")
    assert headers == {
        "Host": f"127.0.0.1:{receiver.port}",
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(PAYLOAD)),
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "X-Webhook-Attempt": "1",
        "X-Webhook-Delivery-Id": answer.accepted.delivery_id,
        "X-Webhook-Event-Id": answer.accepted.event_id,
        "webhook-id": answer.accepted.delivery_id,
        "X-Event-Type": "order.created",
    }


async def test_a_success_is_one_final_attempt(shared: Shared, receiver: Receiver) -> None:
    receiver.script(then=Reply(status=201, body="sch\u00f6n".encode(), delay_seconds=0.1))
    subscription = await shared.world.subscription(receiver.url())
    delivery_id = await shared.world.deliver(subscription)
    row = await shared.world.in_state(delivery_id)
    assert (row["status"], row["reason"], row["attempt_count"]) == ("delivered", None, 1)
    assert row["claim_token"] is None
    assert row["completed_at"] >= row["created_at"]
    (attempt,) = await shared.world.attempts(delivery_id)
    assert (attempt["number"], attempt["outcome"], attempt["status_code"]) == (1, "success", 201)
    assert (attempt["error_message"], attempt["response_body"], attempt["final"]) == (None, "sch\u00f6n", True)
    assert 100 <= attempt["duration_ms"] < 30_000
    assert row["created_at"] <= attempt["started_at"] <= attempt["recorded_at"]


# -- retries --


async def test_a_large_payload_has_more_time(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "BYTES_PER_SECOND", clock.FREE_BYTES / 20)  # 20 s more, also for a busy machine
    receiver.script(then=Reply(delay_seconds=1.5))
    subscription = await world.subscription(receiver.url())
    small = await world.deliver(subscription, b"1")
    large = await world.deliver(subscription, b"1" * 2 * clock.FREE_BYTES)
    async with world.running(delivery_timeout_seconds=1.0, retry_base_seconds=600.0):
        await world.in_state(small, "scheduled")
        await world.in_state(large, "delivered")
    assert outcomes(await world.attempts(small)) == ["timeout"]


async def test_a_worker_with_a_clock_an_hour_behind_uses_the_clock_of_postgres(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, claim = 3600, WorkerStore.claim

    async def ahead(store: WorkerStore, delivery_ids: Sequence[UUID]) -> list[Claim]:
        """What Postgres would return if its clock were an hour ahead of this machine's."""
        claims = await claim(store, delivery_ids)
        return [msgspec.structs.replace(each, claimed_at=each.claimed_at + timedelta(seconds=hour)) for each in claims]

    monkeypatch.setattr(WorkerStore, "claim", ahead)
    began = time.time()
    until = formatdate(began + hour + 600, usegmt=True)
    receiver.script(then=Reply(status=503, headers={"Retry-After": until}))
    delivery_id = await world.deliver(await world.subscription(receiver.url(), secret_key=SECRET))
    async with world.running():
        row = await world.in_state(delivery_id, "scheduled")
    (request,) = receiver.requests
    assert abs(int(request.headers["webhook-timestamp"]) - began - hour) < 60
    (attempt,) = await world.attempts(delivery_id)
    assert abs(attempt["started_at"].timestamp() - began - hour) < 60
    # Ten minutes from now by that clock, and not an hour more.
    assert 500 < row["due_at"].timestamp() - began < 700


async def test_attempt_log_shows_two_failures_and_the_success(shared: Shared, receiver: Receiver) -> None:
    receiver.script(
        Reply(status=500, body=b"first"), Reply(status=404, body=b"second"), Reply(status=204, body=b""), path="/hook"
    )
    delivery_id = await shared.world.deliver(await shared.world.subscription(receiver.url(), secret_key="s"))
    row = await shared.world.in_state(delivery_id)
    assert (row["status"], row["attempt_count"]) == ("delivered", 3)
    attempts = await shared.world.attempts(delivery_id)
    assert numbers(attempts) == [1, 2, 3]
    assert [attempt["status_code"] for attempt in attempts] == [500, 404, 204]
    assert outcomes(attempts) == ["http_5xx", "http_4xx", "success"]
    assert [attempt["response_body"] for attempt in attempts] == ["first", "second", ""]
    assert [attempt["error_message"] for attempt in attempts] == [
        "the receiver responded with 500", "the receiver responded with 404", None,
    ]  # fmt: skip
    assert [attempt["final"] for attempt in attempts] == [False, False, True]
    requests = receiver.requests
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert [request.body for request in requests] == [b"{}"] * 3


async def test_retries_keep_their_schedule_and_do_not_wait_for_a_look_at_the_whole_queue(
    shared: Shared, receiver: Receiver
) -> None:
    receiver.script(500, 500, 500)
    delivery_id = await shared.world.deliver(await shared.world.subscription(receiver.url()))
    await shared.world.in_state(delivery_id)
    times = [request.monotonic for request in receiver.requests]
    waits = [later - earlier for earlier, later in pairwise(times)]
    lags = [wait - delay for wait, delay in zip(waits, [0.2, 0.4, 0.8], strict=True)]
    assert all(lag >= -0.1 * delay for lag, delay in zip(lags, [0.2, 0.4, 0.8], strict=True))
    # The best of three, because the machine may be busy.
    assert min(lags) <= sweeper.PASS_SECONDS / 4


@pytest.mark.parametrize("limit", [0, 2])
async def test_delivery_fails_after_the_last_retry(world: World, receiver: Receiver, limit: int) -> None:
    receiver.script(then=503)
    ended = Counted("webhook_deliveries_ended_total", status="failed")
    async with world.running(retry_limit=limit, retry_base_seconds=0.05):
        delivery_id = await world.deliver(await world.subscription(receiver.url()))
        row = await world.in_state(delivery_id)
        assert (row["status"], row["reason"]) == ("failed", "retries_exhausted")
        assert row["attempt_count"] == limit + 1
        attempts = await world.attempts(delivery_id)
        assert numbers(attempts) == list(range(1, limit + 2))
        assert [attempt["final"] for attempt in attempts] == [False] * limit + [True]
        await wait_until(lambda: ended() == 1, what="the end to be counted")
    assert len(receiver.requests) == limit + 1


# -- stored responses --


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"", ""),
        (b"x" * 4094 + "\U0001f600".encode(), "x" * 4094),
        (b"x" * 4092 + "\U0001f600".encode(), "x" * 4092 + "\U0001f600"),
        (b"x" * 4092 + b"\x00" + b"y" * 100_000, "x" * 4092 + "\ufffdy"),
    ],
    ids=["empty", "cut-character", "whole-character", "large"],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_the_first_4_kib_of_a_response_are_stored_as_valid_text(
    shared: Shared, receiver: Receiver, status: int, body: bytes, stored: str
) -> None:
    receiver.script(Reply(status=status, body=body))
    delivery_id = await shared.world.deliver(await shared.world.subscription(receiver.url()))
    await shared.world.in_state(delivery_id)
    assert (await shared.world.attempts(delivery_id))[0]["response_body"] == stored


# -- kept connections --


async def test_a_dead_kept_connection_is_tried_again_at_once_and_each_attempt_has_its_number(shared: Shared) -> None:
    """Claimed as number 1, repeated as number 2, failed; the retry is number 3."""

    async def answer(connection: sending.Connection) -> None:
        await connection.request()
        requests = sum(len(each.heads) for each in server.connections)
        status = b"503 Unavailable" if requests == 3 else b"200 OK"
        await connection.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
        await connection.request()

    async with sending.serving(answer) as server:
        subscription = await shared.world.subscription(server.url())
        await shared.world.in_state(await shared.world.deliver(subscription))
        delivery_id = await shared.world.deliver(subscription)
        row = await shared.world.in_state(delivery_id)
        attempts = await shared.world.attempts(delivery_id)
        heads = [head for connection in server.connections for head in connection.heads]
    assert outcomes(attempts) == ["connection_lost", "http_5xx", "success"]
    assert numbers(attempts) == [1, 2, 3]
    of_it = [head for head in heads if str(delivery_id).encode() in head]
    told = [number for head in of_it for number in re.findall(rb"X-Webhook-Attempt: (\d+)\r\n", head)]
    assert sorted(told) == [b"1", b"2", b"3"], "receivers get the number that the attempt has"
    assert (row["status"], row["attempt_count"]) == ("delivered", 3)
    assert [attempt["final"] for attempt in attempts] == [False, False, True]
    # Under one claim: a retry would have been recorded by itself.
    assert attempts[0]["recorded_at"] == attempts[1]["recorded_at"] < attempts[2]["recorded_at"]


# -- concurrency and payloads --


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_requests_in_flight_never_exceed_the_concurrency(
    world: World, receiver: Receiver, concurrency: int
) -> None:
    # One subscription leaves slots to others.
    own = max(1, concurrency // 2)
    receiver.script(*[Reply(hang=True)] * own)
    async with world.running(worker_concurrency=concurrency, **PATIENT):
        subscription = await world.subscription(receiver.url())
        await world.deliver_many(subscription, 10 + 5 * concurrency)
        await wait_until(lambda: receiver.in_flight >= own, what="the requests that hang")
        receiver.release()
        await world.all_in(subscription, "delivered", 10 + 5 * concurrency)
    assert own <= receiver.max_in_flight <= concurrency


@pytest.mark.parametrize("size", [0, 64 << 10, (64 << 10) + 1, 1 << 20])
async def test_a_payload_of_any_size_arrives_whole(shared: Shared, receiver: Receiver, size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    delivery_id = await shared.world.deliver(
        await shared.world.subscription(receiver.url()), payload, content_type="application/octet-stream"
    )
    assert (await shared.world.in_state(delivery_id))["status"] == "delivered"
    assert [request.body for request in receiver.requests] == [payload]


async def test_large_payloads_beyond_the_budget_take_turns(world: World, receiver: Receiver) -> None:
    receiver.script(then=Reply(hang=True))
    async with world.running(large_payload_budget_bytes=150_000, **PATIENT):
        subscription = await world.subscription(receiver.url())
        for _ in range(6):
            await world.deliver(subscription, b"x" * 70_000)
        await wait_until(lambda: receiver.in_flight == 2, what="two to be sent")
        await asyncio.sleep(0.2)
        receiver.release()
        await world.all_in(subscription, "delivered", 6)
    assert receiver.max_in_flight == 2
