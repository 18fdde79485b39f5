"""The examples of docs/guides/cloudevents.md run as printed, and what they send arrives."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from dev.harness.api import TLS, Api
from dev.harness.receiver import Receiver
from dev.harness.stack import ROOT, Stack
from dev.harness.waiting import wait_until_sync
from tests.docs.test_quickstarts import environment, fastapi, files, serving

PAGE = ROOT / "docs/guides/cloudevents.md"
TYPE = "com.example.order.created"


def commands() -> tuple[str, str]:
    """Return the shell commands of the page, and apart those that subscribe."""
    blocks = re.findall(r"^```sh\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    subscribing = [block for block in blocks if "/subscriptions" in block]
    return "".join(block for block in blocks if block not in subscribing), blocks[0].partition("curl")[0] + subscribing[
        0
    ]


def run(stack: Stack, folder: Path, script: str) -> str:
    """Run commands, and return what they print."""
    done = subprocess.run(
        ["/bin/sh", "-euc", script.replace("http://127.0.0.1:8080", stack.base_url)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_commands_of_the_page_send_cloudevents_that_arrive(
    stack: Stack, receiver: Receiver, tmp_path: Path
) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60, verify=TLS) as http:
        await Api(http).subscribe(receiver.url(), event_types=[TYPE])
        printed = run(stack, tmp_path, commands()[0])
        assert printed.count('"event_id"') == 4
        assert '"must be \\"1.0\\""' in printed
        assert "webhook-allowed-origin: eventemitter.example.com" in printed.lower()
        requests = await receiver.wait_for(4)
        (versioned,) = [request for request in requests if request.body == b'{"order": {"id": 47}}']
        assert versioned.headers["X-Webhook-Event-Version"] == "2"
        requests.remove(versioned)
        assert sorted(request.body for request in requests) == [b'{"order": %d}' % order for order in (42, 43, 44)]
        (found,) = [request for request in requests if request.body == b'{"order": 42}']
        assert found.headers["X-Event-Type"] == TYPE
        event = (await http.get(f"/api/v1/events/{found.headers['X-Webhook-Event-Id']}")).json()
        assert event["cloudevent"] == {"id": "order-42-created", "source": "https://example.com/orders"}
        # All of them are repeats.
        again = run(stack, tmp_path, commands()[0])
        assert re.findall('"event_id":"([^"]+)"', again) == re.findall('"event_id":"([^"]+)"', printed)


def test_the_sender_in_python_publishes_a_cloudevent(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "send.py").write_text(files("cloudevents.md")["send_cloudevent.py"])
    fields = {"tenant_id": "default", "name": "shop", "role": "ingest"}
    key = httpx.post(f"{stack.base_url}/api/v1/admin/api-keys", json=fields, timeout=60).json()["key"]
    done = subprocess.run(
        [sys.executable, "send.py"],
        cwd=tmp_path,
        env=environment(tmp_path, WEBHOOK_URL=stack.base_url, WEBHOOK_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    event_id = json.loads(done.stdout.replace("'", '"'))["event_id"]
    event = httpx.get(f"{stack.base_url}/api/v1/events/{event_id}", timeout=60).json()
    assert (event["event_type"], event["payload"]) == (TYPE, {"order": 46})
    assert event["cloudevent"]["source"] == "https://example.com/orders"


def test_the_receiver_gets_cloudevents_in_binary_mode_whether_they_came_as_such_or_not(
    stack: Stack, tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "receiver.py").write_text(files("cloudevents.md")["receive_cloudevent.py"])
    subscribing = commands()[1].replace("https://example.com/hooks/cloudevents", f"http://127.0.0.1:{free_port}/hook")
    with serving(fastapi(tmp_path, free_port), tmp_path, free_port) as output:
        made = json.loads(run(stack, tmp_path, subscribing))
        api = f"{stack.base_url}/api/v1"
        attributes = {"specversion": "1.0", "id": "it came as one", "source": "/tests", "type": "com.example.tested"}
        httpx.post(
            f"{api}/cloudevents",
            content=json.dumps(attributes | {"data": {"n": 1}}),
            headers={"Content-Type": "application/cloudevents+json"},
            timeout=60,
        ).raise_for_status()
        event = {"event_type": "com.example.tested", "payload": {"n": 2}}
        plain = httpx.post(f"{api}/events", json=event, timeout=60).json()["event_id"]
        expected = {
            "com.example.tested it came as one {'n': 1}",
            f"com.example.tested {plain} {{'n': 2}}",
        }
        wait_until_sync(lambda: expected <= set(output.read_text().splitlines()), what="both events to arrive")
        httpx.delete(f"{api}/subscriptions/{made['id']}", timeout=60)
