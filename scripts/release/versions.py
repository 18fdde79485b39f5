"""The version of everything that is released together: that of pyproject.toml, wherever else it is written."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NUMBER = r"(\d+\.\d+\.\d+[\w.+-]*)"
# Files, and where a version is in them. Each pattern must match.
PLACES = (
    ("charts/webhook-service/Chart.yaml", rf"^version: {_NUMBER}$"),
    ("charts/webhook-service/Chart.yaml", rf"^appVersion: {_NUMBER}$"),
    ("Dockerfile", rf"^ARG VERSION={_NUMBER}$"),
    ("docker-compose.yaml", rf"webhook-service:\$\{{VERSION:-{_NUMBER}\}}"),
    ("kind/receiver.yaml", rf"webhook-service:{_NUMBER}$"),
    ("README.md", rf"`docker pull [^\s`]+:{_NUMBER}`"),
    ("docs/guides/kubernetes.md", rf"webhook-service:{_NUMBER}"),
    ("docs/guides/kubernetes.md", rf"^    version: {_NUMBER}$"),
    ("docs/guides/sdk-go.md", rf"/sdk/go@v{_NUMBER} "),
    ("docs/guides/sdk-typescript.md", r"-(\d+\.\d+\.\d+)\.tgz"),
    ("docs/operations/releasing.md", rf"^IMAGE=[^\s:]+:{_NUMBER}$"),
    ("services/platform/process/metrics.py", rf'^VERSION = "{_NUMBER}"$'),
    ("sdk/go/client.go", rf'^const Version = "{_NUMBER}"$'),
    ("sdk/go/CHANGELOG.md", rf"\A[^#]*# [^#]*## {_NUMBER}$"),
    ("sdk/python/src/webhook_service/version.py", rf'^VERSION = "{_NUMBER}"$'),
    ("sdk/python/CHANGELOG.md", rf"\A[^#]*# [^#]*## {_NUMBER}$"),
    ("sdk/typescript/package.json", rf'^  "version": "{_NUMBER}",$'),
    (
        "sdk/typescript/package-lock.json",
        rf'^(?:  |      )"version": "{_NUMBER}",$(?=\n\s+"(?:lockfileVersion|license))',
    ),
    ("sdk/typescript/src/version.ts", rf"^export const VERSION = '{_NUMBER}';$"),
    ("sdk/typescript/CHANGELOG.md", rf"\A[^#]*# [^#]*## {_NUMBER}$"),
)


def current() -> str:
    """Return the version of pyproject.toml."""
    found = re.search(rf'^version = "{_NUMBER}"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml has no version")
    return found[1]


def problems() -> list[str]:
    """Return a line for each file whose version is another, or that has none."""
    wanted, said = current(), []
    for name, pattern in PLACES:
        found = re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)
        if not found:
            said.append(f"{name}: no version like {pattern}: change scripts/release/versions.py with it")
        said += [
            f"{name}: the version is {version}, in pyproject.toml {wanted}" for version in found if version != wanted
        ]
    return said
