"""A separate stack for these tests, checks of it after each module, and the number of cases."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.stack import ROLES, Stack
from dev.harness.waiting import wait_until_sync
from services.domain.tenants.quotas import Quota
from tests.adversarial import calls

# How many cases of each kind were tried, counted where it happens.


class Tally:
    """Counts of a run."""

    def __init__(self) -> None:
        self._cases: Counter[str] = Counter()

    def add(self, kind: str, cases: int = 1) -> None:
        """Count cases of a kind."""
        self._cases[kind] += cases

    @property
    def total(self) -> int:
        """Return the number of all cases."""
        return self._cases.total()

    @property
    def lines(self) -> list[str]:
        """Return the total, and then each kind; nothing if there were no cases."""
        if not self._cases:
            return []
        width = max(map(len, self._cases))
        whole = f"adversarial: {self.total:,} cases of {len(self._cases)} kinds"
        return [whole, *(f"  {kind:<{width}}  {cases:>7,}" for kind, cases in sorted(self._cases.items()))]


# A separate stack for these tests, and checks of it after each module.


_TALLY = pytest.StashKey[Tally]()
# What services log after an unexpected error.
BUGS = (
    "because of a bug",
    "cannot be recorded",
    "cannot be stored",
    "a background task died",
    "Exception in ASGI application",
)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Return the counts, which are printed at the end."""
    return pytestconfig.stash.setdefault(_TALLY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many cases of each kind were tried."""
    for line in config.stash.get(_TALLY, Tally()).lines:
        terminalreporter.write_line(line)


# How many examples to generate: the first number in the short mode, the second in the long one.
Examples = Callable[[int, int], int]


@pytest.fixture(scope="session")
def examples(pytestconfig: pytest.Config) -> Examples:
    """Choose how many examples to generate."""
    return lambda short, long: long if pytestconfig.getoption("--long") else short


@pytest.fixture(scope="package")
def stack(short_folder: Path) -> Iterator[Stack]:
    """A stack whose worker tries once, for a second, and can reach one address of this machine."""
    environment = {
        "EGRESS_ALLOW": "127.0.0.1/32",
        "DELIVERY_TIMEOUT_SECONDS": "1",
        "RETRY_LIMIT": "0",
        **calls.ENVIRONMENT,
    }
    with stacks.running(short_folder / "adversarial", environment=environment) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def api(stack: Stack) -> AsyncIterator[Api]:
    """A client of the stack."""
    async with httpx.AsyncClient(base_url=stack.base_url, headers=calls.HEADERS, timeout=60) as http:
        yield Api(http)


@pytest.fixture(scope="module")
def unharmed(stack: Stack) -> Iterator[None]:
    """Begin a module without quotas. Check after it that the same processes are alive, ready, and logged no bug."""
    # Generated requests of an admin may have given the tenant quotas.
    reset = {"quotas": {quota.value: None for quota in Quota}}
    url = f"{stack.base_url}/api/v1/admin/tenants/default"
    assert httpx.patch(url, json=reset, headers=calls.HEADERS, timeout=60).status_code == 200
    before = {role: stack.pid_of(role) for role in ROLES}
    yield
    assert {role: stack.pid_of(role) for role in ROLES} == before
    wait_until_sync(lambda: _ready(stack), what="every process to be ready")
    found = [line for line in _log_lines(stack) if any(bug in line for bug in BUGS)]
    assert found == []


def _ready(stack: Stack) -> bool:
    metrics_ports = stack.ports["metrics"].values()
    return all(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200 for port in metrics_ports)


def _log_lines(stack: Stack) -> Iterator[str]:
    for path in sorted((stack.data_dir / "logs").glob("*.log")):
        yield from path.read_text(errors="replace").splitlines()
