"""scripts/schema.py, which the migration Job and the init containers run, over a real Postgres."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded import EmbeddedPostgres, Guard
from tests.chart.rendering import ROOT


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="chart-"))
    try:
        with Guard() as guard, EmbeddedPostgres(folder / "postgres", guard=guard, settings={"fsync": "off"}) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(command: str, url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", "scripts/schema.py", command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_pods_wait_until_one_of_many_jobs_has_migrated(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database("waiting")
    pod = start("wait", postgres.url("waiting"))
    assert "waiting for the schema: at nothing" in first_line(pod)
    jobs = [start("migrate", postgres.url("waiting")) for _ in range(3)]
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert sum(": 0 migrations applied" in output for output in outputs) == 2
    assert pod.wait(timeout=60) == 0
    pod.communicate()


def test_a_schema_from_the_future_is_good_enough(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database("newer")
    assert start("migrate", postgres.url("newer")).communicate(timeout=60)[0]
    # In the database of another connection's URL: the version that a later release will have recorded.
    url = postgres.url("newer")
    script = f"""
import asyncio, asyncpg
async def main():
    connection = await asyncpg.connect({url!r})
    await connection.execute("INSERT INTO schema_migrations (version) VALUES ('99991231000000')")
    await connection.close()
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    for command in ("wait", "migrate"):
        process = start(command, url)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_an_unreachable_postgres_is_waited_for(tmp_path: Path) -> None:
    process = start("wait", f"postgresql://webhook@/webhook?host={tmp_path}&port=1")
    assert "waiting for Postgres" in first_line(process)
    process.terminate()
    process.communicate()
