"""The proxy between two parts: dev/harness/network/proxy.py."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from dev.embedded import ports
from dev.harness.network.proxy import DELAY_SECONDS, Mode, Proxy, proxying
from dev.harness.waiting import PATIENCE_SECONDS


@contextlib.asynccontextmanager
async def _echoing() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(100):
                writer.write(chunk)
        writer.close()

    port, target_port = ports.free_ports(2)
    async with (
        await asyncio.start_server(echo, "127.0.0.1", target_port),
        proxying("test", port=port, target_port=target_port) as proxy,
    ):
        yield proxy


@contextlib.asynccontextmanager
async def _connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_seconds: float = PATIENCE_SECONDS
) -> bytes:
    writer.write(b"hello")
    async with asyncio.timeout(timeout_seconds):
        return await reader.read(100)


async def test_proxy_forwards_in_both_directions() -> None:
    async with _echoing() as proxy, _connected(proxy) as connection:
        assert await _echo(*connection) == b"hello"


async def test_refused_connections_are_cut_and_new_ones_refused_until_it_passes_again() -> None:
    async with _echoing() as proxy:
        async with _connected(proxy) as connection:
            assert await _echo(*connection) == b"hello"
            await proxy.set_mode(Mode.REFUSE)
            with pytest.raises(ConnectionResetError):
                await _echo(*connection)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.set_mode(Mode.PASS)
        async with _connected(proxy) as connection:
            assert await _echo(*connection) == b"hello"


async def test_a_black_hole_holds_what_is_sent_until_it_passes_again() -> None:
    async with _echoing() as proxy, _connected(proxy) as connection:
        assert await _echo(*connection) == b"hello"
        await proxy.set_mode(Mode.BLACKHOLE)
        with pytest.raises(TimeoutError):
            await _echo(*connection, 0.3)
        await proxy.set_mode(Mode.PASS)
        assert await connection[0].read(100) == b"hello"


async def test_a_reset_tears_down_old_and_new_connections() -> None:
    async with _echoing() as proxy:
        async with _connected(proxy) as connection:
            assert await _echo(*connection) == b"hello"
            await proxy.set_mode(Mode.RESET)
            with pytest.raises(ConnectionResetError):
                await _echo(*connection)
        async with _connected(proxy) as connection:
            with pytest.raises(ConnectionResetError):
                await _echo(*connection)


async def test_a_delay_makes_every_chunk_take_its_time() -> None:
    async with _echoing() as proxy, _connected(proxy) as (reader, writer):
        await proxy.set_mode(Mode.DELAY)
        began = time.monotonic()
        writer.write(b"hello")
        assert await reader.read(100) == b"hello"
        assert time.monotonic() - began >= 2 * DELAY_SECONDS
