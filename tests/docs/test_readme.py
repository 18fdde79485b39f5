"""Run the commands in the pages as they are printed, with other ports."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path

import httpx

from dev.harness.receiver import Receiver
from dev.harness.stack import ROOT, Stack
from tests.interrupts import heed_interrupts


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_webhook_of_the_readme_works_as_printed(stack: Stack, free_port: int, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    part = page[page.index("## Your first webhook") : page.index("### From the command line")]
    script = "\n".join(re.findall(r"^```sh\n(.+?)^```", part, re.MULTILINE | re.DOTALL))
    assert script.count("8080") == 1
    assert script.count("9000") == 2
    script = script.replace("8080", str(stack.port)).replace("9000", str(free_port))
    # Poll where the page sleeps, because the machine that runs tests may be busy.
    poll = (
        'for i in $(seq 500); do curl -sS $API/events/$EVENT/deliveries | grep -q \'"status":"delivered"\' && break;'
        " sleep 0.2; done"
    )
    script = script.replace("sleep 1\n", poll + "\n")
    # A reader pastes the blocks one after the other, so that the receiver is there before the event.
    listening = f"until curl -s -o /dev/null http://127.0.0.1:{free_port}/; do sleep 0.2; done"
    script = script.replace("RECEIVER=$!\n", f"RECEIVER=$!\n{listening}\n")
    assert listening in script
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


async def test_the_tour_of_the_command_line_works_as_printed(stack: Stack, receiver: Receiver, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    part = page[page.index("### From the command line") : page.index("## What it promises")]
    block = "".join(re.findall(r"^```sh\n(.+?)^```", part, re.MULTILINE | re.DOTALL))
    install, listen, *others = block.replace("localhost:3000", receiver.url("/").removeprefix("http://")).splitlines()
    assert install == "pip install './sdk/python[cli]'"  # which is here already
    command = tmp_path / "webhookctl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m webhook_service.cli "$@"\n')
    command.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "sdk/python/src"),
        "HOME": str(tmp_path),
        "WEBHOOKCTL_URL": stack.base_url,
        "WEBHOOKCTL_TENANT": f"tour-{uuid.uuid4().hex[:12]}",  # in which no other test publishes
    }
    tenant = {"id": variables["WEBHOOKCTL_TENANT"]}
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as client:
        assert (await client.post("/api/v1/admin/tenants", json=tenant)).status_code == 201

    async def run(line: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_shell(
            f"exec {line}", env=variables, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, preexec_fn=heed_interrupts
        )

    async with asyncio.timeout(240):
        listening = await run(f"{listen} --count 1")
        assert listening.stderr
        while b"listening" not in await listening.stderr.readline():
            assert listening.returncode is None
        send, deliveries, tail = others
        sent = await run(send)
        assert await sent.wait() == 0
        out, _ = await listening.communicate()
        assert "order.created  200" in out.decode()
        assert [request.body for request in await receiver.wait_for(1)] == [b'{"order": 42}']
        listed, _ = await (await run(deliveries)).communicate()
        assert "delivered" in listed.decode()
        following = await run(f"{tail} --from 1h")
        assert following.stdout
        while "order.created  delivered" not in (await following.stdout.readline()).decode():
            assert following.returncode is None
        following.send_signal(signal.SIGINT)
        await following.communicate()


def run_first_block(page: str, folder: Path, replaced: Mapping[str, str]) -> str:
    """Run the first shell block of a guide, with some words replaced, and return what it prints."""
    script = blocks(ROOT / "docs/guides" / page, "sh")[0]
    for word, other in replaced.items():
        assert word in script
        script = script.replace(word, other)
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_pull_works_as_printed(stack: Stack, tmp_path: Path) -> None:
    kind = f"t{uuid.uuid4().hex}."  # that no other test publishes
    printed = run_first_block("pull.md", tmp_path, {"http://127.0.0.1:8080": stack.base_url, "order.": kind})
    assert '"payload_base64":"eyJvcmRlciI6IDQyfQ=="' in printed
    assert '"status":"recorded"' in printed


def test_the_first_event_type_is_enforced_as_printed(stack: Stack, tmp_path: Path) -> None:
    name = f"t{uuid.uuid4().hex}.paid"
    printed = run_first_block("catalog.md", tmp_path, {"http://127.0.0.1:8080": stack.base_url, "invoice.paid": name})
    assert f'"name":"{name}"' in printed
    assert '"field":"payload/amount","message":"is required"' in printed
    assert '"field":"payload/id","message":"must be a string"' in printed


def test_the_first_portal_link_opens_as_printed(stack: Stack, tmp_path: Path) -> None:
    printed = run_first_block("portal.md", tmp_path, {"http://127.0.0.1:8080": stack.base_url})
    address, _, secret = printed.removeprefix("Open ").strip().partition("#")
    assert httpx.get(address, timeout=60).status_code == 200
    assert httpx.post(f"{address}/session", json={"secret": secret}, timeout=60).status_code == 201


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
