"""The load and counts of `make kind-demo`, on the local stack instead of a cluster."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from dev.demo import kind
from dev.embedded.ports import free_port
from dev.harness.stack import ROOT, Stack
from dev.harness.waiting import wait_until, wait_until_sync


@pytest.fixture
def receiver_url() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(ROOT / "kind/receiver.py"), str(port)]
    with subprocess.Popen(command, env=os.environ | {"HOST": "127.0.0.1"}) as process:

        def listens() -> bool:
            try:
                return httpx.get(url).text == "0"
            except httpx.TransportError:
                return False

        wait_until_sync(listens, what="the receiver")
        yield url
        process.terminate()


async def test_receiver_counts_exactly_the_accepted_webhooks(stack: Stack, receiver_url: str) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
        load, enough = kind.Load(http, f"{receiver_url}/run"), asyncio.Event()
        async with load.subscribed(4):
            loading = asyncio.create_task(load.run(40.0, enough))
            await wait_until(lambda: load.accepted >= 100, what="a load")
            enough.set()
            await loading

            async def all_received() -> bool:
                return int((await http.get(f"{receiver_url}/run")).text) == load.accepted

            untyped = all_received
            await wait_until(untyped, what="all deliveries")
        assert load.accepted % 4 == 0
        assert (await http.get(f"{receiver_url}/another-run")).text == "0"
        # The subscriptions are gone.
        answer = await http.get("/api/v1/subscriptions/")
        assert not [each for each in answer.json()["items"] if each["target_url"].startswith(receiver_url)]


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1234", 1234), ("700m", 0.7), ("12345m", 12.345), ("2k", 2000)])
def test_quantities_of_kubernetes_are_numbers(text: str, value: float) -> None:
    assert kind.quantity(text) == pytest.approx(value)
