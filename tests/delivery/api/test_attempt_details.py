"""What explains an attempt: what was sent and answered, where, how long it took, who asked, and who may see it."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from dev.harness.keys import vault
from dev.harness.receiver import Receiver, Reply
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api.service import DeliveryService
from services.delivery.destinations import details
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.details import MAX_HEADER_BYTES, MAX_VALUE_CHARACTERS, Details, Phase, Trail
from services.delivery.destinations.http.sender import HttpSender
from services.domain.egress.policy import Policy
from services.domain.states import DeliveryStatus
from services.platform import ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity, Portal
from services.platform.auth.roles import PortalCapability, Role
from tests.delivery import sending
from tests.delivery.conftest import Shared
from tests.delivery.sending import post
from tests.delivery.world import World

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
PASSWORD = "Bearer of-somebody-else"
# No retry while the test looks.
FAR = [600.0]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def ended(shared: Shared, delivery_id: UUID, *statuses: str) -> pb.Delivery:
    """Return a delivery with its attempts once it has a status."""
    await shared.world.in_state(delivery_id, *statuses)
    return (await shared.client.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id)))).delivery


def names(headers: Any) -> list[str]:
    return [header.name for header in headers]


def values(headers: Any) -> dict[str, str]:
    return {header.name: header.value for header in headers}


def phases(attempt: pb.Attempt) -> list[str]:
    return [phase.name for phase in attempt.details.phases]


# -- what is recorded --


async def test_an_attempt_that_failed_has_what_was_sent_and_what_was_answered(
    shared: Shared, receiver: Receiver
) -> None:
    receiver.script(then=Reply(status=500, headers={"X-Reason": "no", "Set-Cookie": "id=secret-of-the-receiver"}))
    subscription = await shared.world.subscription(receiver.url(), secret_key=SECRET, delays_seconds=FAR)
    await shared.world.pool.execute(
        "UPDATE subscriptions SET sealed_headers = $2 WHERE id = $1",
        subscription,
        vault().seal_headers(subscription, {"Authorization": PASSWORD}),
    )
    delivery_id = await shared.world.deliver(subscription, b"[1]", event_type="order.created")
    found = await ended(shared, delivery_id, "scheduled")
    (request,) = receiver.requests
    attempt = found.attempts[0]
    sent = values(attempt.details.request_headers)
    # In the order and the spelling in which the receiver got them.
    assert names(attempt.details.request_headers) == list(request.headers)
    assert sent.pop("Authorization") == "***"
    assert request.headers["Authorization"] == PASSWORD
    assert sent == {name: value for name, value in request.headers.items() if name != "Authorization"}
    assert {"webhook-signature", "X-Hub-Signature-256", "Content-Length", "Host"} <= sent.keys()
    received = values(attempt.details.response_headers)
    assert (received["x-reason"], received["set-cookie"]) == ("no", "***")
    assert (attempt.details.address, attempt.details.connection_reused) == ("127.0.0.1", False)
    assert phases(attempt)[-3:] == ["connect", "first_byte", "body"]
    assert all(phase.duration_ms >= 0 for phase in attempt.details.phases)
    assert not attempt.details.headers_cut
    stored = (await shared.world.attempts(delivery_id))[0]["details"]
    assert PASSWORD not in stored
    assert "secret-of-the-receiver" not in stored


@pytest.mark.parametrize(
    ("setting", "recorded"), [("none", [False, False]), ("failures", [True, False]), ("all", [True, True])]
)
async def test_the_setting_says_of_which_attempts_details_are_recorded(
    world: World, receiver: Receiver, setting: str, recorded: list[bool]
) -> None:
    receiver.script(Reply(status=503))
    delivery_id = await world.deliver(await world.subscription(receiver.url()))
    async with world.running(record_attempt_details=setting) as client:
        await world.in_state(delivery_id, "delivered")
        found = (await client.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id)))).delivery
    assert [attempt.HasField("details") for attempt in found.attempts] == recorded
    assert [row["details"] is not None for row in await world.attempts(delivery_id)] == recorded


async def test_a_test_event_has_its_details_whatever_the_setting(world: World, receiver: Receiver) -> None:
    subscription = await world.subscription(receiver.url())
    async with world.running(record_attempt_details="none") as client:
        request = pb.TestSubscriptionRequest(subscription_id=str(subscription))
        attempt = (await client.TestSubscription(request, timeout=60)).attempt
    (seen,) = receiver.requests
    assert values(attempt.details.request_headers) == dict(seen.headers)
    assert (attempt.details.address, attempt.actor) == ("127.0.0.1", "anonymous")


async def test_an_attempt_that_sent_nothing_says_how_far_it_came(shared: Shared) -> None:
    denied, refused = [
        await shared.world.deliver(await shared.world.subscription(url, delays_seconds=FAR))
        for url in ("http://10.0.0.1/", "http://127.0.0.1:9/")
    ]
    found = (await ended(shared, denied, "scheduled")).attempts[0]
    assert (found.error.kind, phases(found), found.details.address) == ("egress_denied", ["dns"], "10.0.0.1")
    assert list(found.details.request_headers) == []
    found = (await ended(shared, refused, "scheduled")).attempts[0]
    assert (found.error.kind, phases(found)[-1], list(found.details.request_headers)) == ("connect", "connect", [])


async def test_a_reused_connection_has_no_phases_before_the_request(sender: HttpSender, receiver: Receiver) -> None:
    for reused in (False, True):
        trail = Trail()
        await sender.send(post(receiver.url()), timeout_seconds=30, trail=trail)
        found = details.decoded(trail.encoded())
        assert found.reused is reused
        assert found.address == "127.0.0.1"
        assert list(found.phases)[-2:] == ["first_byte", "body"]
        assert ("connect" in found.phases) is not reused


async def test_an_interim_response_leaves_no_headers(sender: HttpSender) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with sending.serving(
        sending.answering(interim + b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        trail = Trail()
        await sender.send(post(server.url()), timeout_seconds=30, trail=trail)
    assert [header for header in details.decoded(trail.encoded()).response_headers if header[0] in {"link", "a"}] == [
        ("a", "b")
    ]


# -- what is bounded and masked --


def test_headers_are_bounded_printable_and_masked() -> None:
    trail = Trail()
    trail.sent = lambda: [("X-Own", "password"), ("X-Long", "x" * 10_000)]
    trail.unshown = {"X-Own"}
    trail.response_headers = [
        (b"www-authenticate", b"Basic realm=inside"),
        (b"x-api-key", b"k"),
        (b"x-csrf-token", b"t"),
        (b"x-odd", b"a\x00\xe9\x1b[31m"),
        *((b"x-%d" % number, b"y" * 100) for number in range(1000)),
    ]
    found = details.decoded(trail.encoded())
    assert found.request_headers == [("X-Own", "***"), ("X-Long", "x" * MAX_VALUE_CHARACTERS + "…")]
    assert found.headers_cut
    assert [value for _, value in found.response_headers[:3]] == ["***"] * 3
    assert found.response_headers[3] == ("x-odd", "a\\x00é\\x1b[31m")
    for side in (found.request_headers, found.response_headers):
        assert sum(len(name.encode()) + len(value.encode()) for name, value in side) <= MAX_HEADER_BYTES
    assert len(trail.encoded().encode()) < 3 * MAX_HEADER_BYTES


@pytest.mark.parametrize("name", [b"location", b"content-location", b"link", b"refresh"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"https://login.example/a/b", "https://login.example/a/b"),
        (b"/b?token=t&x=1#f", "/b?***"),
        (b"https://user:pass@login.example/b#access_token=t", "https://***@login.example/b?***"),
        (b'</c?sig=s>; rel="next", </d#e>', '</c?***>; rel="next", </d?***>'),
        (b"5; url='https://a.example/?code=c'", "5; url='https://a.example/?***'"),
    ],
)
def test_the_address_that_a_receiver_points_to_is_kept_without_what_signs_somebody_in(
    name: bytes, value: bytes, shown: str
) -> None:
    trail = Trail()
    trail.response_headers = [(name, value)]
    assert details.decoded(trail.encoded()).response_headers == [(name.decode(), shown)]


# -- who asked --


async def test_an_attempt_says_who_asked_for_it(world: World, receiver: Receiver) -> None:
    receiver.script(Reply(status=500), Reply(status=500), Reply(status=500))
    delivery_id = await world.deliver(await world.subscription(receiver.url()))
    async with world.running(retry_base_seconds=600.0) as client:
        await world.in_state(delivery_id, "scheduled")
        request = pb.RetryDeliveryRequest(delivery_id=str(delivery_id))
        await client.RetryDelivery(request)
        await receiver.wait_for(2)
        await world.in_state(delivery_id, "scheduled")
        await world.put(delivery_id, status="pending")
        await receiver.wait_for(3)
        await world.in_state(delivery_id, "scheduled")
        await client.RetryDelivery(request)
        found = await ended(Shared(world=world, client=client), delivery_id, "delivered")
    assert [attempt.actor for attempt in found.attempts] == ["system", "anonymous", "system", "anonymous"]


async def test_a_delivery_that_a_job_opened_again_says_so(world: World, receiver: Receiver) -> None:
    delivery_id = await world.deliver(await world.subscription(receiver.url()), status="failed")
    async with world.pool.acquire() as connection, connection.transaction():
        opened = await world.store().reopen(
            connection,
            "default",
            [delivery_id],
            statuses={DeliveryStatus.FAILED},
            ended_by=datetime.now(UTC) + timedelta(minutes=1),
            actor="job:1",
        )
    assert opened.ids == [delivery_id]
    async with world.running() as client:
        found = await ended(Shared(world=world, client=client), delivery_id, "delivered")
    assert [attempt.actor for attempt in found.attempts] == ["job:1"]


async def test_a_delivery_says_its_trace_while_its_event_is_retained(world: World) -> None:
    delivery_id = await world.deliver(await world.subscription("http://127.0.0.1:9/"), due_in=600.0)
    request = pb.GetDeliveryRequest(delivery_id=str(delivery_id))
    async with world.delivery() as client:
        assert (await client.GetDelivery(request)).delivery.trace_id == ""
        await world.pool.execute("UPDATE webhook_events SET traceparent = $1", TRACEPARENT)
        assert (await client.GetDelivery(request)).delivery.trace_id == "0af7651916cd43dd8448eb211c80319c"
        await world.drop_payload(delivery_id)
        assert (await client.GetDelivery(request)).delivery.trace_id == ""


# -- who may see it --


async def seen(world: World, found: Details, caller: Identity) -> pb.Attempt:
    """Return an attempt with these details as a caller sees it."""
    delivery_id = await world.deliver(await world.subscription("http://receiver.example/"), due_in=600.0)
    row = await world.row(delivery_id)
    await world.pool.execute(
        "INSERT INTO delivery_attempts (delivery_id, claim_token, request, subscription_id, started_at, number, final,"
        " outcome, tenant_id, details) VALUES ($1, $2, 1, $3, now(), 1, false, 'http_5xx', 'default', $4)",
        delivery_id,
        ids.new(),
        row["subscription_id"],
        msgspec.json.encode(found).decode(),
    )
    unused: Any = None
    service = DeliveryService(world.store(), unused, unused, unused, unused)
    token = identity.CALLER.set(caller)
    try:
        answer = await service.GetDelivery(pb.GetDeliveryRequest(delivery_id=str(delivery_id)), unused)
    finally:
        identity.CALLER.reset(token)
    (attempt,) = answer.delivery.attempts
    return attempt


@pytest.mark.parametrize("capability", PortalCapability)
async def test_what_the_sender_said_is_shown_to_links_that_show_payloads(
    world: World, capability: PortalCapability
) -> None:
    said = [("ce-subject", "Ann Example"), ("X-Shopify-Shop-Domain", "ann.example"), ("Stripe-Signature", "t=1")]
    found = Details(request_headers=[("X-Event-Type", "order.created"), *said])
    portal = Portal(capabilities=frozenset({PortalCapability.VIEW, capability}), subscriptions=None)
    attempt = await seen(world, found, Identity(tenant_id="default", role=Role.PORTAL, portal=portal))
    shown = dict(said) if capability is PortalCapability.PAYLOADS else dict.fromkeys(dict(said), "***")
    assert values(attempt.details.request_headers) == {"X-Event-Type": "order.created", **shown}


@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.ADMIN])
async def test_what_is_not_public_is_shown_to_admins_alone(world: World, role: Role, *, public: bool) -> None:
    found = Details(address="192.0.2.7", public=public, phases={Phase.DNS: 1.5}, response_headers=[("a", "b")])
    attempt = await seen(world, found, Identity(tenant_id="default", role=role, key_id=str(ids.new())))
    assert values(attempt.details.response_headers) == {"a": "b"}
    shown = public or role is Role.ADMIN
    assert attempt.details.address == ("192.0.2.7" if shown else "")
    assert phases(attempt) == (["dns"] if shown else [])


@pytest.mark.parametrize(
    ("allow", "host", "addresses", "public"),
    [
        ([], "receiver.example", ["1.1.1.1", "2606:4700::1111"], True),
        ([], "receiver.example", ["1.1.1.1", "10.0.0.1"], False),
        ([], "receiver.example", [], False),
        (["10.0.0.0/8"], "receiver.example", ["10.0.0.1"], False),
        (["receiver.example"], "receiver.example", ["1.1.1.1"], False),
        (["receiver.example:443"], "receiver.example", ["1.1.1.1"], False),
        (["*.example"], "receiver.example", ["1.1.1.1"], False),
        (["1.1.1.1"], "1.1.1.1", ["1.1.1.1"], False),
    ],
)
def test_an_address_is_public_if_nothing_had_to_allow_it(
    allow: list[str], host: str, addresses: list[str], *, public: bool
) -> None:
    assert Policy.parse(allow).is_public(host, 443, addresses) is public


async def test_a_target_on_the_allow_list_and_one_that_is_denied_are_not_public(receiver: Receiver) -> None:
    for policy, url in (
        (Policy.parse(["127.0.0.0/8"]), receiver.url()),
        (Policy.parse([]), "http://10.0.0.1/"),
    ):
        trail = Trail()
        async with sending.sender(policy) as opened:
            with contextlib.suppress(SendError):  # one of them is denied
                await opened.send(post(url), timeout_seconds=30, trail=trail)
        stored = json.loads(trail.encoded())
        assert stored["address"]
        assert not stored.get("public", False)
