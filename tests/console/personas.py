"""The console in a real browser, on a real stack: more of what test_personas.py begins, and with the full counts."""

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from dev.harness.api import Api
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import Stack
from tests.console import outage
from tests.console.conftest import Window, button, violations

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.timeout(1800)
DELIVERIES, FAILED = int(os.environ.get("OUTAGE_DELIVERIES", "50000")), int(os.environ.get("OUTAGE_FAILED", "4000"))
FIND_SECONDS = 20


# -- somebody new --


async def test_a_subscription_is_created_with_a_filter_and_a_template(
    window: Window, receiver: Receiver, api: Api
) -> None:
    page = window.page
    await window.open("/subscriptions/new")
    await page.get_by_label("URL", exact=True).fill(receiver.url("/chat"))
    await page.get_by_label("Filter (optional)").fill("event.data.amount >")
    await page.get_by_label("What is sent").select_option("source")
    await page.get_by_label("Source").fill('{"text": "{{ event.data.amount }} for {{ secrets.room }}"}')
    await page.get_by_label("Secrets").fill("room=hunter2")
    await page.get_by_text("The same with curl").click()
    assert "hunter2" not in await page.content()
    await button(page, "Create without a test").click()
    await page.get_by_text("line 1, column").first.wait_for()
    (refused,) = window.faults
    assert "422" in refused
    window.faults.clear()
    await page.get_by_label("Filter (optional)").fill("event.data.amount > 100")
    await button(page, "Send a test event").click()
    await page.get_by_text("The endpoint works").wait_for()
    await button(page, "Create the subscription").click()
    await page.get_by_role("heading", name="The subscription is there").wait_for()
    for amount in (99, 101):
        await api.http.post("/api/v1/events", json={"event_type": "chat.said", "payload": {"amount": amount}})
    tested, request = await receiver.wait_for(2)
    assert tested.body == b'{"text": " for hunter2"}'
    assert request.body == b'{"text": "101 for hunter2"}'


async def test_a_subscription_whose_test_fails_is_created_anyway(window: Window, receiver: Receiver, api: Api) -> None:
    await api.http.post("/api/v1/event-types", json={"name": "known.made", "schema": {}, "description": "It was made."})
    receiver.script(then=Reply(status=401, body=b"unknown signature"), path="/closed")
    page = window.page
    await window.open("/subscriptions/new")
    await page.get_by_label("URL", exact=True).fill(receiver.url("/closed"))
    await page.get_by_text("Only some types").click()
    await page.get_by_text("It was made.").wait_for()
    await page.get_by_label("known.made").check()
    await button(page, "Send a test event").click()
    await page.get_by_text("The endpoint did not accept the event.").wait_for()
    await page.get_by_text("unknown signature").wait_for()
    assert (await api.http.get("/api/v1/subscriptions")).json()["items"] == []
    # What was tested is not what is there now.
    await page.get_by_label("Name (optional)").fill("closed")
    await button(page, "Create without a test").wait_for()
    await button(page, "Send a test event").click()
    await button(page, "Create anyway").click()
    await page.get_by_role("heading", name="The subscription is there").wait_for()
    (made,) = (await api.http.get("/api/v1/subscriptions")).json()["items"]
    assert (made["name"], made["event_types"]) == ("closed", ["known.made"])


# -- somebody on call --


async def test_a_delivery_is_found_by_its_key_explained_verified_and_retried_by_keyboard(
    window: Window, receiver: Receiver, api: Api
) -> None:
    receiver.script(503, 503, then=204, path="/orders")
    created = await api.http.post(
        "/api/v1/subscriptions", json={"target_url": receiver.url("/orders"), "event_types": ["found.order"]}
    )
    secret = created.json()["secret_key"]
    # As written: a browser that read and wrote the payload again would have other bytes.
    body = (
        b'{"event_type": "found.order", "payload": {"order": 4.20, "big": 12345678901234567890, "text": "\\u00e9 \\/"}}'
    )
    key = f"order-{uuid.uuid4()}"
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    accepted = await api.http.post("/api/v1/events", content=body, headers=headers)
    found = await api.http.get(f"/api/v1/events/{accepted.json()['event_id']}/deliveries")
    await api.until(found.json()["items"][0]["id"], "failed", attempts=2)

    page = window.page
    await window.open("/")
    await page.keyboard.press("/")
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="found.order", level=1).wait_for()
    await page.get_by_text("Failed: no retries are left.").wait_for()
    await page.get_by_label("Secret or public key").fill(secret)
    await page.keyboard.press("Enter")
    await page.get_by_text("The signature is valid").wait_for()
    await page.get_by_label("Secret or public key").fill("whsec_" + "A" * 32)
    await page.keyboard.press("Enter")
    await page.get_by_text("This secret has not made the signature").wait_for()
    await page.locator("h1").focus()
    await page.keyboard.press("r")
    await page.get_by_text("Delivered after 3 attempts.").wait_for()


async def test_four_thousand_that_failed_are_recovered_by_keyboard_among_many(
    browser: "Browser", console: Stack, receiver: Receiver
) -> None:
    happened = await outage.make(console, receiver, deliveries=DELIVERIES, failed=FAILED)
    found_seconds, seen, seconds = await outage.mend(browser, console, happened)
    outage.check(receiver, happened)
    rate = FAILED / seconds
    print(f"order to delivery {found_seconds:.1f} s; {FAILED:,} recovered in {seconds:.0f} s, {len(seen)} steps seen")  # noqa: T201
    assert found_seconds <= FIND_SECONDS
    assert rate <= 1.1 * outage.RATE_PER_SECOND
    # Somebody who looks sees it move.
    assert len(seen) >= 10
    assert seen == sorted(seen)


# -- somebody who cannot see or point --


async def test_every_page_is_accessible(window: Window, places: dict[str, str]) -> None:
    found = list[str]()
    for name, path in places.items():
        await window.open(path)
        found += [f"{name}: {fault}" for fault in await violations(window.page, "light")]
    assert found == []
