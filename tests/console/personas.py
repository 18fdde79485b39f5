"""The console in a real browser, on a real stack: the ways of those who use it, and that they can use every page."""

import uuid
from typing import TYPE_CHECKING

import pytest

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from tests.console.conftest import Window, button, violations

if TYPE_CHECKING:
    from playwright.async_api import Locator

# A browser beside two other processes of tests takes long.
pytestmark = pytest.mark.timeout(600)
# Fewer than open the circuit breaker of an endpoint, behind which the others would wait.
FAILED = 4


# -- somebody new --


async def test_a_newcomer_creates_tests_and_sends_within_eight_clicks(window: Window, receiver: Receiver) -> None:
    page, clicks = window.page, 0

    async def click(found: "Locator") -> None:
        nonlocal clicks
        clicks += 1
        await found.click()

    await window.open("/")
    await click(page.get_by_role("link", name="New subscription"))
    await page.get_by_label("URL", exact=True).fill(receiver.url("/newcomer"))
    await click(button(page, "Create the subscription"))
    secret = await page.get_by_role("group", name="Signing secret").inner_text()
    assert secret.startswith("whsec_")
    await click(button(page, "Send a test event"))
    await page.get_by_text("The endpoint works").wait_for()
    await click(page.get_by_role("link", name="Send an event"))
    await click(button(page.get_by_role("dialog"), "Send"))
    await page.locator(".badge", has_text="Delivered").first.wait_for()
    assert clicks <= 8
    assert [request.path for request in receiver.requests] == ["/newcomer", "/newcomer"]


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


async def test_all_that_failed_is_recovered_by_a_job_that_was_counted_first_by_keyboard(
    window: Window, receiver: Receiver, api: Api
) -> None:
    receiver.script(then=500, path="/outage")
    once = {"base_seconds": 1, "factor": 1, "cap_seconds": 1, "limit": 0}
    subscription_id = await api.subscribe(receiver.url("/outage"), event_types=["outage.order"], retry_policy=once)
    event = {"event_type": "outage.order", "payload": {}}
    await api.http.post("/api/v1/events/batch", json={"events": [event] * FAILED})

    async def failed() -> bool:
        query = {"subscription_id": subscription_id, "group_by": "status"}
        groups = (await api.http.get("/api/v1/deliveries/summary", params=query)).json()["groups"]
        return bool(groups == [{"value": "failed", "deliveries": FAILED}])

    await wait_until(failed, what="all deliveries to have failed")
    receiver.script(then=200, path="/outage")

    page = window.page
    await window.open("/deliveries?status=failed&event_type=outage.order")
    await button(page, "Recover all that match").focus()
    await page.keyboard.press("Enter")
    await button(page, "Count them first").focus()
    await page.keyboard.press("Enter")
    start = button(page, f"Retry {FAILED} deliveries")
    await start.wait_for()
    await start.focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name=f"Retry {FAILED} deliveries", level=1).wait_for()
    await page.locator(".badge", has_text="Complete").wait_for()
    await page.locator("a.tile", has_text="Delivered since").get_by_text(str(FAILED), exact=True).wait_for()


# -- somebody who cannot see or point --


async def test_every_page_is_accessible(window: Window, places: dict[str, str]) -> None:
    found = list[str]()
    for name, path in places.items():
        await window.open(path)
        found += [f"{name}: {fault}" for fault in await violations(window.page, "light")]
    assert found == []
