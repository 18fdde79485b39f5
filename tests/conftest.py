"""Fixtures for all tests. Whatever is real in production is real here: Postgres, Valkey, processes, sockets."""

import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from dev.embedded import ports
from dev.harness import receiver as receivers
from dev.harness import stack as stacks
from dev.harness import stores as shared_stores

MADE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds options, here because pytest wants them before it collects."""
    parser.addoption("--long", action="store_true", help="tests/adversarial: thousands of cases more, in minutes")
    parser.addoption("--minutes", type=float, default=30.0, help="tests/adversarial/fuzzing.py: how long it goes on")
    parser.addoption("--seed", type=int, default=1, help="tests/adversarial/fuzzing.py: of its first round")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name tests without ids that are made at import: processes that run tests side by side must agree on the names."""
    return MADE_ID.sub("ID", val) if isinstance(val, str) and MADE_ID.search(val) else None


@pytest.fixture(scope="session")
def stores() -> Iterator[shared_stores.Stores]:
    """Postgres and Valkey of this test run."""
    with shared_stores.running() as running:
        yield running


@pytest.fixture
def database(stores: shared_stores.Stores) -> Iterator[str]:
    """The DSN of a fresh migrated database."""
    with stores.database() as dsn:
        yield dsn


@pytest.fixture
def redis_url(stores: shared_stores.Stores) -> str:
    """The URL of an empty logical database of Valkey."""
    return stores.redis_url()


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    return ports.free_port()


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[receivers.Receiver]:
    """A receiver of webhooks on 127.0.0.1."""
    async with receivers.receiving() as receiving:
        yield receiving


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A temporary folder for data of stacks; not pytest's, which is closed to the user that Postgres runs as."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(short_folder: Path) -> Iterator[stacks.Stack]:
    """The whole service, started once for all tests that use it."""
    with stacks.running(short_folder / "shared") as running:
        yield running
