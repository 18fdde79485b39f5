"""Send a signed webhook to a receiver that fails twice, and show every attempt until it is delivered.

Exit with status 0 if it was delivered and all of the receiver's checks pass; otherwise with 1, and one line that says
why.
"""

import asyncio
import base64
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncIterator

from rich.console import Console

from dev.demo import client, stack, verification
from dev.demo.client import Client, Delivery, DemoError
from dev.demo.screen import Screen
from dev.demo.stack import DemoSettings
from dev.harness.receiver import Receiver, Reply, receiving
from dev.harness.supervisor import cancel_on_signals
from services.platform.settings import load

# Event types that nobody else publishes: the demo's receiver must not get events of a service that runs already.
EVENT_TYPE = "demo.created"
WANTED_TYPES = ["demo.*"]
# Spacing, a number that does not fit into a double, letters outside ASCII: parsed and written again, it would differ.
PAYLOAD = '{"order": 4711,  "total": 19.90, "serial": 12345678901234567890123, "note": "Grüße aus 東京"}'.encode()
# The receiver's responses, request by request.
ANSWERS = (
    Reply(status=500, body=b"something broke"),
    Reply(status=503, body=b"come back later"),
    Reply(body=b"thank you"),
)
DELIVERED_WITHIN_SECONDS = 120.0
POLL_SECONDS = 0.1
INTERRUPTED_STATUS = 130


async def show(settings: DemoSettings, screen: Screen) -> None:
    """Run the whole demo; DemoError if it does not end as it should."""
    cancel_on_signals()
    screen.title("Deliver a webhook")
    async with (
        _service(settings, screen) as service,
        receiving() as receiver,
    ):
        receiver.script(*ANSWERS[:-1], then=ANSWERS[-1])
        screen.done("receiver", f"{receiver.url()} returns {', '.join(str(reply.status) for reply in ANSWERS)}")
        # Standard Webhooks requires 24 to 64 bytes.
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        async with service.subscribed(
            target_url=receiver.url(), secret_key=secret, event_types=WANTED_TYPES
        ) as subscription_id:
            screen.done("subscription", f"{subscription_id} for {', '.join(WANTED_TYPES)}, signed")
            delivery_id = await _send(service, subscription_id, secret, screen)
            delivery = await _follow(service, delivery_id, screen)
        _verify(delivery, receiver, secret, screen)
    seconds = (delivery.attempts[-1].started_at - delivery.created_at).total_seconds()
    screen.title(f"delivered by attempt {delivery.attempts[-1].number}, {seconds:.1f} s after it was accepted\n")


@contextlib.asynccontextmanager
async def _service(settings: DemoSettings, screen: Screen) -> AsyncIterator[Client]:
    base_url = f"http://127.0.0.1:{settings.port}"
    if await stack.is_ours(base_url):
        screen.done("service", f"{base_url}, which is already running")
        screen.note("with the default retries, after 5 s and then 10 s, this takes 16 s")
        async with client.connected(base_url, api_key=settings.api_key) as service:
            yield service
        return
    cleanup = contextlib.AsyncExitStack()
    with screen.waiting(f"no service on port {settings.port}: starting a stack for this demo"):
        base_url = await cleanup.enter_async_context(stack.started())
    try:
        screen.done("service", f"{base_url}, started only for this demo")
        screen.note(f"it first retries after {stack.RETRY_BASE_SECONDS} s instead of 5 s, to shorten the demo")
        # The demo's own service requires no key, and would refuse another service's.
        async with client.connected(base_url) as service:
            yield service
    finally:
        with screen.waiting("stopping the stack of this demo"):
            await cleanup.aclose()


async def _send(service: Client, subscription_id: str, secret: str, screen: Screen) -> str:
    """Send the webhook, and return the id of its delivery."""
    body = b'{"payload": %b}' % PAYLOAD
    accepted = await service.send(subscription_id, body=body, event_type=EVENT_TYPE, secret_key=secret)
    screen.done("webhook", f"{EVENT_TYPE}, {len(PAYLOAD)} bytes, signed by its sender: 202")
    screen.note(f"delivery {accepted.delivery_id}")
    return accepted.delivery_id


async def _follow(service: Client, delivery_id: str, screen: Screen) -> Delivery:
    """Show the attempts until the delivery has ended."""
    deadline = time.monotonic() + DELIVERED_WITHIN_SECONDS
    screen.title("Attempts")
    with screen.timeline() as timeline:
        while True:
            delivery = await service.delivery(delivery_id)
            timeline.show(delivery)
            if delivery.ended:
                return delivery
            error = delivery.attempts[-1].error if delivery.attempts else None
            if error is not None and error.kind == "egress_denied":
                raise DemoError(
                    f"this service is not allowed to deliver to this machine (see EGRESS_ALLOW): {error.message}"
                )
            if time.monotonic() > deadline:
                raise DemoError(f"not delivered within {DELIVERED_WITHIN_SECONDS:g} s: it is {delivery.status}")
            await asyncio.sleep(POLL_SECONDS)


def _verify(delivery: Delivery, receiver: Receiver, secret: str, screen: Screen) -> None:
    """Print the receiver's checks of what it got; DemoError unless all pass."""
    if delivery.status != "delivered":
        attempts = len(delivery.attempts)
        raise DemoError(f"the delivery ended {delivery.status} ({delivery.reason}) after {attempts} attempts")
    screen.title("Checks at the receiver")
    requests = receiver.requests
    checks = {
        f"{len(requests)} requests, all with the same webhook-id": len(requests) >= len(ANSWERS)
        and {request.headers.get("webhook-id") for request in requests} == {delivery.id},
        "webhook-signature is valid on each (Standard Webhooks, fresh timestamp)": all(
            verification.standard_signature_holds(secret, request.headers, request.body) for request in requests
        ),
        "X-Hub-Signature-256 is valid on each (as GitHub signs)": all(
            verification.hub_signature_holds(secret, request.headers, request.body) for request in requests
        ),
        f"the body is the payload that was sent, byte for byte ({len(PAYLOAD)} bytes)": all(
            request.body == PAYLOAD for request in requests
        ),
    }
    for text, passed in checks.items():
        screen.check(text, passed=passed)
    if not all(checks.values()):
        raise DemoError("delivered, but not all checks passed: " + _failing(checks))


def _failing(checks: dict[str, bool]) -> str:
    return "; ".join(f"failed: {text}" for text, passed in checks.items() if not passed)


def main() -> None:
    """Run the demo and exit with its status."""
    settings = load(DemoSettings)
    try:
        asyncio.run(show(settings, Screen(Console())))
    except DemoError as error:
        sys.stderr.write(f"demo: {error}\n")
        sys.exit(1)
    except asyncio.CancelledError:
        sys.stderr.write("demo: stopped\n")
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
