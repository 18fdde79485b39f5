"""The console in a real browser, on a real stack: one way of each of those who use it."""

import contextlib
from typing import TYPE_CHECKING

import pytest
import standardwebhooks

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.platform.auth.roles import PortalCapability
from tests.console import outage
from tests.console.conftest import PATIENCE_MS, Window, button

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Locator, Page, Response, Route

# A browser beside two other processes of tests takes long.
pytestmark = pytest.mark.timeout(600)


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
    secret = await page.get_by_role("group", name="Signing secret").inner_text()
    await click(button(page, "Send a test event"))
    await page.get_by_text("The endpoint works").wait_for()
    await click(button(page, "Create the subscription"))
    await page.get_by_role("heading", name="The subscription is there").wait_for()
    assert await page.get_by_role("group", name="Signing secret").inner_text() == secret
    await click(page.get_by_role("link", name="Send an event"))
    await click(button(page.get_by_role("dialog"), "Send"))
    await page.locator(".badge", has_text="Delivered").first.wait_for()
    assert clicks <= 8
    assert [request.path for request in receiver.requests] == ["/newcomer", "/newcomer"]
    for request in receiver.requests:  # the test, before there was a subscription, and the event
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


# -- somebody on call --


async def test_all_that_failed_in_an_outage_is_found_and_recovered_by_keyboard(
    browser: "Browser", console: Stack, receiver: Receiver
) -> None:
    """personas.py does the same with 50,000 deliveries."""
    happened = await outage.make(console, receiver, deliveries=90, failed=20)
    _, _, seconds = await outage.mend(browser, console, happened)
    outage.check(receiver, happened)
    assert seconds < 300


# -- a customer --

# Another origin, whose pages the test gives, and one that no link names.
APP, STRANGER = "http://localhost:8099", "http://localhost:8098"


async def hosted(context: "BrowserContext", console: Stack, api: Api, subscription_id: str) -> list[dict[str, str]]:
    """Give the pages of both origins, which have a portal in them; return the links that they ask for."""
    links: list[dict[str, str]] = []
    script = f'<script type="module" src="{console.base_url}/portal/webhook-portal.js"></script>'
    body = f'<!doctype html>{script}<webhook-portal link="/link"></webhook-portal>'
    wanted = {"capabilities": list(PortalCapability), "subscriptions": [subscription_id], "origin": APP}

    async def serve(route: "Route") -> None:
        if route.request.method == "POST":
            links.append((await api.http.post("/api/v1/portal-links", json=wanted)).json())
            await route.fulfill(json=links[-1])
        else:
            await route.fulfill(body=body, content_type="text/html")

    await context.route(f"{APP}/**", serve)
    await context.route(f"{STRANGER}/**", serve)
    return links


async def scanned(page: "Page") -> list[str]:
    """Return what the API answers to a page from now on."""
    bodies: list[str] = []

    async def scan(answer: "Response") -> None:
        if "/api/" in answer.url and "/stream" not in answer.url:
            with contextlib.suppress(Exception):  # the page left meanwhile
                bodies.append(await answer.text())

    page.on("response", scan)
    return bodies


async def test_a_customer_sees_and_mends_what_is_theirs_in_a_frame_of_another_origin(
    browser: "Browser", console: Stack, receiver: Receiver, api: Api
) -> None:
    receiver.script(503, 503, then=204, path="/mine")
    mine = {"target_url": receiver.url("/mine"), "event_types": ["customer.order"], "name": "mine"}
    created = (await api.http.post("/api/v1/subscriptions", json=mine)).json()
    hidden = await api.subscribe(receiver.url("/hidden"), event_types=["hidden.order"], name="hidden")
    await api.until(await api.sent(hidden), "delivered")
    accepted = await api.http.post("/api/v1/events", json={"event_type": "customer.order", "payload": {"order": 7}})
    found = await api.http.get(f"/api/v1/events/{accepted.json()['event_id']}/deliveries")
    await api.until(found.json()["items"][0]["id"], "failed", attempts=2)

    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    links = await hosted(context, console, api, created["id"])
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    bodies = await scanned(page)
    await page.goto(f"{APP}/app")
    frame = page.frame_locator("iframe")
    await frame.get_by_role("heading", name="Overview", level=1).wait_for()
    await frame.get_by_role("navigation", name="Pages").get_by_role("link", name="Deliveries").click()
    await frame.locator("tbody tr a", has_text="customer.order").click()
    await frame.get_by_text("Failed: no retries are left.").wait_for()
    await frame.get_by_label("Secret or public key").fill(created["secret_key"])
    await frame.get_by_role("button", name="Verify with my secret").click()
    await frame.get_by_text("The signature is valid").wait_for()
    await frame.locator("[data-retry-page]").click()
    await frame.get_by_text("Delivered after 3 attempts.").wait_for()
    # A reload goes on with what the frame was given, and asks for no other link.
    await page.frames[-1].evaluate("location.reload()")
    await frame.get_by_text("Delivered after 3 attempts.").wait_for()
    assert len(links) == 1
    # A link that ended is replaced by the page around it, without a word.
    await api.http.delete(f"/api/v1/portal-links/{links[0]['id']}")
    menu = frame.get_by_role("navigation", name="Pages")

    async def replaced() -> bool:
        for name in ("Jobs", "Subscriptions"):
            await menu.get_by_role("link", name=name).click()
        return len(links) > 1

    await wait_until(replaced, what="another link")
    await frame.locator("tbody tr a", has_text="mine").wait_for()
    assert [body for body in bodies if hidden in body or "hidden.order" in body] == []
    # Pages of another origin cannot frame it.
    await page.goto(f"{STRANGER}/app")
    await wait_until(lambda: len(links) > 2, what="a link for the wrong page")
    assert await page.frame_locator("iframe").get_by_role("heading").count() == 0
    await context.close()
