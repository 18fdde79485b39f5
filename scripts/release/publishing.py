"""The addresses of what is published, from publishing.toml, and the files that have them.

`make generate` writes them. A pattern that no longer matches a file is an error, so that no address is forgotten.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
CHART_NAME = "webhook-service"
# Where a host of repositories keeps images. Others keep them themselves.
_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
_REPOSITORY = re.compile(r"https://(?P<host>[a-z0-9.-]+)/(?P<path>[\w.-]+(?:/[\w.-]+)*)")


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where everything is published."""

    repository: str
    python: str
    npm: str

    @classmethod
    def read(cls, text: str | None = None) -> Self:
        """Return the addresses of publishing.toml, or of its text."""
        found = tomllib.loads((ROOT / "publishing.toml").read_text() if text is None else text)
        made = cls(**found)
        if not _REPOSITORY.fullmatch(made.repository):
            raise ValueError(
                "publishing.toml: repository must be https://HOST/PATH, without .git or a slash at the end"
            )
        return made

    @property
    def path(self) -> str:
        """The repository's path at its host, such as OWNER/NAME."""
        return self.repository.removeprefix("https://").partition("/")[2]

    @property
    def registry(self) -> str:
        """The host of images and charts."""
        host = self.repository.removeprefix("https://").partition("/")[0]
        return _REGISTRIES.get(host, host)

    @property
    def image(self) -> str:
        """The image without a tag. Registries take lowercase only."""
        return f"{self.registry}/{self.path.lower()}"

    @property
    def charts(self) -> str:
        """The OCI address of the folder that has the chart."""
        owner = self.path.lower().rpartition("/")[0]
        return "oci://" + "/".join(part for part in (self.registry, owner, "charts") if part)

    @property
    def chart(self) -> str:
        """The OCI address of the chart."""
        return f"{self.charts}/{CHART_NAME}"

    @property
    def go(self) -> str:
        """The path of the Go module."""
        return f"{self.repository.removeprefix('https://')}/sdk/go"

    @property
    def tarball(self) -> str:
        """The name of npm's package as `npm pack` writes it."""
        return self.npm.removeprefix("@").replace("/", "-")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Files in which a pattern finds an address: its group `value`."""

    files: tuple[str, ...]
    pattern: str
    value: Callable[[Addresses], str]


_NPM = r"(?:@[\w.-]+/)?[\w.-]+?"
_EXPORTED = r"\{ (?:Client|Schemas|verify|webhook)\b[^}]*\}"
_PYTHON_GUIDES = ("README.md", "docs/guides/cli.md", "docs/guides/sdk-python.md", "sdk/python/README.md")
_TYPESCRIPT_GUIDES = ("docs/guides/sdk-typescript.md", "sdk/typescript/README.md")
_SDK_PAGES = ("sdk/python/README.md", "sdk/typescript/README.md", "sdk/go/README.md")
PLACES = (
    Place(
        files=("charts/webhook-service/Chart.yaml",),
        pattern=r"^(?:home: |sources: \[)(?P<value>[^\]\s]+)",
        value=lambda to: to.repository,
    ),
    Place(
        files=("charts/webhook-service/values.yaml",),
        pattern=r"^image:\n(?:  #.*\n)+  repository: (?P<value>\S+)$",
        value=lambda to: to.image,
    ),
    Place(files=("README.md",), pattern=r"`docker pull (?P<value>[^\s:`]+)", value=lambda to: to.image),
    Place(
        files=(
            "README.md",
            "charts/webhook-service/README.md",
            "docs/guides/kubernetes.md",
            "docs/operations/releasing.md",
        ),
        pattern=rf"(?P<value>oci://[\w.:/-]+/charts/{CHART_NAME})\b",
        value=lambda to: to.chart,
    ),
    Place(
        files=("docs/guides/kubernetes.md",),
        pattern=r"^    repository: (?P<value>oci://\S+)$",
        value=lambda to: to.charts,
    ),
    Place(
        files=("docs/operations/releasing.md",),
        pattern=r"^IMAGE=(?P<value>[^\s:]+)",
        value=lambda to: to.image,
    ),
    Place(
        files=("docs/operations/releasing.md", "console/pages/admin/system.js", *_SDK_PAGES),
        pattern=r"(?P<value>https://[a-z0-9.-]+/[\w./-]+?)(?=/blob/main/|/\\?\.github/workflows/)",
        value=lambda to: to.repository,
    ),
    Place(
        files=("Dockerfile",),
        pattern=r'org\.opencontainers\.image\.source="(?P<value>[^"]*)"',
        value=lambda to: to.repository,
    ),
    Place(
        files=("sdk/python/pyproject.toml",),
        pattern=r'^name = "(?P<value>[^"]+)"',
        value=lambda to: to.python,
    ),
    Place(
        files=("sdk/python/pyproject.toml",),
        pattern=r'^(?:Repository|Documentation|Changelog) = "(?P<value>https://[^"]+?)(?="|/blob/main/)',
        value=lambda to: to.repository,
    ),
    Place(
        files=(
            *_PYTHON_GUIDES,
            "sdk/python/src/webhook_service/cli/__init__.py",
            "sdk/python/src/webhook_service/verification.py",
        ),
        pattern=r"pip install '?(?P<value>[A-Za-z][\w-]*)(?=[\[\s'`])",
        value=lambda to: to.python,
    ),
    Place(
        files=("sdk/typescript/package.json", "sdk/typescript/package-lock.json"),
        pattern=r'^(?:  |      )"name": "(?P<value>[^"]+)"',
        value=lambda to: to.npm,
    ),
    Place(
        files=("sdk/typescript/package.json",),
        pattern=r'"(?:url|homepage)": "(?:git\+)?(?P<value>https://[^"]+?)(?=\.git"|/blob/main/)',
        value=lambda to: to.repository,
    ),
    Place(
        files=("README.md", *_TYPESCRIPT_GUIDES),
        pattern=rf"npm install (?P<value>{_NPM})(?=[\s`]|$)",
        value=lambda to: to.npm,
    ),
    Place(
        files=(
            *_TYPESCRIPT_GUIDES,
            *(
                f"sdk/typescript/examples/{name}"
                for name in ("express.mjs", "next-route.ts", "publish.mjs", "pull.mjs")
            ),
        ),
        pattern=rf"import (?:type )?{_EXPORTED} from '(?P<value>{_NPM})(?=(?:/express|/next)?')",
        value=lambda to: to.npm,
    ),
    Place(
        files=("docs/guides/sdk-typescript.md",),
        pattern=rf"`(?P<value>{_NPM})(?=/next` makes)",
        value=lambda to: to.npm,
    ),
    Place(
        files=("docs/guides/sdk-typescript.md",),
        pattern=r"sdk/typescript/(?P<value>[\w-]+?)(?=-\d+\.\d+\.\d+\.tgz)",
        value=lambda to: to.tarball,
    ),
    Place(
        files=("README.md", "docs/guides/sdk-go.md", "sdk/go/README.md", "sdk/go/go.mod"),
        pattern=r"(?<!//)\b(?P<value>[\w-]+(?:\.[\w-]+)+(?:/[\w.-]+)*/sdk/go)\b",
        value=lambda to: to.go,
    ),
)


def files(addresses: Addresses | None = None) -> dict[Path, str]:
    """Return the files that have addresses, with those of publishing.toml."""
    addresses = addresses or Addresses.read()
    texts: dict[str, str] = {}
    for place in PLACES:
        for name in place.files:
            text = texts[name] if name in texts else (ROOT / name).read_text()
            texts[name], count = re.subn(place.pattern, _replaced_by(place.value(addresses)), text, flags=re.MULTILINE)
            if not count:
                raise ValueError(
                    f"{name} has no address like {place.pattern}: change scripts/release/publishing.py with it"
                )
    return {ROOT / name: text for name, text in texts.items()}


def _replaced_by(value: str) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        start, end = found.span("value")
        return found[0][: start - found.start()] + value + found[0][end - found.start() :]

    return replaced
