"""Floods by a client without a key: other callers are served, the service stays ready, and memory is bounded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from dev.harness.keys import Admin, bearer
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.platform import ids
from services.platform.process import bounds
from tests.platform.grpc import raw

METHOD = "/webhook.v1.IngestService/BatchIngest"
CONNECTIONS = 8
EVENTS = 40
MOST_GROWTH_BYTES = 100 << 20


async def flood(port: int, *, message_bytes: int) -> None:
    """Keep as many calls open as a connection can have, each with as much of a message as the server accepts."""
    while True:
        async with raw.connected(port) as connection:
            await wait_until(lambda: connection.settings, what="the server's settings")
            opened: set[int] = set()
            while not connection.closed:
                opened -= connection.ended | connection.refused
                while len(opened) < connection.settings[raw.MAX_CONCURRENT_STREAMS]:
                    stream = connection.open(METHOD)
                    opened.add(stream)
                    if message_bytes:
                        connection.begin_message(stream, message_bytes)
                await connection.drain()
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def flooded(port: int, *, message_bytes: int) -> AsyncIterator[None]:
    """Do the same on several connections, until the context ends."""
    tasks = [asyncio.create_task(flood(port, message_bytes=message_bytes)) for _ in range(CONNECTIONS)]
    try:
        await asyncio.sleep(0.2)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("message_bytes", [0, 4 << 20], ids=["no messages", "unterminated messages"])
async def test_open_calls_without_a_key_hurt_nobody(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin, message_bytes: int
) -> None:
    tenant = await admin.tenant(f"quiet-{ids.new().hex}")
    headers = bearer(await admin.key(tenant))
    pid = keyed.pid_of("ingest")
    assert pid is not None
    before = psutil.Process(pid).memory_info().rss
    async with flooded(keyed.ports["ingest"], message_bytes=message_bytes):
        for number in range(EVENTS):
            body = {"event_type": "order.paid", "payload": {"number": number}}
            answer = await http.post("/api/v1/events", json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            assert (await http.get("/readyz", headers=headers)).status_code == 200
        assert psutil.Process(pid).memory_info().rss - before < MOST_GROWTH_BYTES


async def refused_again_and_again(port: int, refusals: list[int]) -> None:
    """Send requests with a made-up key on one connection, each as soon as the one before was refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            key = f"whk_{ids.new().hex}"
            head = f"POST /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            writer.write(f"{head}content-length: 2\r\n\r\n{{}}".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            refusals.append(int(answer.split(" ")[1]))
            await reader.readexactly(int(answer.split("content-length: ")[1].split("\r\n")[0]))
    finally:
        writer.transport.abort()


async def test_requests_with_invalid_keys_do_not_affect_others(
    keyed: Stack, http: httpx.AsyncClient, admin: Admin
) -> None:
    headers = bearer(await admin.key(await admin.tenant(f"quiet-{ids.new().hex}")))
    refusals: list[int] = []
    tasks = [asyncio.create_task(refused_again_and_again(keyed.port, refusals)) for _ in range(4 * CONNECTIONS)]
    begun = asyncio.get_running_loop().time()
    try:
        # At first they are refused at once, and from then on most of them wait.
        await wait_until(lambda: len(refusals) > bounds.REFUSALS_AT_ONCE / 2, what="many to be refused")
        for number in range(EVENTS):
            body = {"event_type": "order.paid", "payload": {"number": number}}
            answer = await http.post("/api/v1/events", json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            assert (await http.get("/readyz", headers=headers)).status_code == 200
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    seconds = asyncio.get_running_loop().time() - begun
    assert set(refusals) == {401}
    waited = len(tasks) * (1 + seconds / bounds.REFUSAL_SECONDS)
    assert len(refusals) <= bounds.REFUSALS_AT_ONCE + bounds.REFUSALS_PER_SECOND * seconds + waited
