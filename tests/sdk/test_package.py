"""The Python SDK as it is published."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from dev.harness.stack import ROOT
from webhook_service import __version__

SOURCE = ROOT / "sdk/python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    # Isolated, it would ask a package index for setuptools.
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_wheel_and_sdist_have_the_package_its_types_and_its_license(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    assert wheel.name == f"webhook_service_sdk-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {str(path.relative_to(SOURCE / "src")) for path in (SOURCE / "src").rglob("*.py")}
    assert {*packaged, "webhook_service/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("webhook_service/py.typed") for name in archive.getnames())


def test_package_needs_only_what_it_says(built: Path, tmp_path: Path) -> None:
    """The receivers of frameworks and Ed25519 are imported only when they are used."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import webhook_service
import webhook_service.receivers
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(loaded & {{"cryptography", "django", "fastapi", "flask", "pydantic", "services", "typer"}})
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_changelog_begins_with_the_version() -> None:
    assert f"\n## {__version__}\n" in (SOURCE / "CHANGELOG.md").read_text()
