"""One Postgres and one Valkey for all tests of a run; a database of its own for each test."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import redis

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard, wheel
from dev.embedded.valkey import DATABASES
from dev.local.migrations import migrate

TEMPLATE = "migrated"
RUNTIME_USER = "webhook_runtime"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Embedded stores that run; `TEMPLATE` is a migrated database that nobody connects to."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A fresh migrated database, dropped with the context; its DSN."""
        name = f"test_{next(self._numbers)}"
        self.postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {wheel.OWNER}")
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def empty_database(self) -> Iterator[str]:
        """A database without a schema, dropped with the context; its owner's DSN."""
        name = f"test_{next(self._numbers)}"
        self.postgres.ensure_database(name)
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def role(self, database_url: str, *settings: str) -> Iterator[str]:
        """A role that owns nothing, with these defaults of its own; the DSN as which it logs in to the database."""
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
        """An empty logical database: its URL. Channels of pub/sub are shared by all of them."""
        url = self.valkey.url(next(self._numbers) % DATABASES)
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.flushdb()
        return url


def make_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Make a migrated database, which a role without the owner's rights may use as well."""
    postgres.ensure_database(name)
    if postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = :'name'", name=RUNTIME_USER) == "":
        postgres.execute('CREATE ROLE :"name" LOGIN', name=RUNTIME_USER)
    migrate(postgres.url(name), runtime_user=RUNTIME_USER)


def as_runtime(database_url: str) -> str:
    """Return the URL as which services log in that change no schema: all but analytics."""
    return database_url.replace(f"//{wheel.OWNER}@", f"//{RUNTIME_USER}@", 1)


def as_superuser(database_url: str) -> str:
    """Return the URL as which the sessions of others are seen, and ended."""
    return database_url.replace(f"//{wheel.OWNER}@", f"//{wheel.USER}@", 1)


@contextlib.contextmanager
def running() -> Iterator[Stores]:
    """Stores in a temporary folder, gone with the context; killed tests leave none (see dev.embedded.guard)."""
    # Not pytest's folder: it closes that to the user that Postgres runs as when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    try:
        with (
            Guard() as guard,
            # What has to survive a crash of the machine is no test's business; a crash of Postgres is survived.
            EmbeddedPostgres(folder / "postgres", guard=guard, settings={"fsync": "off"}) as postgres,
            EmbeddedValkey(folder / "valkey", guard=guard) as valkey,
        ):
            make_database(postgres, TEMPLATE)
            yield Stores(postgres=postgres, valkey=valkey)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
