"""The TypeScript SDK: it is built, passes the cases that every SDK passes, and works with the service."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from dev.harness.stack import ROOT, Stack
from services.gateway import app
from webhook_service import Client

# Well below a test's time limit: if the registry cannot be reached, npm retries for long.
NPM_SECONDS = 90


def run(*command: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the SDK, built with the locked tools."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("typescript") / "sdk"
    made = shutil.ignore_patterns("node_modules", "dist", "openapi.json", "schema.ts")
    shutil.copytree(ROOT / "sdk/typescript", folder, ignore=made)
    command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry cannot be reached")
    if done.returncode:
        pytest.skip(f"the npm registry cannot be reached: {done.stderr[-200:]}")
    (folder / "openapi.json").write_text(json.dumps(app.described().openapi()))
    compiled = run(npm, "run", "build", folder=folder)
    assert compiled.returncode == 0, compiled.stdout[-20_000:]
    assert "warn" not in (compiled.stdout + compiled.stderr).lower()
    return folder


@pytest.mark.timeout(400)
def test_sdk_passes_its_tests_and_works_with_the_service(built: Path, stack: Stack) -> None:
    tenant = f"ts-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(tenant)
    variables = {"WEBHOOK_URL": stack.base_url, "WEBHOOK_TENANT": tenant}
    done = run("node", "--test", "test/", folder=built, CONFORMANCE=str(ROOT / "sdk/conformance"), **variables)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "# fail 0" in done.stdout
    assert "# skipped 0" in done.stdout


def test_the_example_publishes_an_event(built: Path, stack: Stack) -> None:
    modules = built / "examples/node_modules"
    modules.mkdir(exist_ok=True)
    package = modules / json.loads((built / "package.json").read_text())["name"]
    package.parent.mkdir(exist_ok=True)
    package.symlink_to(built)
    done = run("node", "publish.mjs", folder=built / "examples", WEBHOOK_URL=stack.base_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("published ")


def test_the_package_has_what_it_exports(built: Path) -> None:
    npm = shutil.which("npm") or "npm"
    (packed,) = json.loads(run(npm, "pack", "--dry-run", "--json", folder=built).stdout)
    names = {file["path"] for file in packed["files"]}
    exported = json.loads((built / "package.json").read_text())["exports"].values()
    assert {path.removeprefix("./") for entry in exported for path in entry.values()} <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md"} <= names
