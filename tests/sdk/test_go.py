"""The Go SDK: it passes the cases that every SDK passes, and publishes, receives, verifies and lists."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from dev.harness.stack import ROOT, Stack
from webhook_service import Client

SDK = ROOT / "sdk/go"


def environment(folder: Path) -> dict[str, str]:
    """Return an environment for Go: no network, and a cache for builds even if there is no home."""
    folders = (os.environ.get("XDG_CACHE_HOME", ""), os.path.join(os.environ.get("HOME", ""), ".cache"))  # noqa: PTH118
    cache = next((Path(one) for one in folders if Path(one).is_absolute()), Path(tempfile.gettempdir()))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOCACHE": str(cache / "go-build"),
        "GOPATH": str(folder / "go"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }


@pytest.fixture(scope="module")
def go() -> str:
    """The path of Go."""
    found = shutil.which("go")
    if found is None:
        pytest.skip("go is not installed")
    return found


@pytest.mark.timeout(400)
def test_sdk_passes_its_tests_and_works_with_the_service(go: str, stack: Stack, tmp_path: Path) -> None:
    tenant = f"go-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(tenant)
    variables = {"WEBHOOK_URL": stack.base_url, "WEBHOOK_TENANT": tenant}
    done = subprocess.run(
        [go, "test", "-count=1", "-vet=all", "./..."],
        cwd=SDK,
        env={**environment(tmp_path), **variables},
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_files_are_as_gofmt_writes_them(go: str) -> None:
    gofmt = Path(go).resolve().parent / "gofmt"
    if not gofmt.exists():
        pytest.skip("gofmt is not installed")
    done = subprocess.run([str(gofmt), "-l", "."], cwd=SDK, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
