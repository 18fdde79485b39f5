"""The console in a real browser, on a real stack: the ways of those who use it, and what holds on every page."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.receiver import Receiver, receiving
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.console.conftest import Window

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

# The whole run is long where many things run beside it.
pytestmark = pytest.mark.timeout(900)
# Fewer than open the circuit breaker of an endpoint, behind which the others would wait.
FAILED = 4


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _no_subscriptions(api: Api) -> AsyncIterator[None]:
    """Leave none: a test's subscription to every type would get the events of the next."""
    yield
    for item in (await api.http.get("/api/v1/subscriptions")).json()["items"]:
        await api.http.delete(f"/api/v1/subscriptions/{item['id']}")


def button(page: "Page | Locator", name: str) -> "Locator":
    return page.get_by_role("button", name=name, exact=True)


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


async def test_a_job_that_erases_is_shown_with_its_events(window: Window, api: Api) -> None:
    accepted = await api.http.post("/api/v1/events", json={"event_type": "erased.order", "payload": {}})
    event_id = accepted.json()["event_id"]
    job = await api.http.post("/api/v1/jobs", json={"kind": "erase", "filter": {"event_ids": [event_id]}})
    page = window.page
    await window.open(f"/jobs/{job.json()['id']}")
    await page.get_by_role("heading", name="Erase 1 event", level=1).wait_for()
    await page.get_by_role("heading", name="Which events").wait_for()
    assert await page.locator(f'main a[href="/events/{event_id}"]').count() == 1
    assert await page.get_by_text("Search them").count() == 0
    await window.open("/jobs")
    await page.get_by_role("link", name="Erase 1 event").wait_for()


async def test_what_is_new_waits_until_somebody_wants_it(window: Window, receiver: Receiver, api: Api) -> None:
    subscription_id = await api.subscribe(receiver.url("/calm"), event_types=["none.of.these"])
    await api.until(await api.sent(subscription_id), "delivered")
    await window.open(f"/deliveries?subscription_id={subscription_id}")
    rows = window.page.locator("tbody tr")
    assert await rows.count() == 1
    await api.until(await api.sent(subscription_id), "delivered")
    fresh = button(window.page, "1 new")
    await fresh.wait_for()
    assert await rows.count() == 1
    await window.page.keyboard.press("n")
    await fresh.wait_for(state="detached")
    await rows.nth(1).wait_for()
    assert await rows.count() == 2


async def test_settings_change_only_what_was_changed(window: Window, receiver: Receiver, api: Api) -> None:
    headers = {"Authorization": "Bearer x", "X-Team": "billing"}
    subscription_id = await api.subscribe(
        receiver.url("/settings"), metadata={"team": "a", "zone": "eu"}, headers=headers
    )
    page = window.page
    await window.open(f"/subscriptions/{subscription_id}?view=settings")
    await page.get_by_label("Requests per second").fill("25")
    await page.get_by_label("Metadata").fill("team=b")
    await page.get_by_label("X-Team").uncheck()
    await button(page, "Save changes").click()
    await page.get_by_text("Nothing is changed.").wait_for()
    stored = (await api.http.get(f"/api/v1/subscriptions/{subscription_id}")).json()
    assert stored["rate_limit_per_second"] == 25
    assert stored["metadata"] == {"team": "b"}
    assert stored["header_names"] == ["Authorization"]
    assert stored["target_url"] == receiver.url("/settings")


@pytest_asyncio.fixture(loop_scope="session")
async def places(console: Stack) -> AsyncIterator[dict[str, str]]:
    """Addresses of every page, with something to show on each."""
    async with receiving() as target, httpx.AsyncClient(base_url=console.base_url, timeout=60) as http:
        api = Api(http)
        target.script(then=500, path="/bad")
        good = await api.subscribe(target.url("/good"), name="good", event_types=["places.*"])
        bad = await api.subscribe(target.url("/bad"), name="bad", event_types=["places.*"])
        accepted = await http.post("/api/v1/events", json={"event_type": "places.seen", "payload": {"order": 1}})
        event_id = accepted.json()["event_id"]
        deliveries = (await http.get(f"/api/v1/events/{event_id}/deliveries")).json()["items"]
        by_target = {item["subscription_id"]: item["id"] for item in deliveries}
        await api.until(by_target[good], "delivered")
        await api.until(by_target[bad], "failed")
        job = {"kind": "retry", "filter": {"subscription_id": [bad]}, "rate_per_second": 5}
        job_id = (await http.post("/api/v1/jobs", json=job)).json()["id"]
        yield {
            "overview": "/",
            "deliveries": "/deliveries",
            "delivery that failed": f"/deliveries/{by_target[bad]}",
            "delivery that arrived": f"/deliveries/{by_target[good]}",
            "live": "/live",
            "events": "/events",
            "event": f"/events/{event_id}",
            "sending": "/events?send=1",
            "subscriptions": "/subscriptions",
            "subscription": f"/subscriptions/{bad}",
            "its settings": f"/subscriptions/{bad}?view=settings",
            "its signing": f"/subscriptions/{bad}?view=signing",
            "its inbound": f"/subscriptions/{bad}?view=inbound",
            "its test": f"/subscriptions/{bad}?view=test",
            "new subscription": "/subscriptions/new",
            "inbound": "/inbound",
            "jobs": "/jobs",
            "job": f"/jobs/{job_id}",
            "statistics": "/statistics?by=event_type&period=1h",
            "keys": "/keys",
            "audit": "/audit",
            "tenants": "/tenants",
            "system": "/system",
            "nothing found": "/deliveries?event_type=nothing.like.it",
            "in a tenant": "/deliveries?tenant=default",
        }


async def test_every_page_is_accessible_in_both_themes_and_fits_320_pixels(
    window: Window, places: dict[str, str]
) -> None:
    from axe_playwright_python.base import AXE_FILE_PATH

    page, script = window.page, AXE_FILE_PATH.read_text()
    options = json.dumps({"resultTypes": ["violations"]})
    found: list[str] = []
    for name, path in places.items():
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.emulate_media(color_scheme="light", reduced_motion="reduce")
        await window.open(path)
        # Not by a script element, which the policy forbids.
        await page.evaluate(script)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            results = await page.evaluate(f"axe.run(document, {options})")
            for violation in results["violations"]:
                targets = [node["target"] for node in violation["nodes"]][:3]
                found.append(f"{name}, {scheme}: {violation['id']} {targets}")
        await page.set_viewport_size({"width": 320, "height": 640})
        if (wide := await page.evaluate("document.documentElement.scrollWidth")) > 320:
            found.append(f"{name}: {wide} pixels wide")
    assert found == []
