"""A browser, the service as `make run` starts it, and pages that note what they must not do."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from dev.harness import stack as stacks
from dev.harness.api import TLS, Api
from dev.harness.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# For what is waited for; a busy machine takes long, and what is broken never comes.
PATIENCE_MS = 60_000
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
    # Not before it is known that there is a browser: its driver is a process of its own.
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        # Containers have no user namespaces for its sandbox. The pages are our own.
        started = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
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
async def window(browser: "Browser", console: Stack) -> AsyncIterator[Window]:
    """A window that has seen nothing yet; a test fails for what it must not do."""
    context = await browser.new_context(base_url=console.base_url, viewport={"width": 1280, "height": 800})
    opened = Window(await context.new_page(), console.base_url)
    yield opened
    await context.close()
    assert opened.faults == []
