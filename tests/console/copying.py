"""Every action of the console can be copied as curl: the command is what the page sends, and nothing is sent meanwhile.

All buttons of all pages are pressed, in their dialogs too: first to copy, then to see the request itself, which is not
let through. A page that is new, or an action that none of these pages has, needs a place here.
"""

import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from tests.console.conftest import PATIENCE_MS, button

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page, Request, Route

pytestmark = pytest.mark.timeout(3600)
# What these pages can do. Ending a session, and checking a target again, need other settings of the service: both go
# the way of the others, through `send` of lib/api.js, which test_files.py sees to.
ACTIONS = {
    *("POST /api/v1/deliveries/ID/retry", "POST /api/v1/deliveries/ID/cancel"),
    *("POST /api/v1/events", "POST /api/v1/events/ID/cancel"),
    *("POST /api/v1/jobs", "POST /api/v1/jobs/ID/pause", "POST /api/v1/jobs/ID/resume", "POST /api/v1/jobs/ID/cancel"),
    *("POST /api/v1/subscriptions", "POST /api/v1/subscriptions/test", "PATCH /api/v1/subscriptions/ID"),
    *("DELETE /api/v1/subscriptions/ID", "POST /api/v1/subscriptions/ID/test"),
    *("POST /api/v1/subscriptions/ID/pause", "POST /api/v1/subscriptions/ID/resume"),
    *("POST /api/v1/subscriptions/ID/enable", "POST /api/v1/subscriptions/ID/disable"),
    *("POST /api/v1/subscriptions/ID/rotate-secret", "POST /api/v1/subscriptions/ID/ingest-token"),
    *("DELETE /api/v1/subscriptions/ID/ingest-token", "POST /api/v1/templates/preview"),
    *("POST /api/v1/admin/api-keys", "DELETE /api/v1/admin/api-keys/ID"),
    *("POST /api/v1/admin/tenants", "PATCH /api/v1/admin/tenants/ID", "DELETE /api/v1/admin/tenants/ID"),
}
# Buttons that only show something, or copy.
BUTTONS = "main button:visible:not([disabled], [aria-label^='Copy'], [title='Remove'], .segments *, nav *, .fresh *)"
OF_DIALOGS = (
    "dialog[open] .dialogbody button:visible:not([disabled]), dialog[open] footer button:visible:not([disabled])"
)
LEAVE = ("Close", "Keep it as it is", "Done", "Search")
COPY = "Copy the next action as curl"
_PREVIEWS = '"dry_run":true'
# A page, its dialog, and what the dialog has after a preview.
MOST_STEPS = 3
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/tenants/)[a-z0-9-]+")
# Rows of a list differ in it.
_BRIEF = re.compile(r"[0-9a-f…-]{6,}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]+Z")
# Fills what a form requires, and changes something of one that has all.
FILL = """
async (root) => {
  const put = async (input, value, name = "input") => {
    if (input.value === value) return;
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(input), "value").set.call(input, value);
    input.dispatchEvent(new Event(name, { bubbles: true }));
    // What is typed next belongs to a form that knows of it.
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn, 20)));
  };
  for (const input of root.querySelectorAll("select, input, textarea")) {
    const label = input.labels?.[0]?.textContent || "";
    if (label === "What is sent") await put(input, "slack", "change");
    else if (["Description", "Name"].includes(label) && !input.required) await put(input, "walked");
    else if (input.required && !input.value && input.type !== "password") {
      await put(input, input.type === "url" ? "http://127.0.0.1:9/walked" : input.type === "number" ? "1" : "walked");
    }
  }
  for (const details of root.querySelectorAll("details")) details.open = true;
}
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A page, and what is clicked before its actions are there."""

    path: str
    first: str = ""


@dataclass(kw_only=True)
class Walk:
    """A page of the browser whose changes are noted and not let through, but for what only looks."""

    page: "Page"
    sent: list["Request"] = field(default_factory=list)
    done: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    async def route(self, route: "Route") -> None:
        """Let a request through that reads or previews."""
        request = route.request
        if request.method == "GET" or not urlsplit(request.url).path.startswith("/api/"):
            await route.continue_()
            return
        self.sent.append(request)
        if _PREVIEWS in (request.post_data or ""):
            await route.continue_()
        else:
            await route.abort()

    async def calm(self) -> None:
        """Wait until what a click leads to at once is drawn."""
        await self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 120)))")

    async def click(self, place: Place, steps: Sequence[int], *, copy: bool) -> list[str]:
        """Click buttons one after the other; return the commands if the last click is one to copy."""
        page = self.page
        await page.goto(place.path)
        await page.locator("main h1").first.wait_for(state="attached")
        await page.locator(".skeleton").first.wait_for(state="detached")
        if place.first:
            await page.locator(place.first).first.click()
        await self.calm()
        for position, number in enumerate(steps, start=1):
            last = position == len(steps)
            await page.locator("#app").evaluate(FILL)
            await self.calm()
            self.sent.clear()
            if last and copy:
                await page.locator("dialog[open] footer, header.top").get_by_label(COPY).last.click()
            await (await self.buttons()).nth(number).click()
            await self.calm()
            if self.sent and not last:  # a preview, whose result has buttons of its own
                await page.locator("dialog[open] button[aria-busy]").first.wait_for(state="detached")
                await self.calm()
        found = page.get_by_text("Nothing was done.")
        return await page.get_by_role("group", name="Command").all_inner_texts() if copy and await found.count() else []

    async def buttons(self) -> "Locator":
        """Return those that can be pressed now: of the dialog, if one is open."""
        is_open = await self.page.locator("dialog[open]").count()
        return self.page.locator(OF_DIALOGS if is_open else BUTTONS)

    async def explore(self, place: Place, steps: tuple[int, ...] = ()) -> None:
        """Press every button of a page, or of the dialog that these steps lead to."""
        await self.click(place, steps, copy=False)
        await self.page.locator("#app").evaluate(FILL)
        await self.calm()
        buttons = await self.buttons()
        names = [await self._name(buttons.nth(number)) for number in range(await buttons.count())]
        seen = set(LEAVE)
        for number, name in enumerate(names):
            like_it = _BRIEF.sub("ID", name)
            if like_it not in seen and not name.startswith("Copy"):
                seen.add(like_it)
                await self._one(place, (*steps, number), name)

    async def _name(self, one: "Locator") -> str:
        label: str | None = await one.get_attribute("aria-label")
        return label or str(await one.inner_text()).strip()

    async def _one(self, place: Place, steps: tuple[int, ...], name: str) -> None:
        commands = await self.click(place, steps, copy=True)
        if self.sent:
            self.faults.append(f"{place.path}, {name}: sends {self.sent[0].url} while it copies")
        if not commands:  # nothing, or something that opens a dialog
            if len(steps) == 1 and await self.page.locator("dialog[open]").count():
                await self.explore(place, steps)
            return
        await self.click(place, steps, copy=False)
        sent = list(self.sent)
        if len(commands) != len(sent):
            self.faults.append(f"{place.path}, {name}: {len(commands)} commands for {[one.url for one in sent]}")
        for command, request in zip(commands, sent, strict=False):
            self.done[f"{request.method} {_ID.sub('ID', urlsplit(request.url).path)}"] = command
            self.faults += [f"{place.path}, {name}: {fault}" for fault in differences(command, request)]
        if sent and _PREVIEWS in (sent[0].post_data or "") and len(steps) < MOST_STEPS:
            await self.explore(place, steps)


def parsed(command: str) -> tuple[str, str, dict[str, str], str | None]:
    """Return the method, URL, headers and body of a command."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["curl", "-sS"], command
    method, url, headers, body = "GET", "", dict[str, str](), None
    rest = iter(words[2:])
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name.lower()] = value
        elif word == "-d":
            body = next(rest)
        else:
            url = word
    return method, url, headers, body


def same(copied: Any, sent: Any) -> bool:
    """Return whether a value is the one that was sent: secrets are masked, and times go on."""
    if copied == "…":
        return isinstance(sent, str)
    if isinstance(copied, dict) and isinstance(sent, dict):
        return copied.keys() == sent.keys() and all(same(copied[name], sent[name]) for name in copied)
    if isinstance(copied, list) and isinstance(sent, list):
        return len(copied) == len(sent) and all(map(same, copied, sent))
    if isinstance(copied, str) and isinstance(sent, str) and _TIME.fullmatch(copied):
        return bool(_TIME.fullmatch(sent))
    # Each preview has a token of its own.
    return copied == sent or (isinstance(copied, str) and isinstance(sent, str) and len(copied) == len(sent) > 40)


def differences(command: str, request: "Request") -> list[str]:
    """Return how a command differs from the request that the page sends."""
    method, url, headers, body = parsed(command)
    named = ("content-type", "if-match", "idempotency-key", "x-tenant")
    pairs = [(name, headers.get(name), request.headers.get(name)) for name in named]
    found = [f"{name}: {copied} and not {sent}" for name, copied, sent in pairs if copied != sent]
    if (method, url) != (request.method, request.url):
        found.append(f"{method} {url} and not {request.method} {request.url}")
    sent = request.post_data
    if (body is None) != (sent is None) or (body and sent and not same(json.loads(body), json.loads(sent))):
        found.append(f"{body} and not {sent}")
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def walk(browser: "Browser", console: Stack) -> AsyncIterator[Walk]:
    context = await browser.new_context(base_url=console.base_url, viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    walked = Walk(page=page)
    await context.route("**/*", walked.route)
    yield walked
    await context.close()


async def more_places(api: Api, receiver: Receiver) -> list[Place]:
    """Make what other pages' actions need: what waits, is paused, disabled, or runs."""

    async def post(path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = await api.http.post(f"/api/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text
        found: dict[str, Any] = answer.json()
        return found

    types = ("walked.many", "walked.one", "walked.none")
    paused, held, disabled = [await api.subscribe(receiver.url(), event_types=[name]) for name in types]
    for one in (paused, held):
        await post(f"subscriptions/{one}/pause")
    await post(f"subscriptions/{disabled}/disable")
    await post(f"subscriptions/{paused}/ingest-token")
    waiting = await api.sent(paused)
    for name in types[:2]:  # so many that jobs take long
        await post("events/batch", {"events": [{"event_type": name, "payload": {}}] * 1000})
    scheduled = await post("events", {"event_type": "walked.later", "payload": {}, "delay_seconds": 86400})
    jobs = []
    for one in (paused, held):
        slow = {"kind": "cancel", "filter": {"subscription_id": [one]}, "rate_per_second": 1}
        jobs.append((await post("jobs", slow))["id"])
    await post(f"jobs/{jobs[1]}/pause")
    await post("admin/api-keys", {"name": "walked", "role": "read"})
    await post("admin/tenants", {"id": "walked"})
    rows = "tbody input[type=checkbox]"
    return [
        Place(path=f"/subscriptions/{paused}"),
        Place(path=f"/subscriptions/{paused}?view=inbound"),
        Place(path=f"/subscriptions/{disabled}"),
        Place(path="/subscriptions", first=rows),
        Place(path=f"/deliveries?subscription_id={paused}", first=rows),
        Place(path=f"/deliveries/{waiting}"),
        Place(path=f"/events/{scheduled['event_id']}"),
        *(Place(path=f"/jobs/{job}") for job in jobs),
    ]


async def test_every_action_is_copied_as_the_command_that_does_it(
    walk: Walk, places: dict[str, str], api: Api, receiver: Receiver
) -> None:
    more = await more_places(api, receiver)
    for place in [*more, *(Place(path=path) for path in places.values() if "tenant=" not in path)]:
        await walk.explore(place)
        print(f"{place.path}: {len(walk.done)} actions, {len(walk.faults)} faults")  # noqa: T201 - it takes minutes
    assert walk.faults == []
    assert ACTIONS - walk.done.keys() == set()
    assert walk.done.keys() - ACTIONS == set(), "name the new action in ACTIONS"


async def test_a_copied_command_does_what_it_says(walk: Walk, api: Api, receiver: Receiver) -> None:
    subscription_id = await api.subscribe(receiver.url("/copied"), event_types=["copied.none"])
    page = walk.page
    await page.goto(f"/subscriptions/{subscription_id}")
    await button(page, "Pause").wait_for()
    await page.keyboard.press("c")
    await page.get_by_text("The next action is copied as curl, and not done").wait_for()
    await button(page, "Pause").click()
    command = await page.get_by_role("group", name="Command").inner_text()
    path = f"/api/v1/subscriptions/{subscription_id}"
    assert (await api.http.get(path)).json()["status"] == "active"
    outcome = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)  # noqa: ASYNC221
    assert json.loads(outcome.stdout)["status"] == "paused"
    assert (await api.http.get(path)).json()["status"] == "paused"
    # The mode has ended with the dialog.
    await page.keyboard.press("Escape")
    await page.get_by_text("The next action is copied as curl").wait_for(state="detached")
