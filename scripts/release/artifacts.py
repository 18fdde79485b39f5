"""Builds what is published, into a folder, without a registry: Python, npm, and chart packages, and a Go module."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.release import versions
from scripts.release.publishing import CHART_NAME, ROOT, Addresses

# Long enough for a slow machine; npm and Go retry for longer when they cannot reach their registries.
SECONDS = 300
# What other runs left in the folders of the SDKs.
_LEFT = shutil.ignore_patterns(
    "node_modules", "dist", "build", "*.egg-info", "__pycache__", "openapi.json", "schema.ts"
)


class Missing(Exception):
    """A part cannot be built on this machine, because a tool or a registry is missing."""


def run(*command: str | Path, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Return what a command prints; AssertionError with all of it if it fails."""
    done = subprocess.run(  # noqa: S603 - our own command line
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        said = " ".join(map(str, command))
        raise AssertionError(f"{said} failed with {done.returncode}:\n{done.stdout[-8000:]}{done.stderr[-8000:]}")
    return done.stdout


def tool(name: str) -> str:
    """Return the path of a program; Missing if it is not installed."""
    found = shutil.which(name, path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def python(work: Path, output: Path) -> Path:
    """Build the sdist, and the wheel of it. Return the wheel."""
    source, folder = work / "python-source", output / "python"
    shutil.copytree(ROOT / "sdk/python", source, ignore=_LEFT)
    # Isolated, it would ask a package index for setuptools.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, folder=work)
    name = Addresses.read().python.replace("-", "_")
    wheel = folder / f"{name}-{versions.current()}-py3-none-any.whl"
    sdist = folder / f"{name}-{versions.current()}.tar.gz"
    assert {wheel, sdist} == set(folder.iterdir()), f"{folder} has {sorted(path.name for path in folder.iterdir())}"
    return wheel


def npm(work: Path, output: Path, document: dict[str, object]) -> Path:
    """Build the npm package, with types from the OpenAPI document. Return the tarball."""
    command, source, folder = tool("npm"), work / "npm-source", output / "npm"
    tool("node")
    shutil.copytree(ROOT / "sdk/typescript", source, ignore=_LEFT)
    folder.mkdir(parents=True)
    try:
        run(command, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", folder=source)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise Missing(f"the npm registry cannot be reached: {str(error)[-300:]}") from error
    (source / "openapi.json").write_text(json.dumps(document))
    run(command, "run", "build", folder=source)
    run(command, "pack", "--pack-destination", folder, folder=source)
    tarball = folder / f"{Addresses.read().tarball}-{versions.current()}.tgz"
    assert [tarball] == list(folder.iterdir()), f"{folder} has {sorted(path.name for path in folder.iterdir())}"
    return tarball


def chart(work: Path, output: Path) -> Path:
    """Package the chart, and render it as it is published. Return the package."""
    helm, folder = tool("helm3"), output / "chart"
    # Helm's own folders, so that the user's are neither read nor changed.
    own = {name: str(work / "helm") for name in ("HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME")}
    run(helm, "package", ROOT / "charts" / CHART_NAME, "--destination", folder, folder=work, environment=own)
    package = folder / f"{CHART_NAME}-{versions.current()}.tgz"
    stores = ("--set", "postgresql.enabled=true", "--set", "redis.enabled=true")
    manifest = run(helm, "template", "webhook", package, *stores, folder=work, environment=own)
    image = f"image: {Addresses.read().image}:{versions.current()}"
    assert image in manifest.replace('"', ""), f"the packaged chart does not run {image}"
    return package


def go(work: Path) -> Path:
    """Make a module proxy of files that has the Go module, as Go would download it. Return its folder."""
    tool("go")
    module, version = Addresses.read().go, f"v{versions.current()}"
    # In a proxy's paths, an uppercase letter is ! and the letter in lowercase.
    escaped = "".join(f"!{letter.lower()}" if letter.isupper() else letter for letter in module)
    folder = work / "goproxy" / escaped / "@v"
    folder.mkdir(parents=True)
    (folder / "list").write_text(f"{version}\n")
    (folder / f"{version}.info").write_text(json.dumps({"Version": version}))
    shutil.copy(ROOT / "sdk/go/go.mod", folder / f"{version}.mod")
    with zipfile.ZipFile(folder / f"{version}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "sdk/go").rglob("*")):
            if path.is_file():
                archive.write(path, f"{module}@{version}/{path.relative_to(ROOT / 'sdk/go')}")
    return work / "goproxy"
