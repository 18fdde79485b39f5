"""What single pages of the console show and do, in a real browser, on a real stack."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.waiting import wait_until
from tests.console.conftest import Window, button

if TYPE_CHECKING:
    from playwright.async_api import Locator

# A browser beside two other processes of tests takes long.
pytestmark = pytest.mark.timeout(600)


async def publish(api: Api, event_type: str, *, times: int = 1) -> None:
    for number in range(times):
        body = {"event_type": event_type, "payload": {"order": number}}
        (await api.http.post("/api/v1/events", json=body)).raise_for_status()


def card(window: Window, title: str) -> "Locator":
    return window.page.get_by_role("region", name=title, exact=True)


async def test_the_overview_counts_what_is_held_by_each_thing_that_holds_it(
    window: Window, api: Api, receiver: Receiver
) -> None:
    limited = await api.subscribe(
        receiver.url("/limited"), event_types=["held.limited"], rate_limit_per_second=0.001, rate_limit_burst=1
    )
    paused = await api.subscribe(receiver.url("/paused"), event_types=["held.paused"])
    pulled = await api.http.post("/api/v1/subscriptions", json={"destination": "pull", "event_types": ["held.pulled"]})
    pulled.raise_for_status()
    (await api.http.post(f"/api/v1/subscriptions/{paused}/pause")).raise_for_status()
    await publish(api, "held.limited", times=4)
    await publish(api, "held.paused", times=2)
    await publish(api, "held.pulled")

    async def counted() -> bool:
        query = {"group_by": "held_by", "held_by": ["rate_limit", "paused", "pull"]}
        groups = (await api.http.get("/api/v1/deliveries/summary", params=query)).json()["groups"]
        return {group["value"]: group["deliveries"] for group in groups} == {"rate_limit": 3, "paused": 2, "pull": 1}

    await wait_until(counted, what="the dispatcher to hold them")
    await window.open("/")
    held = card(window, "Held back")
    for name, number in (("Rate limit", "3"), ("Subscription paused", "2"), ("To be pulled", "1")):
        row = held.get_by_role("listitem").filter(has_text=name)
        await row.get_by_text(number, exact=True).wait_for()
    await held.get_by_role("link", name="Rate limit").click()
    await window.settled()
    rows = window.page.get_by_role("table", name="Deliveries").locator("tbody tr")
    await rows.nth(2).wait_for()
    assert await rows.count() == 3
    assert (await api.http.get(f"/api/v1/subscriptions/{limited}")).json()["status"] == "active"


async def test_the_overview_shows_what_is_delivered_in_this_second(
    window: Window, api: Api, receiver: Receiver
) -> None:
    await api.subscribe(receiver.url("/now"), event_types=["now.seen"])
    await window.open("/")
    shown = card(window, "Deliveries by outcome").get_by_text("Per second now:")
    await shown.wait_for()

    async def counted() -> bool:
        await publish(api, "now.seen", times=3)
        return "now: 0 delivered" not in await shown.inner_text()

    await wait_until(counted, what="a second with deliveries")


async def test_statistics_compare_any_two_periods_and_are_saved_with_both(
    window: Window, api: Api, receiver: Receiver
) -> None:
    subscription = await api.subscribe(receiver.url("/compared"), name="compared", event_types=["compared.seen"])
    await publish(api, "compared.seen", times=2)
    hour = {"step": "1m", "subscription_id": subscription}

    async def rolled_up() -> bool:
        found = (await api.http.get("/api/v1/stats/series", params=hour)).json()
        return bool(found["total"]["summary"]["delivered"] == 2)

    await wait_until(rolled_up, what="the statistics")
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    # An hour that is over before anything happened, with this one compared to it.
    query = f"by=subscription&period=1h&to={now - timedelta(hours=3):%Y-%m-%dT%H:%M:00.000Z}"
    await window.open(f"/statistics?{query}&compare={now - timedelta(minutes=55):%Y-%m-%dT%H:%M:00.000Z}")
    delivered = window.page.locator(".tile").filter(has_text="Delivered")
    await delivered.get_by_text("was ").wait_for()
    was = int((await delivered.locator(".tilenote").inner_text()).removeprefix("was ").partition(",")[0])
    assert was >= 2
    address = parse_qs(urlsplit(await delivered.get_attribute("href") or "").query)
    assert address["to"] == [f"{now - timedelta(hours=3):%Y-%m-%dT%H:%M:00.000Z}"]
    async with window.page.expect_download() as saving:
        await button(window.page, "CSV").click()
    rows = list(csv.DictReader(io.StringIO((await (await saving.value).path()).read_text())))
    sums = {"shown": 0, "compared": 0}
    for row in rows:
        if row["group"] == "total":
            sums[row["period"]] += int(row["delivered"])
    assert sums == {"shown": 0, "compared": was}
    assert {row["period"] for row in rows if row["group"] == "compared"} == {"compared"}


async def test_statistics_say_that_nothing_is_kept_of_a_period(window: Window) -> None:
    await window.open("/statistics?period=1h&compare=2020-01-01T00:00:00.000Z")
    await window.page.get_by_text("Nothing is kept of the compared period.").wait_for()
    # The browser reports the refusal of that period, too.
    assert [fault for fault in window.faults if "422" not in fault] == []
    window.faults.clear()


async def test_canceling_several_deliveries_asks_first(window: Window, api: Api, receiver: Receiver) -> None:
    paused = await api.subscribe(receiver.url("/many"), event_types=["many.seen"])
    (await api.http.post(f"/api/v1/subscriptions/{paused}/pause")).raise_for_status()
    await publish(api, "many.seen", times=3)
    await window.open(f"/deliveries?subscription_id={paused}")
    page = window.page
    await page.get_by_role("checkbox", name="Choose all").check()
    chosen = page.get_by_role("region", name="Chosen deliveries")
    await chosen.get_by_text("3 deliveries chosen").wait_for()
    await button(chosen, "Cancel").click()
    asked = page.get_by_role("dialog")
    await button(asked, "Keep it as it is").click()
    waiting = {"subscription_id": paused, "status": "pending"}
    assert len((await api.http.get("/api/v1/deliveries", params=waiting)).json()["items"]) == 3
    await button(chosen, "Cancel").click()
    await button(asked, "Cancel them").click()
    await page.get_by_text("3 deliveries cancelled").wait_for()
    assert (await api.http.get("/api/v1/deliveries", params=waiting)).json()["items"] == []


async def test_inbound_shows_the_url_of_each_provider_and_what_was_refused(
    window: Window, api: Api, receiver: Receiver
) -> None:
    provider = await api.subscribe(receiver.url("/provider"), name="provider", verify="required")
    path = (await api.http.post(f"/api/v1/subscriptions/{provider}/ingest-token")).json()["path"]
    own = await api.subscribe(receiver.url("/own"), name="own", verify="required")
    for _ in range(3):
        assert (await api.http.post(path, json={"order": 1})).status_code == 401

    async def counted() -> bool:
        query = {"subscription_id": provider}
        return bool((await api.http.get("/api/v1/stats/refusals", params=query)).json()["events"] == 3)

    await wait_until(counted, what="the gateway to hand over what it counted")
    await window.open("/inbound")
    taking = window.page.get_by_role("table", name="Subscriptions that take webhooks in").locator("tbody tr")
    for name, url in (("provider", f"/{provider}/{{token}}"), ("own", f"/{own}")):
        shown = await taking.filter(has=window.page.get_by_role("link", name=name, exact=True)).inner_text()
        assert f"POST …/api/v1/webhooks/ingest{url}" in map(str.strip, shown.splitlines()), shown
    assert path.rpartition("/")[2] not in await window.page.content()
    refused = card(window, "Refused in the last 24 hours").locator("tbody tr").filter(has_text="provider")
    assert (await refused.inner_text()).split("\t")[:3] == ["Signature missing", "provider", "3"]
    await refused.get_by_role("link", name="provider").click()
    await window.page.get_by_role("heading", name="provider").wait_for()


PRETTY = r"""{
  "payload": 1.10,
  "none": [],
  "odd": [
    1e2,
    "a \"]\" \\"
  ],
  "in": {
    "x": {}
  }
}"""


async def test_a_payload_is_shown_as_it_was_written_and_never_a_tag_of_that_name(window: Window, api: Api) -> None:
    payload = r'{"payload": 1.10, "none": [], "odd": [1e2, "a \"]\" \\"], "in": {"x": {}}}'
    body = '{"event_type": "raw.seen", "tags": {"payload": "no"}, "payload": ' + payload + "}"
    made = await api.http.post("/api/v1/events", content=body, headers={"Content-Type": "application/json"})
    await window.open(f"/events/{made.json()['event_id']}")
    shown = window.page.get_by_role("group", name="Payload", exact=True).last
    assert await shown.inner_text() == PRETTY
    await button(window.page, "Raw").click()
    assert await shown.inner_text() == payload
