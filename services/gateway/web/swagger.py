"""The pages for people: Swagger UI at /docs, and the OpenAPI document. They load nothing from other servers.

The files are those of the package fastapi-offline. Swagger is started by a script file, so that the
Content-Security-Policy does not have to allow inline scripts.
"""

import gzip
import hashlib
import html
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.gateway.web.middleware import accepts_gzip

NOSNIFF = {"x-content-type-options": "nosniff"}
# For content whose URL does not change with its version: cached, but revalidated every time.
REVALIDATE = "no-cache"
# For content whose URL changes with its version: cached for a year.
FOREVER = "public, max-age=31536000, immutable"


class StaticContent:
    """A body that is the same for every request: compressed once, with an ETag."""

    def __init__(
        self, body: bytes, media_type: str, *, cache_control: str = REVALIDATE, headers: dict[str, str] | None = None
    ) -> None:
        self._body = body
        self._media_type = media_type
        self._gzipped = gzip.compress(body, mtime=0)
        self.digest = hashlib.sha256(body).hexdigest()[:16]
        self._headers = NOSNIFF | {"cache-control": cache_control, "vary": "Accept-Encoding"} | (headers or {})

    def response(self, request: Request) -> Response:
        """Return it, compressed if the client accepts that, or 304 if the client has it already."""
        gzipped = accepts_gzip(_listed(request, "accept-encoding")) and len(self._gzipped) < len(self._body)
        # The compressed bytes have another ETag (RFC 9110, 8.8.3.3).
        etag = f'"{self.digest}-gzip"' if gzipped else f'"{self.digest}"'
        headers = self._headers | {"etag": etag}
        if etag in [tag.strip().removeprefix("W/") for tag in _listed(request, "if-none-match").split(",")]:
            return Response(status_code=304, headers=headers)
        if gzipped:
            return Response(self._gzipped, headers=headers | {"content-encoding": "gzip"}, media_type=self._media_type)
        return Response(self._body, headers=headers, media_type=self._media_type)


def _listed(request: Request, name: str) -> str:
    """Return a header whose lines are one list."""
    return ",".join(request.headers.getlist(name))


ASSETS_PATH = "/docs/assets"
DOCS_PATH = "/docs"
SWAGGER_PATHS = (DOCS_PATH, "/swagger", "/swagger/index.html")
REDOC_PATH = "/redoc"

_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
# Swagger UI sets styles in attributes and has icons in data URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = NOSNIFF | {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="{css}">
<link rel="icon" href="{icon}">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The API is described in <a href="{openapi}">{openapi}</a>.</noscript>
<script src="{bundle}"></script>
<script src="{start}"></script>
</body>
</html>
"""
# Corrections of Swagger's styles: inline code covers the lines around it, and headers are dark on dark.
_STYLE = """
.swagger-ui .markdown code, .swagger-ui .renderedMarkdown code { padding: 0 4px; }
.dark-mode .swagger-ui .headers-wrapper .header-col { color: inherit; }
"""
_START = """"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
SwaggerUIBundle(%s);
"""
_OPTIONS: dict[str, Any] = {
    "dom_id": "#swagger-ui",
    "deepLinking": True,
    "defaultModelsExpandDepth": -1,
    "displayRequestDuration": True,
    "persistAuthorization": True,
    "tryItOutEnabled": True,
    "validatorUrl": None,
}


def routes(*, title: str, openapi_path: str, document: Callable[[], dict[str, Any]]) -> list[Route]:
    """Return the routes of the pages, of their files, and of the OpenAPI document."""
    described: list[StaticContent] = []

    async def openapi(request: Request) -> Response:
        if not described:  # built at the first request: it takes a tenth of a second
            described.append(StaticContent(json.dumps(document()).encode(), "application/json"))
        return described[0].response(request)

    assets = {
        "swagger-ui-bundle.js": _asset("swagger-ui-bundle.js"),
        "swagger-ui.css": _asset("swagger-ui.css", more=_STYLE),
        "favicon.png": _asset("favicon.png"),
    }
    start = _START % json.dumps({"url": openapi_path} | _OPTIONS)
    assets["start.js"] = StaticContent(start.encode(), "text/javascript", cache_control=FOREVER)
    # Each version of a file has its own URL.
    versioned = {name: f"{ASSETS_PATH}/{name}?v={content.digest}" for name, content in assets.items()}
    page = _PAGE.format(
        title=html.escape(title),
        openapi=openapi_path,
        bundle=versioned["swagger-ui-bundle.js"],
        css=versioned["swagger-ui.css"],
        icon=versioned["favicon.png"],
        start=versioned["start.js"],
    )
    swagger_page = StaticContent(page.encode(), "text/html", headers=PAGE_HEADERS)

    async def swagger(request: Request) -> Response:
        return swagger_page.response(request)

    async def redoc(_: Request) -> Response:
        return RedirectResponse(DOCS_PATH, headers=PAGE_HEADERS)

    links = {"title": title, "docs": DOCS_PATH, "openapi": openapi_path, "health": "/livez"}

    async def root(request: Request) -> Response:
        headers = PAGE_HEADERS | {"vary": "Accept", "cache-control": "no-cache"}
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(DOCS_PATH, headers=headers)
        return Response(json.dumps(links), headers=headers, media_type="application/json")

    def serving(content: StaticContent) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            return content.response(request)

        return serve

    return [
        Route("/", root),
        *(Route(path, swagger) for path in SWAGGER_PATHS),
        Route(REDOC_PATH, redoc),
        Route(openapi_path, openapi),
        *(Route(f"{ASSETS_PATH}/{name}", serving(content)) for name, content in assets.items()),
    ]


def _asset(name: str, *, more: str = "") -> StaticContent:
    body = (resources.files("fastapi_offline") / "static" / name).read_bytes() + more.encode()
    media_type = _MEDIA_TYPES[name[name.rindex(".") :]]
    return StaticContent(body, media_type, cache_control=FOREVER)
