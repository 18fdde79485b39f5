"""webhookctl listen: it forwards deliveries to a server on this machine, with the real service."""

import asyncio
import os
import signal
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.harness.receiver import Receiver
from dev.harness.stack import ROOT, Stack
from tests.interrupts import heed_interrupts
from webhook_service import Client, verify
from webhook_service.cli.listening import target

# Far above what a busy machine takes, and below the time limit of a test.
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> str:
    """A tenant that no other test knows."""
    name = f"listen-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(name)
    return name


@pytest.fixture
def client(stack: Stack, tenant: str) -> Iterator[Client]:
    """A client in that tenant."""
    with Client(stack.base_url, tenant=tenant) as made:
        yield made


async def listening(stack: Stack, tenant: str, home: Path, *arguments: str) -> tuple[Process, str]:
    """Start webhookctl listen; return it, and what it said once it listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webhook_service.cli", "--tenant", tenant, "listen", *arguments),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "sdk/python/src"),
            "WEBHOOKCTL_URL": stack.base_url,
        },
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=heed_interrupts,
    )
    assert process.stderr
    said = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "listening" not in said:
            line = (await process.stderr.readline()).decode()
            assert line, said
            said += line
    return process, said


async def ended(process: Process) -> str:
    """Return what a command printed, once it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_listen_forwards_exact_bytes_and_what_the_server_responds_is_the_attempt(
    stack: Stack, tenant: str, client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script(200, 503)
    address = receiver.url("/local").removeprefix("http://")
    process, said = await listening(
        *(stack, tenant, tmp_path, "--forward-to", address, "--events", "listened.*"),
        *("--filter", "event.data.n > 0", "--count", "2"),
    )
    secret = said.partition("signing secret: ")[2].split()[0]
    assert (await asyncio.to_thread(client.events.publish, "listened.none", {"n": 0})).deliveries == 0
    first = await asyncio.to_thread(client.events.publish, "listened.first", {"n": 1})
    (request,) = await receiver.wait_for(1)
    assert request.body == b'{"n":1}'
    assert verify(request.body, request.headers, secret).id == request.headers["webhook-id"]
    assert {"X-Event-Type": "listened.first", "X-Webhook-Attempt": "1"}.items() <= dict(request.headers).items()
    await asyncio.to_thread(client.events.publish, "listened.second", {"n": 2})
    printed = (await ended(process)).splitlines()
    assert ["listened.first  200" in printed[0], "listened.second  503" in printed[1]] == [True, True]
    assert await asyncio.to_thread(lambda: list(client.subscriptions.list())) == []
    (delivery,) = await asyncio.to_thread(lambda: list(client.events.deliveries(first.event_id)))
    assert delivery.status == "delivered"


async def test_listen_takes_the_types_of_a_subscription_and_a_secret_and_ends_when_interrupted(
    stack: Stack, tenant: str, client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    own = await asyncio.to_thread(
        lambda: client.subscriptions.create(
            target_url="http://127.0.0.1:9/", name="listened-to", event_types=["copied.*"]
        )
    )
    process, said = await listening(
        *(stack, tenant, tmp_path, "--forward-to", str(receiver.port)),
        *("--subscription", "listened-to", "--secret-file", str(secret)),
    )
    assert "whsec_" not in said
    assert "copied.*" in said
    await asyncio.to_thread(client.events.publish, "copied.once", [])
    (request,) = await receiver.wait_for(1)
    verify(request.body, request.headers, secret.read_text().strip())
    process.send_signal(signal.SIGINT)
    await ended(process)
    left = await asyncio.to_thread(lambda: [one.id for one in client.subscriptions.list()])
    assert left == [own.id]
    await asyncio.to_thread(client.subscriptions.delete, own.id)


def test_a_target_may_be_a_port() -> None:
    assert target("3000") == "http://localhost:3000"
    assert target("localhost:3000/hook") == "http://localhost:3000/hook"
    assert target("https://dev.example/") == "https://dev.example/"
    with pytest.raises(ValueError, match="must be a server"):
        target("http://")
