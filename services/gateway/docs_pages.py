"""Swagger UI and ReDoc, from files of the package fastapi-offline: a browser needs no other server."""

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

ASSETS_PATH = "/docs/assets"
SWAGGER_PATHS = ("/docs", "/swagger/index.html")
REDOC_PATH = "/redoc"


def routes(*, title: str, openapi_path: str) -> list[BaseRoute]:
    """The pages and their files."""
    swagger_page = get_swagger_ui_html(
        openapi_url=openapi_path,
        title=title,
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        swagger_ui_parameters={"displayRequestDuration": True, "tryItOutEnabled": True},
    )
    redoc_page = get_redoc_html(
        openapi_url=openapi_path,
        title=title,
        redoc_js_url=f"{ASSETS_PATH}/redoc.standalone.js",
        redoc_favicon_url=f"{ASSETS_PATH}/favicon.png",
        with_google_fonts=False,
    )

    async def swagger(_: Request) -> Response:
        return swagger_page

    async def redoc(_: Request) -> Response:
        return redoc_page

    return [
        *(Route(path, swagger) for path in SWAGGER_PATHS),
        Route(REDOC_PATH, redoc),
        Mount(ASSETS_PATH, StaticFiles(packages=[("fastapi_offline", "static")])),
    ]
