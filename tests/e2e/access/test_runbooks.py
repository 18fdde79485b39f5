"""An operator can make each API call of the runbooks, in another tenant than its own."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from dev.harness.api import Api
from dev.harness.keys import Admin, bearer
from dev.harness.stack import Stack

PAGES = sorted((Path(__file__).resolve().parents[3] / "docs/operations/runbooks").glob("*.md"))
BLOCKS = [
    (page.stem, block)
    for page in PAGES
    for block in re.findall(r"^ *```sh\n(.+?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    if "$URL" in block
]
# Calls that runbooks mention without a command.
IN_PROSE = re.compile(r"`(?:GET|POST|PUT|PATCH|DELETE) (/[^`]+)`")


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(BLOCKS)])
async def test_an_operator_can_do_what_a_runbook_orders(
    keyed: Stack, admin: Admin, a_name: str, page: str, block: str
) -> None:
    await admin.tenant(a_name)
    theirs = await admin.created(tenant_id=a_name)
    async with httpx.AsyncClient(base_url=keyed.base_url, headers=bearer(theirs["key"]), timeout=60) as http:
        api = Api(http)
        waiting = await api.subscribe("https://example.com/hook")
        assert (await http.post(f"/api/v1/subscriptions/{waiting}/pause")).status_code == 200
        delivery_id = await api.sent(waiting)
        if page == "WebhookBacklogGrowing":  # which pauses it
            assert (await http.post(f"/api/v1/subscriptions/{waiting}/resume")).status_code == 200
    values = {
        "URL": keyed.base_url,
        "ADMIN_KEY": await admin.key(role="admin"),
        "TENANT": a_name,
        "SUBSCRIPTION": waiting,
        "DELIVERY": delivery_id,
        "KEY_ID": theirs["id"],
        "SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-euc", block],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def test_runbooks_order_by_command() -> None:
    assert len(BLOCKS) >= 9
    for page in PAGES:
        assert not IN_PROSE.findall(page.read_text()), f"{page.name}: show the command, so that it is tested"
