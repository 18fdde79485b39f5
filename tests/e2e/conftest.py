"""A stack that retries soon, and a client of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from dev.harness import stack as stacks
from dev.harness.api import TLS, Api
from dev.harness.stack import Stack

ENVIRONMENT = {
    # Retries after about 0.2, 0.4, 0.8, 1.6 and 3.2 s.
    "RETRY_BASE_SECONDS": "0.2",
    "DELIVERY_TIMEOUT_SECONDS": "5",
    "LEASE_SECONDS": "10",
}


@pytest.fixture(scope="session")
def quick(short_folder: Path) -> Iterator[Stack]:
    """A stack that retries soon, shared by the files of these tests that run in one process."""
    with stacks.running(short_folder / "quick", environment=ENVIRONMENT) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def api(quick: Stack) -> AsyncIterator[Api]:
    """A client of the stack."""
    async with httpx.AsyncClient(base_url=quick.base_url, timeout=60, verify=TLS) as http:
        yield Api(http)
