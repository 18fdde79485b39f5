"""Swagger UI at /docs, and the OpenAPI document. They load nothing from other servers.

The files are those of the package fastapi-offline. Swagger is started by a script file, so that the
Content-Security-Policy does not have to allow inline scripts.
"""

import html
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.gateway.web import static
from services.gateway.web.static import FOREVER, StaticContent

ASSETS_PATH = "/docs/assets"
DOCS_PATH = "/docs"
SWAGGER_PATHS = (DOCS_PATH, "/swagger", "/swagger/index.html")
REDOC_PATH = "/redoc"

# Swagger UI sets styles in attributes and has icons in data URLs.
PAGE_HEADERS = static.page_headers(style="'self' 'unsafe-inline'", img="'self' data:")
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

    async def redoc(_: Request) -> Response:
        return RedirectResponse(DOCS_PATH, headers=PAGE_HEADERS)

    return [
        *(Route(path, swagger_page.served) for path in SWAGGER_PATHS),
        Route(REDOC_PATH, redoc),
        Route(openapi_path, openapi),
        *(Route(f"{ASSETS_PATH}/{name}", content.served) for name, content in assets.items()),
    ]


def _asset(name: str, *, more: str = "") -> StaticContent:
    body = (resources.files("fastapi_offline") / "static" / name).read_bytes() + more.encode()
    return StaticContent(body, static.media_type(name) or "", cache_control=FOREVER)
