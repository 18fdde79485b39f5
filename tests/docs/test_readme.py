"""Run the commands in the pages as they are printed, with other ports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from dev.harness.stack import ROOT, Stack


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_webhook_of_the_readme_works_as_printed(stack: Stack, free_port: int, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    part = page[page.index("## Your first webhook") : page.index("## What it promises")]
    script = "\n".join(re.findall(r"^```sh\n(.+?)^```", part, re.MULTILINE | re.DOTALL))
    assert script.count("8080") == 1
    assert script.count("9000") == 2
    script = script.replace("8080", str(stack.port)).replace("9000", str(free_port))
    # Poll where the page sleeps, because the machine that runs tests may be busy.
    poll = (
        "for i in $(seq 500); do curl -sS $API/events/$EVENT/deliveries | grep -q delivered && break; sleep 0.2; done"
    )
    script = script.replace("sleep 1\n", poll + "\n")
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'received order.created {"order": 42}' in done.stdout
    assert '"secret_key":"whsec_' in done.stdout
    assert '"status": "delivered"' in done.stdout


def test_the_grpc_client_publishes(stack: Stack, tmp_path: Path) -> None:
    (source,) = blocks(ROOT / "docs/reference/grpc.md", "python")
    script = tmp_path / "publish.py"
    script.write_text(source)
    addresses = [f"127.0.0.1:{stack.ports[role]}" for role in ("ingest", "delivery")]
    done = subprocess.run(
        [sys.executable, str(script), *addresses, "http://127.0.0.1:9/hook"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("subscribed", "accepted", "accepted", "refused", "delivery", "found", "found", "INVALID_ARGUMENT", "fields"),
    ]
    assert lines[1].endswith("deliveries: 1")
    assert lines[-1] == "fields at fault: ['subscription_id']"
    event_id = lines[1].split()[1]
    assert httpx.get(f"{stack.base_url}/api/v1/events/{event_id}", timeout=60).json()["payload"] == {"order": 1}


def test_the_commands_that_start_a_process_by_hand_are_those_that_exist() -> None:
    page = (ROOT / "docs/operations/processes.md").read_text()
    for module in re.findall(r"`(?:python -m )?(services\.[a-z.]+)`", page):
        assert (ROOT / module.replace(".", "/") / "__main__.py").exists(), module
