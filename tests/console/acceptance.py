"""What the console does besides, in a real browser, and every page in both themes and on a small screen."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from tests.console.conftest import Window, button, violations

if TYPE_CHECKING:
    from playwright.async_api import Page

# Kept in the repository, where docs show some of them.
PICTURES = Path(__file__).resolve().parents[2] / "docs/images/console/pages"
MAX_PICTURES_BYTES = 2_800_000
WIDE, HEIGHT, QUALITY = 1100, 640, 24
SMALL = (320, 768)
SCHEMES: Sequence[Literal["light", "dark"]] = ("light", "dark")
# The whole run is long where many things run beside it.
pytestmark = pytest.mark.timeout(900)


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
    await page.get_by_label("Versions of events").fill("invoice.*=2\norder.created = 1")
    await page.get_by_label("X-Team").uncheck()
    await button(page, "Save changes").click()
    await page.get_by_text("Nothing is changed.").wait_for()
    stored = (await api.http.get(f"/api/v1/subscriptions/{subscription_id}")).json()
    assert stored["rate_limit_per_second"] == 25
    assert stored["metadata"] == {"team": "b"}
    assert stored["event_versions"] == {"invoice.*": 2, "order.created": 1}
    assert stored["header_names"] == ["Authorization"]
    assert stored["target_url"] == receiver.url("/settings")


async def test_the_system_is_shown_with_its_processes_queue_stores_and_days(window: Window, api: Api) -> None:
    found = (await api.http.get("/api/v1/system")).json()
    page = window.page
    await window.open("/system")
    processes = page.get_by_role("table", name="Processes")
    await processes.get_by_text("Running").first.wait_for()
    assert await processes.get_by_text("Running").count() == len(found["processes"]) == 1
    assert await page.get_by_text("is running:").count() == 0
    waiting = page.get_by_role("table", name="Queue")
    due = await waiting.get_by_role("link", name="Due", exact=True).get_attribute("href")
    assert due is not None
    assert due.startswith("/deliveries?status=pending&from=")
    for runbook in ("WebhookBacklogGrowing", "WebhookOldestWaiting", "WebhookBreakersOpen", "WebhookRedisAway"):
        address = await page.get_by_role("link", name=runbook, exact=True).first.get_attribute("href")
        assert address is not None
        assert address.endswith(f"/docs/operations/runbooks/{runbook}.md")
    await page.get_by_text(found["postgres"]["schema_version"]).wait_for()
    await page.get_by_text(found["redis"]["version"]).wait_for()
    days = page.get_by_role("table", name="Partitions by day")
    begun = [one["from_time"][:10] for one in found["postgres"]["partitions"]]
    await days.get_by_text(min(begun)).wait_for()


async def test_every_page_is_accessible_in_both_themes_and_fits_320_pixels(
    window: Window, places: dict[str, str], portal: dict[str, str]
) -> None:
    page, found = window.page, list[str]()
    for name, path in (places | portal).items():
        await page.set_viewport_size({"width": 1280, "height": 800})
        await window.open(path)
        found += [f"{name}, {fault}" for fault in await violations(page, "light", "dark")]
        await page.set_viewport_size({"width": 320, "height": 640})
        await wait_until(functools.partial(_fits, page), what=f"{name} to fit 320 pixels")  # charts are drawn again
    assert found == []


async def _fits(page: "Page") -> bool:
    return int(await page.evaluate("document.documentElement.scrollWidth")) <= 320


async def test_pictures_of_every_page_are_made_in_both_themes(
    window: Window, places: dict[str, str], portal: dict[str, str], tmp_path: Path
) -> None:
    page = window.page
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    for name, path in (places | portal).items():
        file = re.sub("[^a-z]+", "-", name)
        await window.open(path)
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            shown = PICTURES / f"{file}-{scheme}.jpg"
            await page.screenshot(path=shown, type="jpeg", quality=QUALITY, animations="disabled")
        # To be looked at only: whole pages on small screens are too many to keep.
        for width in SMALL:
            await page.set_viewport_size({"width": width, "height": HEIGHT})
            shown = tmp_path / f"{file}-{width}.jpg"
            await page.screenshot(path=shown, type="jpeg", quality=QUALITY, animations="disabled", full_page=True)
        await page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    assert sum(each.stat().st_size for each in PICTURES.iterdir()) < MAX_PICTURES_BYTES


async def test_the_live_tail_of_two_tabs_reads_one_stream_and_gathers_what_is_new(
    window: Window, receiver: Receiver, api: Api
) -> None:
    subscription_id = await api.subscribe(receiver.url("/live"), event_types=["none.of.these"])
    streams: list[str] = []
    other = await window.page.context.new_page()
    for page in (window.page, other):
        page.on("request", lambda asked: streams.append(asked.url) if "/api/v1/stream" in asked.url else None)
        await page.goto(f"/live?subscription_id={subscription_id}")
        await page.get_by_role("status").filter(has_text="Live").wait_for()

    async def seen() -> bool:
        # Workers look once a second whether somebody watches.
        await api.until(await api.sent(subscription_id), "delivered")
        return all([await page.locator("tbody tr").count() > 0 for page in (window.page, other)])

    await wait_until(seen, what="a delivery in both tabs")
    assert len(streams) == 1
    await button(other, "Pause").click()
    rows = await other.locator("tbody tr").count()
    await api.until(await api.sent(subscription_id), "delivered")
    fresh = other.get_by_role("button", name=re.compile("^[0-9]+ new$"))
    await fresh.wait_for()
    assert await other.locator("tbody tr").count() == rows
    await fresh.click()
    await other.locator("tbody tr").nth(rows).wait_for()
    await other.close()


async def test_the_live_tail_begins_with_the_newest_of_many(window: Window, receiver: Receiver, api: Api) -> None:
    subscription_id = await api.subscribe(receiver.url("/many"), event_types=["none.of.these"])
    for delivery_id in [await api.sent(subscription_id) for _ in range(40)]:
        await api.until(delivery_id, "delivered")
    newest = await api.sent(subscription_id)
    await api.until(newest, "delivered")
    page = window.page
    lists: list[str] = []
    page.on("response", lambda given: lists.append(given.url) if "/api/v1/deliveries?" in given.url else None)
    await page.goto(f"/live?subscription_id={subscription_id}")

    async def read() -> bool:
        # Once as the page is opened, and again when the stream is there.
        return len(lists) > 1

    await wait_until(read, what="two lists")
    await page.locator("tbody tr").nth(40).wait_for()
    assert await page.locator("tbody tr a[data-row]").first.get_attribute("href") == f"/deliveries/{newest}"
