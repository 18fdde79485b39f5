"""One Postgres and one Valkey for all tests of a run, and a separate database for each test."""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import redis

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, ports, wheel
from dev.embedded import account as accounts
from dev.embedded.child import Child, Command
from dev.embedded.valkey import DATABASES
from dev.harness.supervisor import migrate
from dev.harness.waiting import wait_until

TEMPLATE = "migrated"
RUNTIME_USER = "webhook_runtime"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Running embedded stores. `TEMPLATE` is a migrated database that nobody connects to."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Yield the DSN of a new migrated database, which is dropped when the context ends."""
        name = f"test_{next(self._numbers)}"
        self.postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {wheel.OWNER}")
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def empty_database(self) -> Iterator[str]:
        """Yield the owner's DSN of a database without a schema, which is dropped when the context ends."""
        name = f"test_{next(self._numbers)}"
        self.postgres.ensure_database(name)
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def role(self, database_url: str, *settings: str) -> Iterator[str]:
        """Yield the DSN of a role that owns nothing and has these defaults, to log in to the database."""
        name = f"role_{next(self._numbers)}"
        database = urlsplit(database_url).path.lstrip("/")
        self.postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        for setting in settings:
            self.postgres.execute(f"ALTER ROLE {name} SET {setting}")
        try:
            yield self.postgres.url(database, user=name)
        finally:
            self.postgres.execute(f"DROP OWNED BY {name}", database=database)
            self.postgres.execute(f"DROP ROLE {name}")

    def redis_url(self) -> str:
        """Return the URL of an empty logical database. All of them share pub/sub channels."""
        url = self.valkey.url(next(self._numbers) % DATABASES)
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.flushdb()
        return url


def make_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Create a migrated database, which a role without the owner's privileges can use as well."""
    postgres.ensure_database(name)
    if postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = :'name'", name=RUNTIME_USER) == "":
        postgres.execute('CREATE ROLE :"name" LOGIN', name=RUNTIME_USER)
    migrate(postgres.url(name), runtime_user=RUNTIME_USER)


def as_runtime(database_url: str) -> str:
    """Return the URL for services that do not change the schema: all except analytics."""
    return database_url.replace(f"//{wheel.OWNER}@", f"//{RUNTIME_USER}@", 1)


def as_superuser(database_url: str) -> str:
    """Return the URL of a user that can see and end the sessions of others."""
    return database_url.replace(f"//{wheel.OWNER}@", f"//{wheel.USER}@", 1)


@contextlib.contextmanager
def running() -> Iterator[Stores]:
    """Yield stores in a temporary folder. Killed tests leave none behind (see dev.embedded.guard)."""
    # Not pytest's folder: if the tests run as root, the user that Postgres runs as cannot open it.
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    try:
        with (
            Guard() as guard,
            # Tests need no durability in a crash of the machine. A crash of Postgres is still survived.
            EmbeddedPostgres(folder / "postgres", guard=guard, settings={"fsync": "off"}) as postgres,
            EmbeddedValkey(folder / "valkey", guard=guard) as valkey,
        ):
            make_database(postgres, TEMPLATE)
            yield Stores(postgres=postgres, valkey=valkey)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# A trigger function that rolls back this many transactions like a deadlock. It counts with a sequence, which is not
# rolled back.
CONFLICTS = """
CREATE SEQUENCE tries;
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF nextval('tries') <= TG_ARGV[0]::int THEN
        RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
    END IF;
    RETURN NEW;
END
$$;
"""


def conflicting(table: str, tries: int) -> str:
    """Return SQL that makes inserts and updates of the table fail until the sequence reaches this number."""
    return (
        f"CREATE OR REPLACE TRIGGER conflicts BEFORE INSERT OR UPDATE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION conflict({tries})"
    )


# On PATH, or as `python3 scripts/tools.py pgbouncer` fetches it.
FETCHED = Path(__file__).resolve().parents[2] / ".tools/bin"
PGBOUNCER = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", str(FETCHED))))
POOLER_CONFIGURATION = """
[databases]
* = host={socket_folder} port={postgres_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 200
"""
POOLER_TLS = """
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {certificate}
"""


@contextlib.asynccontextmanager
async def pooling(stores: Stores, *, servers: int, certificate: Path | None = None) -> AsyncIterator[int]:
    """Run PgBouncer with its defaults, but so few servers per database that clients must share them; yield its port.

    With a certificate, whose file also contains its key, it accepts only TLS.
    """
    assert PGBOUNCER
    folder, port = Path(tempfile.mkdtemp(prefix="pooler-")), ports.free_port()
    configuration = folder / "pgbouncer.ini"
    text = POOLER_CONFIGURATION.format(
        socket_folder=stores.postgres.socket_folder,
        postgres_port=stores.postgres.port,
        user=wheel.OWNER,
        port=port,
        servers=servers,
    )
    if certificate:
        text += POOLER_TLS.format(certificate=shutil.copy(certificate, folder))
    configuration.write_text(text)
    # Like Postgres, it refuses to run as root, and only Postgres's user can open the socket.
    account = accounts.for_postgres(lambda _: None)
    if account:
        account.take(folder)
    command = Command(
        name="pgbouncer",
        arguments=[PGBOUNCER, str(configuration)],
        log_path=folder / "log",
        environment=wheel.ENVIRONMENT,
        account=account,
    )
    child = Child(command)
    child.launch()
    try:
        await wait_until(lambda: _pooler_answers(child, port), what="PgBouncer to listen")
        yield port
    finally:
        child.stop()
        shutil.rmtree(folder)


async def _pooler_answers(child: Child, port: int) -> bool:
    assert child.running, child.last_lines()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
