"""How soon each page shows its data among 10 million deliveries, in a real browser.

DELIVERIES sets how many, and SCALE_FOLDER where they are kept for another run, as `make acceptance-search` keeps them.
"""

import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from dev.harness.stack import Stack
from dev.scale import run
from dev.scale.rows import Made
from tests.console.conftest import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.timeout(6 * 3600)
DELIVERIES = int(os.environ.get("DELIVERIES", "10000000"))
# The first look may read from disk, and the browser compiles what it loads; it does not count.
LOOKS = 6
MOST_SECONDS = 1.0
# Milliseconds from the beginning of the navigation until the page has a heading and nothing that stands for data.
PAINTED = """
new Promise((done) => {
  const look = () => {
    const waits = [...document.querySelectorAll(".tilevalue")].some((each) => each.textContent === "…");
    if (document.querySelector("main h1") && !document.querySelector(".skeleton") && !waits) {
      requestAnimationFrame(() => done(performance.now()));
    } else requestAnimationFrame(look);
  };
  look();
})
"""


@pytest.fixture(scope="module")
def among_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Made]]:
    kept = os.environ.get("SCALE_FOLDER")
    folder = Path(kept).resolve() if kept else tmp_path_factory.mktemp("scale")
    folder.mkdir(parents=True, exist_ok=True)
    with run.serving(folder, DELIVERIES, print) as serving:
        yield serving


async def pages(stack: Stack, made: Made) -> dict[str, str]:
    """Return addresses of every page, of what is largest."""
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=120) as http:
        (failed,) = (await http.get("/api/v1/deliveries", params={"status": "failed", "limit": 1})).json()["items"]
    largest = made.subscriptions[0]
    return {
        "overview": "/",
        "deliveries": "/deliveries",
        "deliveries that failed": "/deliveries?status=failed",
        "deliveries of a tag": "/deliveries?tag=customer%3D7",
        "delivery": f"/deliveries/{failed['id']}",
        "live": "/live",
        "events": "/events",
        "event": f"/events/{failed['event_id']}",
        "subscriptions": "/subscriptions",
        "subscription": f"/subscriptions/{largest}",
        "its deliveries": f"/subscriptions/{largest}?view=deliveries",
        "inbound": "/inbound",
        "catalog": "/catalog",
        "jobs": "/jobs",
        "statistics": "/statistics?by=event_type&period=7d",
        "keys": "/keys",
        "audit": "/audit",
        "tenants": "/tenants",
        "system": "/system",
    }


async def test_every_page_shows_its_data_within_a_second(browser: "Browser", among_many: tuple[Stack, Made]) -> None:
    stack, made = among_many
    context = await browser.new_context(base_url=stack.base_url, viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    slow = []
    for name, path in (await pages(stack, made)).items():
        looks = []
        for _ in range(LOOKS):
            await page.goto(path, wait_until="commit")
            looks.append(float(await page.evaluate(PAINTED)) / 1000)
        first, *others = looks
        median = statistics.median(others)
        print(f"{name:<24} first {first:6.3f} s, then median {median:6.3f} s, longest {max(others):6.3f} s")  # noqa: T201
        if median > MOST_SECONDS:
            slow.append(f"{name}: {median:.3f} s")
    await context.close()
    assert slow == []
