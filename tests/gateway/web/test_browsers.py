"""What a gateway that requires no keys serves: only what is addressed to this machine, by no other website."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from services.platform import ids
from tests.gateway.conftest import gateway
from tests.gateway.fakes import Services

API = "/api/v1/subscriptions"
WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"
HERE = ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:80"]
ELSEWHERE = ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"]
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local(_running_services: Services) -> AsyncIterator[str]:
    """The URL of such a gateway."""
    async with gateway(_running_services.port, local_only=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def browser(local: str, services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=local, timeout=60) as opened:
        yield opened


@pytest.mark.parametrize("host", HERE)
async def test_this_machine_is_served_by_any_of_its_names(browser: httpx.AsyncClient, host: str) -> None:
    assert (await browser.get(API, headers={"Host": host})).status_code == 200
    assert (await browser.post(WEBHOOK, content=b"1", headers={"Host": host})).status_code == 202


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_another_name_of_this_machine_is_refused(browser: httpx.AsyncClient, host: str) -> None:
    for method, path in (("GET", API), ("POST", API), ("POST", WEBHOOK), ("GET", "/nope")):
        answer = await browser.request(method, path, headers={"Host": host})
        assert (answer.status_code, answer.json()["reason"]) == (403, "HOST_FORBIDDEN"), (method, path)


async def test_another_website_is_refused(browser: httpx.AsyncClient, services: Services) -> None:
    for method, path in (("GET", API), ("POST", WEBHOOK)):
        answer = await browser.request(method, path, headers=CROSS_SITE, content=b"1")
        assert (answer.status_code, answer.json()["reason"]) == (403, "CROSS_SITE_REQUEST"), (method, path)
    for site in ("same-origin", "same-site", "none"):
        assert (await browser.get(API, headers={"Sec-Fetch-Site": site})).status_code == 200, site


async def test_pages_are_served_to_those_who_follow_a_link(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/deliveries", "/livez"):
        headers = {"Accept": "text/html", "Host": "evil.example"} | CROSS_SITE
        assert (await browser.get(path, headers=headers)).status_code == 200, path


async def test_nobody_needs_to_sign_in(browser: httpx.AsyncClient) -> None:
    found = (await browser.get("/console/session")).json()
    assert (found["required"], found["caller"]["role"]) == (False, "admin")
