"""A browser, the service as `make run` starts it, and pages that note what they must not do."""

import importlib.util
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import pytest
import pytest_asyncio

from dev.harness import stack as stacks
from dev.harness.api import TLS, Api
from dev.harness.receiver import receiving
from dev.harness.stack import Stack
from services.platform.auth.roles import PortalCapability

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# For what is waited for; a busy machine takes long, and what is broken never comes.
PATIENCE_MS = 120_000
# The console allows no eval; waiting by polling in the page needs none.
ENVIRONMENT = {"RETRY_BASE_SECONDS": "0.2", "RETRY_LIMIT": "1", "RECORD_ATTEMPT_DETAILS": "all"}


@pytest.fixture(scope="session")
def console(short_folder: Path) -> Iterator[Stack]:
    """A stack of its own, in one process: the newcomer's has nothing in it."""
    with stacks.running(short_folder / "console", environment=ENVIRONMENT, processes="one") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def api(console: Stack) -> AsyncIterator[Api]:
    """A client of that stack."""
    async with httpx.AsyncClient(base_url=console.base_url, timeout=60, verify=TLS) as http:
        yield Api(http)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    """The Chromium of this machine; the tests are skipped without one."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("there is no Chromium on PATH")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("Playwright is not installed; scripts/venv.sh console installs it")
    # Not before it is known that there is a browser: its driver is a process of its own.
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        # Containers have no user namespaces for its sandbox, and little shared memory. The pages are our own.
        # Pages that a test gives for an address have none, and might not ask this machine.
        allowed = "--disable-features=LocalNetworkAccessChecks"
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", allowed]
        started = await playwright.chromium.launch(executable_path=program, args=options)
        yield started
        await started.close()


class Window:
    """A page of the browser, and what it did that it must not."""

    def __init__(self, page: "Page", base_url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("console", lambda said: self._note(f"console: {said.text}") if said.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith((base_url, "blob:")) else self._note(asked.url))

    def _note(self, fault: str) -> None:
        self.faults.append(fault)

    async def open(self, path: str) -> None:
        """Go to a page of the console, and wait until its data is there."""
        await self.page.goto(path)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the page is drawn and nothing is being loaded."""
        await self.page.locator("main h1").first.wait_for(state="attached")
        await self.page.locator(".skeleton").first.wait_for(state="detached")


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: "Browser", console: Stack, api: Api) -> AsyncIterator[Window]:
    """A window that has seen nothing yet; a test fails for what it must not do."""
    context = await browser.new_context(base_url=console.base_url, viewport={"width": 1280, "height": 800})
    opened = Window(await context.new_page(), console.base_url)
    yield opened
    await context.close()
    # One to every type would get the events of the next test.
    for item in (await api.http.get("/api/v1/subscriptions")).json()["items"]:
        await api.http.delete(f"/api/v1/subscriptions/{item['id']}")
    assert opened.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def places(console: Stack) -> AsyncIterator[dict[str, str]]:
    """Addresses of every page, with something to show on each."""
    async with receiving() as target, httpx.AsyncClient(base_url=console.base_url, timeout=60) as http:
        api = Api(http)
        target.script(then=500, path="/bad")
        good = await api.subscribe(target.url("/good"), name="good", event_types=["places.*"])
        bad = await api.subscribe(target.url("/bad"), name="bad", event_types=["places.*"])
        described = {"name": "places.seen", "description": "A place was seen.", "example": {"order": 1}}
        await http.post("/api/v1/event-types", json={**described, "schema": {"type": "object"}})  # it may be there
        await http.patch("/api/v1/admin/tenants/default", json={"publishes_catalog": True})
        accepted = await http.post("/api/v1/events", json={"event_type": "places.seen", "payload": {"order": 1}})
        event_id = accepted.json()["event_id"]
        deliveries = (await http.get(f"/api/v1/events/{event_id}/deliveries")).json()["items"]
        by_target = {item["subscription_id"]: item["id"] for item in deliveries}
        await api.until(by_target[good], "delivered")
        await api.until(by_target[bad], "failed")
        await http.post(
            f"/api/v1/webhooks/ingest/{bad}", content="{}", headers={"X-Hub-Signature-256": "sha256=forged"}
        )
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
            "catalog": "/catalog",
            "event type": "/catalog?type=places.seen",
            "jobs": "/jobs",
            "job": f"/jobs/{job_id}",
            "statistics": "/statistics?by=event_type&period=1h",
            "keys": "/keys",
            "audit": "/audit",
            "tenants": "/tenants",
            "system": "/system",
            "published catalog": "/catalogs/default",
            "published event type": "/catalogs/default?type=places.seen",
            "nothing found": "/deliveries?event_type=nothing.like.it",
            "in a tenant": "/deliveries?tenant=default",
        }


@pytest_asyncio.fixture(loop_scope="session")
async def portal(places: dict[str, str], window: Window, api: Api) -> dict[str, str]:
    """Addresses of the pages of a portal link, which the window has opened."""
    links = {"capabilities": list(PortalCapability)}
    made = (await api.http.post("/api/v1/portal-links", json=links)).json()
    await window.open(made["url"])
    base = made["url"].partition("#")[0]
    of_operators = ("keys", "audit", "tenants", "system", "sending", "in a tenant", "nothing found")
    return {
        f"portal, {name}": base + path
        for name, path in places.items()
        if name not in of_operators and not name.startswith("published")
    }


def button(page: "Page | Locator", name: str) -> "Locator":
    return page.get_by_role("button", name=name, exact=True)


async def violations(page: "Page", *schemes: Literal["light", "dark"]) -> list[str]:
    """Return what axe-core finds on a page in these color schemes."""
    from axe_playwright_python.base import AXE_FILE_PATH

    options = json.dumps({"resultTypes": ["violations"]})
    # Not by a script element, which the policy forbids.
    await page.evaluate(AXE_FILE_PATH.read_text())
    found: list[str] = []
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        results = await page.evaluate(f"axe.run(document, {options})")
        for violation in results["violations"]:
            targets = [node["target"] for node in violation["nodes"]][:3]
            found.append(f"{scheme}: {violation['id']} {targets}")
    return found
