"""Do what the pages say about keys, as they say it."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from dev.harness.api import Api
from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.stack import ROOT, Stack


def scripts(variable: str) -> list[str]:
    """Return the commands of the page that need this variable."""
    page = (ROOT / "docs/guides/keys.md").read_text()
    return [found for found in re.findall(r"^```sh\n(.+?)^```", page, re.MULTILINE | re.DOTALL) if variable in found]


def output_of(script: str, folder: Path, **variables: str) -> str:
    """Run a command and return its output; fail if it fails."""
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_tenant_and_key_are_made_as_printed(keyed: Stack, tmp_path: Path) -> None:
    (script,) = scripts("$BOOTSTRAP_ADMIN_KEY")
    printed = output_of(script, tmp_path, URL=keyed.base_url, BOOTSTRAP_ADMIN_KEY=ADMIN_KEY)
    assert '"id":"acme","name":"Acme Ltd"' in printed
    assert re.search(r'"key":"whk_[A-Za-z0-9]{43}"', printed)


async def test_operators_act_in_other_tenants_as_printed(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin, a_name: str, tmp_path: Path
) -> None:
    await admin.tenant(a_name)
    http.headers.update(bearer(await admin.key(a_name)))
    subscription_id = await Api(http).subscribe("https://example.com/hook")
    names = {"SUBSCRIPTION": subscription_id, "DELIVERY": await Api(http).sent(subscription_id)}
    found = scripts("$ADMIN_KEY")
    assert len(found) == 2
    for script in found:
        named = script.replace("acme", a_name)
        printed = await asyncio.to_thread(
            output_of, named, tmp_path, URL=keyed.base_url, ADMIN_KEY=await admin.key(role="admin"), **names
        )
        assert '"title"' not in printed
        assert f'"tenant_id":"{a_name}"' in printed


def demo(keyed: Stack, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The demo with a running service."""
    return subprocess.run(
        [sys.executable, "-m", "dev.demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(keyed.port), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


async def test_the_demo_works_with_a_service_that_requires_a_key(keyed: Stack, admin: Admin, tmp_path: Path) -> None:
    done = demo(keyed, tmp_path, API_KEY=await admin.key(role="write"))
    assert done.returncode == 0, done.stdout + done.stderr
    without = demo(keyed, tmp_path)
    assert without.returncode == 1
    assert "401" in without.stderr
    assert "KEY_MISSING" in without.stderr
