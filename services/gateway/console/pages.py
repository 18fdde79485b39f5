"""The console's page and its files: the folder console/, read once at the start.

Every page is the same document. Its scripts read the path, and call the REST API as any other client does.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.web import problems, static
from services.gateway.web.middleware import accepts_html
from services.gateway.web.static import FOREVER, REVALIDATE, StaticContent

FOLDER = Path(__file__).resolve().parents[3] / "console"
ASSETS_PATH = "/console/assets"
# The first part of the paths of the pages, besides the root. The chart has them in files/console-paths.yaml.
PAGES = (
    "audit",
    "catalog",
    "deliveries",
    "events",
    "inbound",
    "jobs",
    "keys",
    "live",
    "sign-in",
    "statistics",
    "subscriptions",
    "system",
    "tenants",
)
# The same path is a page for browsers, and something else for programs.
_VARY = {"vary": "Accept"}
_PAGE = "index.html"
# How the page names its files.
_NAMED = f"{ASSETS_PATH}/HASH/"
_UNSERVED_FOLDERS = frozenset(("node_modules", "tests", "types"))
# What only developers and the type checker read, an eighth of all bytes: whole lines outside of texts, which never
# begin so. Vendored files keep their notices.
_COMMENTS = re.compile(rb"^[ ]*(?:/\*\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)\n", re.MULTILINE)
_CASTS = re.compile(rb"/\*\* @type [^\n]*? \*/ ?")
_CSS_COMMENTS = re.compile(rb"^[ ]*/\*[^\n]*\*/\n", re.MULTILINE)
# CSS has no use for a space beside one of these marks, nor for the last semicolon of a rule.
_CSS_SPACES = re.compile(rb"(?<=[;:,{}])\s+|;?\s*(?=})|\s+(?=\{)")
# HTML has none for indents, nor for a break after one of these marks: an element's text is trimmed, and code goes on.
# The texts of these files have.
_INDENTS = re.compile(rb"^[ ]+", re.MULTILINE)
_BREAKS = re.compile(rb"(?<=[>;{(\[`])\n")
_WITH_TEXTS = frozenset(("verify.js",))
_VENDORED = "vendor"


class Console:
    """The page, and the files that it loads: below an address that changes whenever one of them does."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = dict(served_files(folder))
        digest = hashlib.sha256()
        for name, body in files.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        self.version = digest.hexdigest()[:16]
        self.names = list(files)
        self._assets = _contents(files, FOREVER)
        # For pages of another version, which are open, or come from a gateway that is not updated yet.
        self._of_other_version = _contents(files, REVALIDATE)
        page = (folder / _PAGE).read_text(encoding="utf-8").replace(_NAMED, f"{ASSETS_PATH}/{self.version}/")
        self._body = page.encode()
        self._files = files
        self._page = self.page()

    def page(self, *, frame_ancestors: str = "'none'") -> StaticContent:
        """Return the page, which pages of this origin may frame."""
        headers = static.page_headers(frame_ancestors=frame_ancestors) | {"vary": "Accept, Accept-Encoding"}
        return StaticContent(self._body, "text/html", headers=headers)

    def shared(self, name: str, headers: dict[str, str]) -> StaticContent:
        """Return a file to be served at an address of its own, with these headers."""
        return StaticContent(self._files[name], static.media_type(name) or "", headers=headers)

    def routes(self, *, title: str, links: Mapping[str, str]) -> list[Route]:
        """Return the routes of the pages and of the files; programs get `links` at the root."""
        body = json.dumps({"title": title, **links})

        def root() -> Response:
            headers = static.NOSNIFF | _VARY | {"cache-control": REVALIDATE}
            return Response(body, headers=headers, media_type="application/json")

        paths = [template for page in PAGES for template in (f"/{page}", f"/{page}/{{rest:path}}")]
        return [
            Route("/", self._for_browsers(root)),
            *(Route(path, self._for_browsers(_unknown)) for path in paths),
            Route(f"{ASSETS_PATH}/{{version}}/{{name:path}}", self._asset),
        ]

    def _for_browsers(self, otherwise: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint, one for each path so that metrics can tell them apart."""

        async def serve(request: Request) -> Response:
            if accepts_html(",".join(request.headers.getlist("accept"))):
                return self._page.response(request)
            return otherwise()

        return serve

    async def _asset(self, request: Request) -> Response:
        version, name = request.path_params["version"], request.path_params["name"]
        found = (self._assets if version == self.version else self._of_other_version).get(name)
        return problems.unknown_path() if found is None else found.response(request)


def _contents(files: Mapping[str, bytes], cache_control: str) -> Mapping[str, StaticContent]:
    return {
        name: StaticContent(body, static.media_type(name) or "", cache_control=cache_control)
        for name, body in files.items()
    }


def _unknown() -> Response:
    """Return what programs get at the path of a page, which is no path of the API."""
    return problems.unknown_path(_VARY)


def served_files(folder: Path = FOLDER) -> Iterator[tuple[str, bytes]]:
    """Yield the files to serve, by path: no hidden ones, no tests, nothing that only developers need."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part[0] in "._" or part in _UNSERVED_FOLDERS for part in parts) or path.name.endswith(".test.js"):
            continue
        if static.media_type(path.name) and path.is_file():
            body = path.read_bytes()
            if path.suffix == ".css":
                body = _CSS_SPACES.sub(b"", _CSS_COMMENTS.sub(b"", body))
            elif path.suffix == ".js" and parts[0] != _VENDORED:
                body = _CASTS.sub(b"", _COMMENTS.sub(b"", body))
                if path.name not in _WITH_TEXTS:
                    body = _BREAKS.sub(b"", _INDENTS.sub(b"", body))
            yield "/".join(parts), body
