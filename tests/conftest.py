"""Fixtures for all tests, with real stores, processes, and sockets as in production."""

import fnmatch
import importlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
import structlog

from dev.embedded import ports
from dev.harness import receiver as receivers
from dev.harness import stack as stacks
from dev.harness import stores as shared_stores

# Folders and files whose tests share a stack: the same process runs all of them, so that it is started once.
TOGETHER = {
    "adversarial": ("adversarial",),
    "e2e/access": ("e2e/access",),
    "quick": ("e2e/test_inbound.py", "e2e/test_main_job.py", "e2e/test_survival.py"),
    "stack": (
        "docs/test_cloudevents.py",
        "docs/test_quickstarts.py",
        "docs/test_readme.py",
        "e2e/test_bad_input.py",
        "e2e/test_metrics.py",
        "e2e/test_operational_events.py",
        "sdk/test_cli.py",
        "sdk/test_client.py",
        "sdk/test_go.py",
        "sdk/test_listen.py",
        "sdk/test_pulling.py",
        "sdk/test_typescript.py",
    ),
}
# Files and folders with a few slow tests: they start first, so that no process works alone at the end.
SLOW = (
    "e2e/access",
    "dev/local/test_local.py",
    "adversarial",
    "e2e/test_rolling.py",
    "dev/demo",
    "e2e/test_configurations.py",
    "dev/benchmarks/test_bench.py",
    "dev/chaos/test_run.py",
    "dev/chaos/test_outbox.py",
    "dev/chaos/test_recovery.py",
    "docs/test_quickstarts.py",
    "console",
    "e2e",
    "dev/test_image.py",
    "dev/embedded",
    "platform/test_settings.py",
    "delivery/test_outages.py",
    "platform/stores",
)
# A busy machine makes no property false.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

MADE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options here, because pytest needs them before it collects tests."""
    parser.addoption("--long", action="store_true", help="tests/adversarial: thousands of cases more, in minutes")
    parser.addoption("--minutes", type=float, default=30.0, help="tests/adversarial/fuzzing.py: how long it goes on")
    parser.addoption("--strict-skips", action="store_true", help="fail on a test that is skipped and not in skips.txt")
    parser.addoption("--seed", type=int, default=1, help="tests/adversarial/fuzzing.py: of its first round")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow files first; the others keep their order."""
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(root)
        return next((number for number, slow in enumerate(SLOW) if path.is_relative_to(slow)), len(SLOW))

    items.sort(key=rank)


def _unit(nodeid: str) -> str:
    """Return what a test shares a process with: its file, or files that belong together."""
    path = Path(nodeid.partition("::")[0]).relative_to("tests")
    return next((name for name, paths in TOGETHER.items() if any(map(path.is_relative_to, paths))), str(path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each process a file at a time, or files that belong together."""
    # Not before it is needed: pytest may run without this plugin.
    scheduling = importlib.import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduling._split_scope = _unit
    return scheduling


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name tests that have no ids of their own: parallel processes must agree on the names."""
    return MADE_ID.sub("ID", val) if isinstance(val, str) and MADE_ID.search(val) else None


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Print tracebacks as Python does: the default's take seconds to draw."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.stdlib.add_log_level, renderer])


def _unlisted_skips(terminalreporter: pytest.TerminalReporter) -> list[str]:
    """Return each skipped test that .ci/skips.txt does not list, with its reason."""
    lines = (Path(__file__).parents[1] / ".ci/skips.txt").read_text().splitlines()
    listed = [line.partition(": ")[0] for line in lines if line and not line.startswith("#")]
    return [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in terminalreporter.stats.get("skipped", [])
        if not any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in listed)
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run on a skip that is not listed, with --strict-skips."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.option.strict_skips and reporter is not None and _unlisted_skips(reporter):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that --strict-skips fails the run for."""
    if terminalreporter.config.option.strict_skips and (found := _unlisted_skips(terminalreporter)):
        terminalreporter.section("skipped tests that .ci/skips.txt does not list", red=True)
        for line in found:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def stores() -> Iterator[shared_stores.Stores]:
    """Postgres and Valkey of this test run."""
    with shared_stores.running() as running:
        yield running


@pytest.fixture
def database(stores: shared_stores.Stores) -> Iterator[str]:
    """Return the DSN of a new migrated database."""
    with stores.database() as dsn:
        yield dsn


@pytest.fixture
def redis_url(stores: shared_stores.Stores) -> str:
    """Return the URL of an empty logical database of Valkey."""
    return stores.redis_url()


@pytest.fixture
def free_port() -> int:
    """Return a free TCP port."""
    return ports.free_port()


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[receivers.Receiver]:
    """A webhook receiver on 127.0.0.1."""
    async with receivers.receiving() as receiving:
        yield receiving


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A temporary folder for the data of stacks. The user that Postgres runs as cannot open pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(short_folder: Path) -> Iterator[stacks.Stack]:
    """The whole service, started once for all tests that use it."""
    with stacks.running(short_folder / "shared") as running:
        yield running
