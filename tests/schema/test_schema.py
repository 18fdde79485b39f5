"""The roles migrate and wait, as the chart's Job and init containers run them, on a real Postgres."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from dev.embedded import EmbeddedPostgres, Guard, wheel
from dev.harness.stack import ROOT
from dev.harness.stores import Stores, as_runtime
from dev.harness.waiting import wait_until
from services.platform.settings import PostgresSettings
from services.schema import migrations
from services.schema.migrate import migrate
from services.schema.migrations import MigrationError
from services.schema.wait import Say, wait

LOCK = "SELECT pg_advisory_xact_lock(hashtext('webhook:migrations'))"
STOPPED_WITHIN_SECONDS = 20.0
# As dbmate created it.
MAKE_TABLE = """
import asyncio, asyncpg, sys
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    await connection.close()
asyncio.run(main())
"""


@pytest.fixture
def empty(stores: Stores) -> Iterator[str]:
    """The DSN of a database without a schema."""
    with stores.empty_database() as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations."""
    return Path(shutil.copytree(migrations.FOLDER, tmp_path / "migrations"))


def start(role: str, url: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "services", role],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def stop(process: "subprocess.Popen[str]") -> tuple[int, str]:
    began = time.monotonic()
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert time.monotonic() - began < STOPPED_WITHIN_SECONDS
    return process.returncode, output


async def migrated(url: str, folder: Path = migrations.FOLDER) -> list[str]:
    """Migrate, and return the printed lines."""
    lines: list[str] = []
    await migrate(PostgresSettings(database_url=url), Say(lines.append), folder=folder)
    return lines


async def value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_pods_wait_until_one_of_many_jobs_has_migrated(empty: str) -> None:
    pod = start("wait", empty)
    assert "waiting for the schema: at nothing" in first_line(pod)
    jobs = [start("migrate", empty) for _ in range(3)]
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], outputs
    assert sum(output.count("applied 2") for output in outputs) == len(migrations.read_files())
    assert pod.wait(timeout=60) == 0
    pod.communicate()


async def test_a_schema_from_the_future_is_good_enough_and_said(database: str) -> None:
    await value(database, "INSERT INTO schema_migrations VALUES ('99991231000000', 'later.sql', '') RETURNING 1")
    (line,) = await migrated(database)
    assert "99991231000000, newer than this release" in line
    await wait(PostgresSettings(database_url=database), Say(lambda _: None))


@pytest.mark.parametrize("role", ["wait", "migrate"])
def test_an_unreachable_postgres_is_waited_for_and_a_stop_obeyed_at_once(role: str, tmp_path: Path) -> None:
    process = start(role, f"postgresql://webhook@/webhook?host={tmp_path}&port=1")
    assert "waiting for Postgres" in first_line(process)
    status, output = stop(process)
    assert (status, "Traceback" in output) == (128 + signal.SIGTERM, False)


@pytest.mark.parametrize("its_server", ["answers", "hangs"])
async def test_a_migration_in_the_middle_of_a_statement_stops_at_once(empty: str, its_server: str) -> None:
    other = await asyncpg.connect(empty)
    try:
        async with other.transaction():
            await other.execute(LOCK)
            process = start("migrate", empty)
            waits = "SELECT count(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

            async def waiting_are(number: int) -> bool:
                found: int = await other.fetchval(waits)
                return found == number

            await wait_until(lambda: waiting_are(1), what="the migration to wait for its turn")
            backend = await other.fetchval(waits.replace("count(pid)", "pid"))
            if its_server == "hangs":
                os.kill(backend, signal.SIGSTOP)
            try:
                status, output = stop(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(backend, signal.SIGCONT)
            assert (status, "Traceback" in output) == (128 + signal.SIGTERM, False)
            await wait_until(lambda: waiting_are(0), what="the statement to be cancelled")
    finally:
        await other.close()
    assert await value(empty, "SELECT to_regclass('tenants') IS NULL")


async def test_database_defaults_do_not_affect_migrations(stores: Stores, empty: str) -> None:
    name = urlsplit(empty).path.lstrip("/")
    for setting in ("default_transaction_read_only = on", "search_path = elsewhere", "statement_timeout = '200ms'"):
        stores.postgres.execute(f"ALTER DATABASE {name} SET {setting}")
    *applied, last = await migrated(empty + "&target_session_attrs=read-write")
    assert len(applied) == len(migrations.read_files())
    assert last == f"schema is at {migrations.read_files()[-1].version}: {len(applied)} migrations applied"
    await wait(PostgresSettings(database_url=empty), Say(lambda _: None))
    assert await value(empty, "SELECT to_regclass('public.tenants') IS NOT NULL")


async def test_a_file_that_fails_is_named_with_line_sqlstate_and_reason(empty: str, folder: Path) -> None:
    (folder / "29990101000000_broken.sql").write_text("CREATE TABLE half ();\n\nSELECT 1 FROM nowhere;\n")
    with pytest.raises(MigrationError) as raised:
        await migrated(empty, folder)
    assert str(raised.value) == (
        '29990101000000_broken.sql, line 3, failed: relation "nowhere" does not exist (SQLSTATE 42P01)'
    )
    assert await value(empty, "SELECT to_regclass('half') IS NULL")
    assert await value(empty, "SELECT max(version) FROM schema_migrations") == migrations.read_files()[-1].version


async def test_a_database_that_another_text_made_is_refused(database: str, folder: Path) -> None:
    first = migrations.read_files()[0]
    (folder / first.name).write_text(first.sql + "-- changed\n")
    with pytest.raises(
        MigrationError, match=f"made by another text of {first.name}.*: empty DATA_DIR .*or use an empty database"
    ):
        await migrated(database, folder)
    # Applied files must not change.
    assert await migrated(database) == [f"schema is at {migrations.read_files()[-1].version}: 0 migrations applied"]


async def test_a_database_that_dbmate_made_is_refused(empty: str) -> None:
    await value(empty, "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    for refused in (migrated(empty), wait(PostgresSettings(database_url=empty), Say(lambda _: None))):
        with pytest.raises(MigrationError, match=r"schema_migrations was made by another program.*: empty DATA_DIR"):
            await refused


def test_a_migration_that_another_try_would_not_change_ends_with_a_status_of_its_own(empty: str) -> None:
    subprocess.run([sys.executable, "-c", MAKE_TABLE, empty], check=True)
    process = start("migrate", empty)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, len(output.splitlines())) == (3, 1), output


@pytest.mark.parametrize(
    ("user", "database", "parameters", "what"),
    [
        ("nobody", None, "", 'role "nobody" does not exist (SQLSTATE 28000)'),
        (None, "nowhere", "", 'database "nowhere" does not exist (SQLSTATE 3D000)'),
        (None, None, "&options=-c%20no_such_setting%3D1", "no_such_setting"),
    ],
)
async def test_a_mistake_is_not_waited_for_without_end(
    stores: Stores,
    empty: str,
    user: str | None,
    database: str | None,
    parameters: str,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.schema.wait.MISTAKE_SECONDS", 0.1)
    monkeypatch.setattr("services.schema.wait.DATABASE_SECONDS", 0.1)
    name = database or urlsplit(empty).path.lstrip("/")
    url = stores.postgres.url(name, user=user) if user else stores.postgres.url(name)
    for run in (migrate, wait):
        lines: list[str] = []
        with pytest.raises(MigrationError) as raised:
            await run(PostgresSettings(database_url=url + parameters), Say(lines.append))
        assert what in str(raised.value)
        assert "waiting for Postgres" in lines[0]


def test_a_wrong_password_ends_with_one_line(postgres_url: str) -> None:
    process = start("migrate", postgres_url.replace("//webhook:", "//webhook:not-"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.splitlines()[-1] == (
        'Postgres could not be used for 5 s: password authentication failed for user "webhook" (SQLSTATE 28P01); '
        "check DATABASE_URL or POSTGRES_*"
    )


@pytest.fixture
def postgres_url(stores: Stores, empty: str) -> str:
    """The owner's DSN by TCP."""
    return stores.postgres.tcp_url(urlsplit(empty).path.lstrip("/"))


async def test_a_database_that_is_made_meanwhile_is_waited_for(stores: Stores) -> None:
    postgres: EmbeddedPostgres = stores.postgres
    process = start("migrate", postgres.url("made_late"))
    try:
        assert 'database "made_late" does not exist' in first_line(process)
        postgres.ensure_database("made_late")
        assert process.wait(120) == 0
    finally:
        process.communicate()
        postgres.execute("DROP DATABASE made_late WITH (FORCE)")


def test_a_parameter_that_is_not_supported_is_named_at_once() -> None:
    process = start("migrate", "postgresql://u:p@localhost/d?channel_binding=require")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = output.splitlines()
    assert line.startswith("DATABASE_URL: parameter channel_binding must be disable or prefer, got 'require'")


def test_the_files_are_numbered_and_go_one_way(folder: Path) -> None:
    assert migrations.read_files(folder)[0].version == "20261124000001"
    (folder / "20261124000001_again.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match="more than one migration of version 20261124000001"):
        migrations.read_files(folder)
    (folder / "20261124000001_again.sql").rename(folder / "20991124000001_back.sql").write_text("-- migrate:down\n")
    with pytest.raises(MigrationError, match="would also run"):
        migrations.read_files(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET action = 'none'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "SELECT delete_old_audit_entries('0 s', 1000000)",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_entries_append_only ON audit_entries",
        "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
        "SET session_replication_role = 'replica'",
        "SET ROLE webhook",
        "DELETE FROM schema_migrations",
        "UPDATE schema_migrations SET sha256 = 'x'",
        "INSERT INTO schema_migrations (version, name, sha256) VALUES ('2099', 'x', 'x')",
        "DROP TABLE webhook_events",
        "CREATE TABLE mine ()",
        "SELECT create_partitions(current_date + 100, current_date + 100)",
    ],
)
async def test_the_runtime_role_changes_neither_schema_nor_audit_log(database: str, statement: str) -> None:
    entry = "('01234567-0000-7000-8000-000000000000', now(), 'default', 'system', 'a.b', 'a', 'b')"
    connection = await asyncpg.connect(as_runtime(database))
    try:
        await connection.execute(
            "INSERT INTO audit_entries (id, created_at, tenant_id, actor, action, resource_type, resource_id)"
            f" VALUES {entry}"
        )
        # Whatever version it claims.
        await connection.execute("SET webhook.audit_retention = 'on'")
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidFunctionDefinitionError)):
            await connection.execute(statement)
        assert await connection.fetchval("SELECT count(*) FROM audit_entries") == 1
    finally:
        await connection.close()


async def test_the_runtime_role_cannot_lead_the_owner_to_tables_of_its_own(database: str) -> None:
    """Functions with the owner's privileges look up temporary tables last."""
    connection = await asyncpg.connect(as_runtime(database))
    try:
        await connection.execute("CREATE TEMPORARY TABLE webhook_events (id uuid DEFAULT gen_random_uuid())")
        await connection.fetchval("SELECT create_current_partitions()")
        owner = "SELECT array_agg(DISTINCT relowner::regrole::text) FROM pg_class WHERE relname ~ '^webhook_events_2'"
        assert await connection.fetchval(owner) == ["webhook"]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("user", "why"),
    [("nobody", "role 'nobody' does not exist"), ("webhook", "'webhook' has the privileges of the schema's owner")],
)
async def test_a_runtime_role_that_is_none_is_refused(database: str, user: str, why: str) -> None:
    with pytest.raises(MigrationError, match=f"POSTGRES_RUNTIME_USER: {why}"):
        await migrate(PostgresSettings(database_url=database), Say(lambda _: None), runtime_user=user)


async def test_audit_entries_are_deleted_when_they_are_old_and_in_no_other_way(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO audit_entries (id, created_at, tenant_id, actor, action, resource_type, resource_id)"
            " SELECT gen_random_uuid(), now() - make_interval(days => n), 'default', 'system', 'a.b', 'a', 'b'"
            " FROM generate_series(1, 3) AS n"
        )
        async with connection.transaction():
            assert await connection.fetchval("SELECT delete_old_audit_entries('36 h', 100)") == 2
            # The privilege ends with the function, not with the transaction.
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("DELETE FROM audit_entries")
    finally:
        await connection.close()


def test_the_trial_postgres_of_the_chart_has_a_plain_owner(short_folder: Path) -> None:
    """What the image's container runs once, with the variables of the pod."""
    with Guard() as guard, EmbeddedPostgres(short_folder / "trial", guard=guard) as postgres:
        sql = ROOT / "charts/webhook-service/files/postgresql.sql"
        command = [str(wheel.program("psql")), "-v", "ON_ERROR_STOP=1", "-Xq", "-h", str(postgres.socket_folder)]
        command += ["-p", str(postgres.port), "-U", wheel.USER, "-d", "postgres", "-f", str(sql)]
        subprocess.run(command, check=True, env={**wheel.ENVIRONMENT, "POSTGRES_PASSWORD": "s3cret'\\\\"})
        url = f"postgresql://webhook:s3cret%27%5C%5C@127.0.0.1:{postgres.port}/webhook"
        process = start("migrate", url)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert postgres.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'webhook'") == "f"
        assert postgres.execute("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'") == "t"
