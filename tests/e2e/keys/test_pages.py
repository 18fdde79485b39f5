"""What the pages say about keys is done here as they say it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.keys import ADMIN_KEY, Admin
from tests.support.stack import ROOT, Stack


def test_the_first_tenant_and_key_are_made_as_printed(keyed: Stack, tmp_path: Path) -> None:
    page = (ROOT / "docs/keys.md").read_text()
    (script,) = re.findall(r"^```sh\n(.+?)^```", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "URL": keyed.base_url, "BOOTSTRAP_ADMIN_KEY": ADMIN_KEY},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"id":"acme","name":"Acme Ltd"' in done.stdout
    assert re.search(r'"key":"whk_[A-Za-z0-9]{43}"', done.stdout)


def demo(keyed: Stack, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The demo against a service that runs."""
    return subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(keyed.port), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


async def test_the_demo_shows_a_service_that_asks_for_a_key(keyed: Stack, admin: Admin, tmp_path: Path) -> None:
    done = demo(keyed, tmp_path, API_KEY=await admin.key(role="write"))
    assert done.returncode == 0, done.stdout + done.stderr
    without = demo(keyed, tmp_path)
    assert without.returncode == 1
    assert "401" in without.stderr
    assert "KEY_MISSING" in without.stderr
