"""The types of the console's modules, which JSDoc says, and those of the API, which its description says."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from services.gateway import app

CONSOLE = Path(__file__).resolve().parents[2] / "console"
# Well below a test's time limit: if the registry cannot be reached, npm retries for long.
NPM_SECONDS = 90


def run(*command: str, folder: Path, seconds: float = 240.0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the console, with what its types are checked by."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    copied = tmp_path_factory.mktemp("types") / "console"
    shutil.copytree(CONSOLE, copied, ignore=shutil.ignore_patterns("node_modules"))
    command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
    try:
        done = run(*command, folder=copied / "types", seconds=NPM_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry cannot be reached")
    if done.returncode:
        pytest.skip(f"the npm registry cannot be reached: {done.stderr[-200:]}")
    return copied


def test_modules_agree_with_their_types_and_those_of_the_api(console: Path) -> None:
    types = console / "types"
    (types / "openapi.json").write_text(json.dumps(app.described().openapi()))
    made = run("node_modules/.bin/openapi-typescript", "openapi.json", "-o", "api.d.ts", folder=types)
    assert made.returncode == 0, made.stderr
    checked = run("node_modules/.bin/tsc", "--noEmit", "-p", ".", folder=types)
    assert checked.returncode == 0, checked.stdout[:20_000]
