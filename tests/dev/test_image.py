"""The image: every role in its help runs with the files and packages that the Dockerfile copies."""

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.embedded import ports
from dev.harness.keys import ENCRYPTION_KEY, SERVICE_KEY
from dev.harness.stack import ROOT
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until_sync
from services.__main__ import ROLES, usage

# Roles that end, with their exit status and what they print on an empty database.
JOBS: Mapping[str, str] = {"migrate": "", "wait": "schema is at ", "reencrypt": "0 subscriptions re-encrypted"}
SERVERS = [*ROLES, "gateway ingest", "delivery worker analytics", " ".join(ROLES)]


def locked() -> list[str]:
    """Return the distributions of requirements/run.txt that this platform has."""
    pinned = re.findall(r"^([^\s\\#][^\\\n]*)", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    wanted = map(Requirement, pinned)
    return [each.name for each in wanted if each.marker is None or each.marker.evaluate()]


@pytest.fixture(scope="module")
def image(short_folder: Path) -> Path:
    """The folders of the image: `app` as the Dockerfile copies it, and `packages` from run.txt."""
    app, packages = short_folder / "image/app", short_folder / "image/packages"
    packages.mkdir(parents=True)
    for source, target in re.findall(r"^COPY (\w+)/ (\w+)/$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        shutil.copytree(ROOT / source, app / target, ignore=shutil.ignore_patterns("__pycache__", "*.proto"))
    for name in locked():
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            path, link = Path(str(distribution.locate_file(file))), packages / file
            if ".." not in file.parts and path.is_file():
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(path)
    return app.parent


@pytest.fixture(scope="module")
def environment(image: Path, stores: Stores) -> Iterator[dict[str, str]]:
    """Variables of every role, over real stores; the database is empty."""
    with stores.empty_database() as database_url:
        yield {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{image / 'app'}{os.pathsep}{image / 'packages'}",
            "ENV": "development",
            "DATABASE_URL": database_url,
            "REDIS_URL": stores.redis_url(),
            "ENCRYPTION_KEYS": ENCRYPTION_KEY,
            "SERVICE_KEY": SERVICE_KEY,
            "DRAIN_SECONDS": "0",
            "OUTBOX_DATABASE_URL": database_url,
        }


def command(*arguments: str) -> list[str]:
    """Run services without the packages of this environment."""
    return [sys.executable, "-S", "-m", "services", *arguments]


def test_help_lists_the_roles(image: Path, environment: dict[str, str]) -> None:
    outcome = subprocess.run(
        command("--help"), cwd=image / "app", env=environment, capture_output=True, text=True, check=True
    )
    assert outcome.stdout == usage()


@pytest.mark.parametrize("role", JOBS)  # migrate runs first, and creates the schema
def test_job_ends_with_status_0(image: Path, environment: dict[str, str], role: str) -> None:
    outcome = subprocess.run(
        command(role), cwd=image / "app", env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert JOBS[role] in outcome.stdout


@pytest.mark.parametrize("role", SERVERS)
def test_server_is_ready_and_stops_in_order(image: Path, environment: dict[str, str], role: str) -> None:
    port, grpc_port, metrics_port = ports.free_ports(3)
    chosen = {"PORT": str(port), "GRPC_PORT": str(grpc_port), "METRICS_PORT": str(metrics_port)}
    # A gateway is ready once ingest has answered, which does not run beside it here.
    path = "healthz" if role == "gateway" else "readyz"
    log_path = image / f"{role}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command(*role.split()), cwd=image / "app", env={**environment, **chosen}, stdout=log, stderr=log
        )

    def ready() -> bool:
        assert process.poll() is None, log_path.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{metrics_port}/{path}", timeout=2).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until_sync(ready, what=f"{role} to be ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log_path.read_text()
    finally:
        process.kill()
        process.wait()


def test_dependencies_of_the_product_are_those_that_it_imports() -> None:
    """Imports of the chart's scripts count, because they run in the image."""
    of_module = importlib.metadata.packages_distributions()
    # Imported only by name, or part of a namespace that several packages share.
    indirect = {"taskiq-redis", "fastapi-offline", "googleapis-common-protos"}
    sources = [*ROOT.glob("services/**/*.py"), *ROOT.glob("protos/**/*.py"), *ROOT.glob("charts/**/files/*.py")]
    imported = {
        canonicalize_name(name)
        for path in sources
        for module in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        for name in of_module.get(module, ())
    }
    metadata = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    named = {canonicalize_name(name) for name in re.findall(r'"([\w-]+)"', metadata)}
    assert named - imported <= indirect
    assert imported <= named | {canonicalize_name(name) for name in locked()}
