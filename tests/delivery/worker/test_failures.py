"""Failures of every kind as they are recorded, and deliveries that must not be sent."""

import pytest

from dev.harness.receiver import Receiver
from tests.delivery import sending
from tests.delivery.conftest import Shared
from tests.delivery.world import World

# No retry while a test looks.
FAR = [600.0]
FAILURES = {
    "close": (sending.answering(), "connection_lost", None),
    "close-in-body": (sending.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "connection_lost", 200),
    "garbage": (sending.answering(b"\x00\xff garbage \x00\r\n\r\n", then_hang=True), "invalid_response", None),
    "nul-in-status": (sending.answering(b"HTTP/1.1 20\x00 \xff\r\nX\x00: \xff\r\n\r\n"), "invalid_response", None),
    "huge-headers": (
        sending.answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999 + b"\r\n\r\n"),
        "invalid_response",
        None,
    ),
    "hang": (sending.answering(then_hang=True), "timeout", None),
    "drip": (sending.answering(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 90, pause_seconds=0.2), "timeout", 200),
    "1xx": (sending.answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", then_hang=True), "invalid_response", 101),
    "6xx": (sending.answering(b"HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n"), "invalid_response", 999),
    "bare LF line ends": (sending.answering(b"HTTP/1.1 500 Oops\nContent-Length: 0\n\n"), "http_5xx", 500),
    "3xx": (sending.answering(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), "http_3xx", 302),
    "410": (sending.answering(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), "http_4xx", 410),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_failure_is_recorded_with_its_kind_and_a_message(shared: Shared, kind: str) -> None:
    answer, outcome, status_code = FAILURES[kind]
    async with sending.serving(answer) as server:
        subscription = await shared.world.subscription(
            server.url(), timeout_seconds=2.0 if outcome == "timeout" else None, delays_seconds=FAR
        )
        delivery_id = await shared.world.deliver(subscription)
        await shared.world.in_state(delivery_id, "scheduled")
        attempt = (await shared.world.attempts(delivery_id))[0]
        await shared.world.put(delivery_id, status="cancelled")
    assert (attempt["outcome"], attempt["status_code"]) == (outcome, status_code)
    assert attempt["error_message"]
    assert "\x00" not in attempt["error_message"]
    if outcome == "timeout":
        assert 1_950 <= attempt["duration_ms"] < 20_000


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (
            b"https://elsewhere.example/x?token=y#z",
            "the receiver responded with 308 and points to https://elsewhere.example/x?***;",
        ),
        (b"/a\x1b[2J\xff", "the receiver responded with 308 and points to /a\\x1b[2J\\xff;"),
        (b"/" + b"a" * 5000, f"the receiver responded with 308 and points to /{'a' * 299}\u2026;"),
    ],
    ids=["plain", "control characters", "long"],
)
async def test_a_redirect_is_recorded_with_where_it_points(shared: Shared, location: bytes, message: str) -> None:
    head = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
    async with sending.serving(sending.answering(head)) as server:
        subscription = await shared.world.subscription(server.url(), delays_seconds=FAR)
        delivery_id = await shared.world.deliver(subscription)
        await shared.world.in_state(delivery_id, "scheduled")
        (attempt,) = await shared.world.attempts(delivery_id)
        await shared.world.put(delivery_id, status="cancelled")
    assert attempt["error_message"] == message + " redirects are not followed"


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("http://127.0.0.1:{closed}/", "connect"),
        ("http://nothing.invalid/", "dns"),
        ("https://127.0.0.1:{port}/", "tls"),
        ("http://10.0.0.1/", "egress_denied"),
    ],
)
async def test_a_target_that_cannot_be_reached_is_recorded_with_why(
    shared: Shared, receiver: Receiver, free_port: int, url: str, outcome: str
) -> None:
    target = url.format(closed=free_port, port=receiver.port)
    delivery_id = await shared.world.deliver(await shared.world.subscription(target, delays_seconds=FAR))
    await shared.world.in_state(delivery_id, "scheduled")
    attempt = (await shared.world.attempts(delivery_id))[0]
    await shared.world.put(delivery_id, status="cancelled")
    assert (attempt["outcome"], attempt["status_code"], attempt["response_body"]) == (outcome, None, None)
    assert attempt["error_message"]
    assert receiver.requests == []


async def test_a_retry_that_would_come_after_the_expiry_fails_the_delivery(world: World, receiver: Receiver) -> None:
    receiver.script(then=500)
    async with world.running(retry_base_seconds=100.0):
        delivery_id = await world.deliver(await world.subscription(receiver.url()), expires_in=60)
        row = await world.in_state(delivery_id)
        (attempt,) = await world.attempts(delivery_id)
    assert (row["status"], row["reason"], row["attempt_count"]) == ("failed", "expired", 1)
    assert attempt["final"]
