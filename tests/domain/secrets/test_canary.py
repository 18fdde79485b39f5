"""The encrypted value that shows a process whether its keys belong to the database."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from dev.embedded.ports import free_port
from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, encryption_keys
from services.domain.secrets import encryption
from services.domain.secrets.encryption import EncryptionSettings
from services.platform.process.lifecycle import Process, StartError

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("ingest", "worker")


async def _known(database: str, text: str) -> bool:
    connection = await asyncpg.connect(database)
    try:
        return await encryption.opens_canary(connection, encryption_keys(*text.split(",")))
    finally:
        await connection.close()


async def test_the_first_keys_are_the_keys_of_the_database(database: str) -> None:
    assert await _known(database, ENCRYPTION_KEY)
    assert not await _known(database, OTHER_KEY)
    assert await _known(database, f"{OTHER_KEY},{ENCRYPTION_KEY}")
    assert await _known(database, ENCRYPTION_KEY)


async def test_processes_that_start_at_once_agree_on_the_keys_of_one(database: str) -> None:
    texts = [ENCRYPTION_KEY, OTHER_KEY] * 5
    known = await asyncio.gather(*(_known(database, text) for text in texts))
    assert {text for text, found in zip(texts, known, strict=True) if found} in ({ENCRYPTION_KEY}, {OTHER_KEY})
    assert sum(known) == 5


async def test_a_process_is_not_ready_and_waits_until_the_schema_is_there(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "POLL_SECONDS", 0.05)
    settings = EncryptionSettings(encryption_keys=ENCRYPTION_KEY, _env_file=None)
    async with asyncpg.create_pool(database, min_size=0, max_size=2) as pool:
        await pool.execute("ALTER TABLE encryption_canary RENAME TO not_yet")
        process = Process("test")
        waiting = asyncio.create_task(encryption.known_keys(process, pool, settings))
        await asyncio.sleep(2 * encryption.POLL_SECONDS)
        assert not waiting.done()
        assert (await process.health.ready()).keys() == {"encryption_keys"}
        await pool.execute("ALTER TABLE not_yet RENAME TO encryption_canary")
        await waiting
        assert await process.health.ready() == {}
        assert await pool.fetchval("SELECT count(*) FROM encryption_canary") == 1


async def test_a_waiting_process_stops_on_request() -> None:
    settings = EncryptionSettings(encryption_keys=ENCRYPTION_KEY, _env_file=None)
    process, nobody = Process("test"), f"postgresql://postgres@127.0.0.1:{free_port()}/webhook"
    async with asyncpg.create_pool(nobody, min_size=0, max_size=1) as pool:
        waiting = asyncio.create_task(encryption.known_keys(process, pool, settings))
        await asyncio.sleep(0)
        process.stop_requested.set()
        await asyncio.wait_for(waiting, 60)


async def test_a_folder_that_can_keep_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = EncryptionSettings(data_dir=tmp_path / "file", _env_file=None)
    async with asyncpg.create_pool("postgresql://127.0.0.1:1/", min_size=0, max_size=1) as pool:
        with pytest.raises(StartError, match=r"DATA_DIR.*ENCRYPTION_KEYS is not set: .*file"):
            await encryption.known_keys(Process("test"), pool, settings)


@pytest.mark.parametrize("role", ROLES)
async def test_process_with_other_keys_exits_at_its_start_with_one_line(
    database: str, redis_url: str, tmp_path: Path, role: str
) -> None:
    assert await _known(database, ENCRYPTION_KEY)
    done = await asyncio.to_thread(_run, database, redis_url, tmp_path, role, ENCRYPTION_KEYS=OTHER_KEY)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "ENCRYPTION_KEYS do not match this database" in line
    assert done.stderr == ""
    assert OTHER_KEY not in line


async def test_development_processes_started_by_hand_share_the_key_of_the_folder(
    database: str, redis_url: str, tmp_path: Path
) -> None:
    running = [_start(database, redis_url, tmp_path, role) for role in ROLES]
    try:
        started = await asyncio.gather(*(asyncio.to_thread(_started, process) for process in running))
    finally:
        for process in running:
            process.terminate()
        ended = [await asyncio.to_thread(process.communicate, timeout=60) for process in running]
    assert started == [True, True], ended
    assert [process.returncode for process in running] == [0, 0]
    assert await _known(database, (tmp_path / "data/encryption.key").read_text())


def _environment(database: str, redis_url: str, folder: Path, **more: str) -> dict[str, str]:
    stores = {"DATABASE_URL": database, "REDIS_URL": redis_url, "DATA_DIR": str(folder / "data")}
    ports = {"METRICS_PORT": "0", "GRPC_PORT": "0", "SHUTDOWN_GRACE_SECONDS": "4"}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **stores, **ports, **more}


def _start(database: str, redis_url: str, folder: Path, role: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services", role],
        cwd=folder,
        env=_environment(database, redis_url, folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _started(process: "subprocess.Popen[str]") -> bool:
    """Return whether it reports that it has started, before it ends."""
    assert process.stdout
    return any("started" in line for line in iter(process.stdout.readline, ""))


def _run(database: str, redis_url: str, folder: Path, role: str, **more: str) -> "subprocess.CompletedProcess[str]":
    process = _start(database, redis_url, folder, role, **more)
    output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
