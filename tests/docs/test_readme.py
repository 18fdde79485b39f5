"""What the pages print for pasting is run here as it is printed, with other ports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from dev.harness.stack import ROOT, Stack


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def tour() -> str:
    """The blocks between the README's tour and its configuration, one after the other."""
    page = (ROOT / "README.md").read_text()
    part = page[page.index("## A tour with curl") : page.index("## Configuration")]
    return "\n".join(re.findall(r"^```sh\n(.+?)^```", part, re.MULTILINE | re.DOTALL))


def test_the_tour_works_as_printed(stack: Stack, free_port: int, tmp_path: Path) -> None:
    script = tour()
    assert script.count("8080") == 1
    assert script.count("9000") == 2
    script = script.replace("8080", str(stack.port)).replace("9000", str(free_port))
    # Long enough for a machine that runs tests beside it.
    script = script.replace("sleep 1\n", "sleep 4\n")
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The receiver got the webhook, the event, and the webhook again.
    assert done.stdout.count('received order.created {"order": 42,  "total": 9.90}') == 2
    assert done.stdout.count('received order.paid {"order": 42}') == 1
    # The look-up, the list and the retry show it; the answers are shown before ids are cut out of them.
    assert done.stdout.count('"status": "delivered"') == 2
    assert done.stdout.count('"status": "pending"') == 1
    assert '"has_secret":true' in done.stderr
    assert '"status":"pending"' in done.stderr
    assert '"attempts_by_outcome"' in done.stdout


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
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("subscribed", "accepted", "accepted", "refused", "delivery", "INVALID_ARGUMENT", "fields"),
    ]
    assert lines[1].endswith("deliveries: 1")
    assert lines[-1] == "fields at fault: ['subscription_id']"
    event_id = lines[1].split()[1]
    assert httpx.get(f"{stack.base_url}/api/v1/events/{event_id}", timeout=10).json()["payload"] == {"order": 1}


def test_the_commands_that_start_a_process_by_hand_are_those_that_exist() -> None:
    page = (ROOT / "README.md").read_text()
    for module in re.findall(r"`(?:python -m )?(services\.[a-z.]+)`", page):
        assert (ROOT / module.replace(".", "/") / "__main__.py").exists(), module
