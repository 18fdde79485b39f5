"""An outage that somebody on call finds and mends: its deliveries, made by SQL, and the way through the console."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.platform import ids
from tests.console.conftest import PATIENCE_MS, button

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page

RATE_PER_SECOND = 50
OUTAGE = timedelta(minutes=45)
# The numbers $1 to $2, of tenant $3 and its subscription $6, accepted one after the other from $4 on for $5 seconds.
# All have the status $7, and the tag of an order.
_INSERT = """
WITH timed AS MATERIALIZED (
    SELECT n, $4::timestamptz + make_interval(secs => $5::float8 * (n - $1) / ($2 - $1 + 1)) AS at,
           md5('event' || n || $3::text) AS event_bits, md5('delivery' || n || $3) AS delivery_bits
    FROM generate_series($1::bigint, $2::bigint) AS n
), made AS MATERIALIZED (
    SELECT n, at, at + interval '1 second' AS sent_at,
           (moment || '7' || left(event_bits, 3) || '8' || substr(event_bits, 4, 15))::uuid AS event_id,
           (moment || '7' || left(event_bits, 3) || '8' || left(delivery_bits, 15))::uuid AS id
    FROM (SELECT *, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS moment FROM timed) AS numbered
), stored AS (
    INSERT INTO webhook_events (id, created_at, tenant_id, event_type, content_type, payload)
    SELECT event_id, at, $3, 'order.paid', 'application/json', convert_to('{"order": ' || n || '}', 'UTF8') FROM made
), tagged AS (
    INSERT INTO event_tags (event_id, tenant_id, tag) SELECT event_id, $3, 'order=' || n FROM made
), history AS (
    INSERT INTO webhook_deliveries (id, event_id, subscription_id, created_at, completed_at, status, attempt_count,
                                    tenant_id, event_type, reason)
    SELECT id, event_id, $6::uuid, at, sent_at, $7::text::delivery_status, 1, $3, 'order.paid',
           CASE WHEN $7 = 'failed' THEN 'retries_exhausted' END
    FROM made
), attempted AS (
    INSERT INTO delivery_attempts (delivery_id, subscription_id, started_at, recorded_at, claim_token, number,
                                   duration_ms, request, status_code, final, outcome, tenant_id, event_type,
                                   error_message)
    SELECT id, $6, sent_at, sent_at, id, 1, 12, 1, CASE WHEN $7 = 'failed' THEN 503 ELSE 200 END, true,
           CASE WHEN $7 = 'failed' THEN 'http_5xx' ELSE 'success' END, $3, 'order.paid',
           CASE WHEN $7 = 'failed' THEN 'the receiver responded with 503' END
    FROM made
)
INSERT INTO unsuccessful_deliveries (id, subscription_id, status, attempt_count, last_status_code, last_error_kind,
                                     tenant_id, ended_at)
SELECT id, $6, 'failed', 1, 503, 'http_5xx', $3, sent_at FROM made WHERE $7 = 'failed'
"""


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What failed at the first of the tenants."""

    tenants: Sequence[str]
    from_time: datetime
    failed: int
    # Of one of those that failed.
    order: int

    @property
    def to_time(self) -> datetime:
        """The first moment after it."""
        return self.from_time + OUTAGE


async def make(stack: Stack, receiver: Receiver, *, deliveries: int, failed: int) -> Outage:
    """Make so many deliveries of three tenants within half a day; `failed` of them in the outage of the first tenant.

    A few of it failed at other times, and of the others at the same time.
    """
    moment = datetime.now(UTC).replace(second=0, microsecond=0)
    begin, outage = moment - timedelta(hours=12), moment - timedelta(hours=3)
    name = ids.new().hex[-8:]
    tenants = [f"{kind}-{name}" for kind in ("acme", "globex", "initech")]
    connection = await asyncpg.connect(stack.ports["database_url"])
    few = max(1, failed // 20)
    delivered = (deliveries - failed - 3 * few) // len(tenants)
    try:
        await connection.execute(
            "SELECT create_partitions($1::date, $2::date)", begin.date(), moment.date() + timedelta(days=1)
        )
        number = 1

        async def insert(
            tenant: str, subscription_id: UUID, count: int, at: datetime, lasts: timedelta, status: str
        ) -> None:
            nonlocal number
            last = number + count - 1
            await connection.execute(
                _INSERT, number, last, tenant, at, lasts.total_seconds(), subscription_id, status, timeout=600
            )
            number = last + 1

        for tenant in tenants:
            subscription_id = ids.new()
            await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, $1)", tenant)
            await connection.execute(
                "INSERT INTO subscriptions (id, tenant_id, target_url, event_types, name)"
                " VALUES ($1, $2, $3, '{order.none}', 'orders')",
                subscription_id, tenant, receiver.url(f"/{tenant}"),
            )  # fmt: skip
            if tenant == tenants[0]:
                first = number
                await insert(tenant, subscription_id, failed, outage, OUTAGE, "failed")
                await insert(tenant, subscription_id, few, begin, timedelta(hours=1), "failed")
            else:
                await insert(tenant, subscription_id, few, outage, OUTAGE, "failed")
            await insert(tenant, subscription_id, delivered, begin, timedelta(hours=11), "delivered")
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return Outage(tenants=tenants, from_time=outage, failed=failed, order=first + failed // 2)


async def tab_to(page: "Page", wanted: "Locator") -> None:
    """Press Tab until something has the focus."""
    await wanted.wait_for()
    for _ in range(300):
        if await wanted.evaluate("(element) => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {wanted}")


async def type_time(page: "Page", label: str, moment: datetime) -> None:
    """Type a time into a field, as its parts stand in it."""
    await tab_to(page, page.get_by_label(label))
    await page.keyboard.type(f"{moment:%m%d%Y}")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.type(f"{moment:%I%M}{moment:%p}")


async def press(page: "Page", wanted: "Locator") -> None:
    """Come to something by Tab, and press Enter."""
    await tab_to(page, wanted)
    await page.keyboard.press("Enter")


async def mend(browser: "Browser", stack: Stack, outage: Outage) -> tuple[float, list[int], float]:
    """Find a delivery by its order, and recover all that failed in the outage, with nothing but the keyboard.

    Return the seconds until the delivery was seen, the progress of the job as it was seen, and its seconds.
    """
    context = await browser.new_context(
        base_url=stack.base_url, viewport={"width": 1280, "height": 800}, locale="en-US", timezone_id="UTC"
    )
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    tenant = outage.tenants[0]
    await page.goto("/")
    await page.get_by_role("heading", name="Overview", level=1).wait_for()
    await page.keyboard.type("gn")
    await press(page, page.locator(f'a[href="/?tenant={tenant}"]'))
    await page.get_by_text(f"Acting in {tenant}").wait_for()

    began_at = time.monotonic()
    await page.keyboard.press("/")
    await page.keyboard.type(f"order={outage.order}")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="order.paid", level=1).wait_for()
    await page.get_by_text("the receiver responded with 503").wait_for()
    found_seconds = time.monotonic() - began_at

    await page.locator("h1").focus()
    await page.keyboard.type("gd")
    await page.get_by_role("heading", name="Deliveries", level=1).wait_for()
    await page.locator("tbody tr").first.wait_for()
    await page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Filters")
    await type_time(page, "Accepted from", outage.from_time)
    await type_time(page, "Accepted before", outage.to_time)
    await press(page, button(dialog, "Search"))
    await dialog.wait_for(state="detached")
    await press(page, page.get_by_role("navigation", name="States").get_by_role("link", name="Failed"))
    await press(page, button(page, "Recover all that match"))
    await press(page, button(page, "Count them first"))
    start = page.get_by_role("button", name=re.compile(r"^Retry [0-9,]+ deliver(y|ies)$"))
    await start.wait_for()
    assert await start.inner_text() == f"Retry {outage.failed:,} deliveries"
    began_at = time.monotonic()
    await press(page, start)
    await page.get_by_role("heading", name=f"Retry {outage.failed:,} deliveries", level=1).wait_for()
    seen: list[int] = []

    async def complete() -> bool:
        text = await page.locator(".strong.num").first.inner_text()
        done = int(text.partition(" of ")[0].replace(",", ""))
        if not seen or seen[-1] != done:
            seen.append(done)
        return bool(await page.locator(".badge", has_text="Complete").count())

    await wait_until(complete, timeout_seconds=60 + 10 * outage.failed / RATE_PER_SECOND, what="the job to be complete")
    seconds = time.monotonic() - began_at
    await page.locator("a.tile", has_text="Delivered since").get_by_text(f"{outage.failed:,}", exact=True).wait_for()
    await context.close()
    return found_seconds, seen, seconds


def check(receiver: Receiver, outage: Outage) -> None:
    """Check that what failed in the outage, and nothing else, was delivered, and once."""
    sent = {tenant: receiver.on(f"/{tenant}") for tenant in outage.tenants}
    assert [len(requests) for requests in sent.values()] == [outage.failed, 0, 0]
    assert len({request.headers["webhook-id"] for request in sent[outage.tenants[0]]}) == outage.failed
