"""webhook_store_up, which alerts use, with stores that stop and come back."""

import asyncio
import contextlib
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, wheel
from dev.harness import certificates
from dev.harness.waiting import wait_until
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings, RedisSettings
from services.platform.stores import availability, postgres, redis

QUICK = {"fsync": "off"}


async def says(store: str, value: float) -> None:
    """Wait for the gauge of a store to have a value."""

    def found() -> bool:
        return REGISTRY.get_sample_value("webhook_store_up", {"store": store}) == value

    await wait_until(found, what=f"webhook_store_up of {store} at {value}")


async def test_a_postgres_that_is_away_is_noticed_and_so_is_its_return(short_folder: Path) -> None:
    with (
        Guard() as guard,
        EmbeddedPostgres(short_folder / "store-up-postgres", guard=guard, settings={"fsync": "off"}) as server,
    ):
        url = server.url("postgres", user=wheel.USER)
        process = Process("test")

        async def away() -> bool:
            return "postgres" in await process.health.degraded()

        async def back() -> bool:
            return await process.health.state() == ({}, {})

        async with postgres.pool(process, PostgresSettings(database_url=url, _env_file=None)):
            await wait_until(back)
            server.kill()
            await wait_until(away)
            server.start()
            await wait_until(back)


async def test_a_redis_that_hangs_is_noticed_and_so_is_its_return(short_folder: Path) -> None:
    process = Process("test")
    with Guard() as guard, EmbeddedValkey(short_folder / "hangs", guard=guard) as server:
        async with redis.client(RedisSettings(redis_url=server.url(), _env_file=None)) as client:
            watching = process.spawn("redis_up", availability.Watch("redis of this test", client.ping).run())
            try:
                await says("redis of this test", 1)
                with contextlib.ExitStack() as thaw:
                    server.process.send(signal.SIGSTOP)
                    thaw.callback(server.process.send, signal.SIGCONT)
                    await says("redis of this test", 0)
                await says("redis of this test", 1)
            finally:
                await process.cancel(watching)


async def told(url: str) -> tuple[str, list[str]]:
    """Return what /readyz and the log report about an unreachable Redis, after several checks."""
    process = Process("test")
    async with redis.client(RedisSettings(redis_url=url, _env_file=None)) as client:
        watched = availability.Watch("redis of this test", client.ping)
        process.health.add_optional("redis", watched.check)
        with capture_logs() as logged:
            watching = process.spawn("redis_up", watched.run())
            degraded = await wait_until(process.health.degraded)
            # Another check is made, with the same result.
            await wait_until(lambda: watched.looks > 1)
            await process.cancel(watching)
        assert await process.health.ready() == {}
    return (degraded or {})["redis"], [line["reason"] for line in logged if line["log_level"] == "warning"]


async def test_reason_why_redis_is_unreachable_is_logged_once_and_shown_in_readyz(
    short_folder: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "INTERVAL_SECONDS", 0.1)
    # A TLS handshake on a busy machine takes longer than the timeout for Redis.
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", 5.0)
    with Guard() as guard, EmbeddedValkey(short_folder / "refuses", guard=guard) as server:
        port = urlsplit(server.url()).port
        async with redis.client(RedisSettings(redis_url=server.url(), _env_file=None)) as client:
            await client.config_set("requirepass", "right")
        # An unknown CA: a store with an untrusted certificate fails before a command is sent.
        tls = certificates.server_tls(
            certificates.authority().issue("store", usages=(certificates.SERVER,)), short_folder
        )
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=tls) as secured:
            tls_port = secured.sockets[0].getsockname()[1]
            for url, why in {
                f"redis://127.0.0.1:{free_port}/0": "Connection refused",
                f"redis://:wrong@127.0.0.1:{port}/0": "password",
                f"rediss://127.0.0.1:{tls_port}/0": "certificate verify failed",
            }.items():
                reason, warnings = await told(url)
                assert why in reason
                assert len(warnings) == 1, warnings


async def test_a_change_of_the_reason_and_the_return_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "INTERVAL_SECONDS", 0.01)
    answers: list[Exception | None] = [None, OSError("refused"), OSError("refused"), OSError("TLS"), None, None]

    async def ask() -> None:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer

    process, watched = Process("test"), availability.Watch("redis", ask)
    with capture_logs() as logged:
        watching = process.spawn("redis_up", watched.run())
        await wait_until(lambda: len(answers) == 1)
        await process.cancel(watching)
    assert [(line["log_level"], line.get("reason")) for line in logged] == [
        ("warning", "OSError: refused"),
        ("warning", "OSError: TLS"),
        ("info", None),
    ]
    await watched.check()


async def test_a_store_that_answers_others_is_not_asked_until_it_fails_one_of_them() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    process, watched = Process("test"), availability.Watch("a store", ask)
    watched.asked()
    watched.answered()
    watching = process.spawn("up", watched.run())
    await wait_until(lambda: watched.looks > 0, what="a look")
    await watched.ask()
    assert asked == 0
    watched.doubt()
    await wait_until(lambda: asked == 1, what="it to be asked")
    await process.cancel(watching)
    await watched.ask()
    assert asked == 2, "nobody else was answered since"


async def test_a_statement_that_somebody_waits_for_says_nothing_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        raise OSError("hangs")

    watched = availability.Watch("a store", ask)
    watched.answered()
    await watched.ask()
    monkeypatch.setattr(availability, "TIMEOUT_SECONDS", -1.0)
    watched.asked()
    with pytest.raises(OSError, match="hangs"):
        await watched.ask()
