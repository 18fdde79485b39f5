"""People who sign in by OpenID Connect, in a real browser, whose rules for cookies decide whether they can."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.embedded import ports
from dev.harness import keys, oidc
from dev.harness import stack as stacks
from dev.harness.oidc import Person
from tests.console.conftest import PATIENCE_MS, button, violations

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.timeout(600)


async def test_a_person_signs_in_at_another_site_and_goes_on_where_they_were(
    browser: "Browser", short_folder: Path
) -> None:
    port = ports.free_port()
    async with oidc.providing() as provider:
        # Another site than that of the console, which is at 127.0.0.1.
        provider.issuer = provider.issuer.replace("127.0.0.1", "localhost")
        environment = {
            **keys.ENVIRONMENT,
            "OIDC_ISSUER": provider.issuer,
            "OIDC_CLIENT_ID": oidc.CLIENT_ID,
            "OIDC_CLIENT_SECRET": oidc.CLIENT_SECRET,
            "OIDC_REDIRECT_URL": f"http://127.0.0.1:{port}/console/oidc/callback",
            "OIDC_GROUP_ROLES": json.dumps([{"group": "operators", "role": "admin"}]),
        }
        folder = short_folder / "signing-in"
        with stacks.running(folder, port=port, environment=environment, processes="one") as stack:
            context = await browser.new_context(base_url=stack.base_url, viewport={"width": 1280, "height": 800})
            page = await context.new_page()
            page.set_default_timeout(PATIENCE_MS)

            provider.person = Person(subject="ada", groups=["others"])
            await page.goto("/deliveries?status=failed")
            enter = button(page, "Sign in with your organization")
            await enter.wait_for()
            assert await violations(page, "light", "dark") == []
            await enter.click()
            await page.get_by_text("None of your groups has a role here.").wait_for()
            assert await violations(page, "light", "dark") == []

            provider.person = Person(subject="ada", groups=["operators"])
            await enter.click()
            await page.get_by_role("heading", name="Deliveries", level=1).wait_for()
            assert page.url == f"{stack.base_url}/deliveries?status=failed"
            await page.get_by_text("Ada Lovelace").wait_for()
            await page.reload()
            await page.get_by_text("Ada Lovelace").wait_for()
            await page.get_by_role("link", name="Keys").click()
            await page.get_by_role("table", name="Keys and members").get_by_text("member", exact=True).wait_for()
            await page.get_by_role("button", name="Sign out").click()
            await enter.wait_for()
            await context.close()
