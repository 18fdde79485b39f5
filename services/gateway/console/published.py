"""Catalogs that tenants publish, at /catalogs/{tenant_id}: a page for browsers, and a document for programs."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protos.webhook.v1 import catalog_pb2 as pb
from services.gateway.console.pages import Console
from services.gateway.web import problems
from services.gateway.web.backends import Backends
from services.gateway.web.middleware import accepts_html
from services.gateway.web.static import StaticContent
from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.known import Known
from services.platform.grpc import conversion

PATH = "/catalogs"
# Browsers and proxies keep a document for as long; a gateway, as it keeps what it knows of keys.
MAX_AGE_SECONDS = 10
MAX_KEPT_BYTES = 16 << 20
_HEADERS = {"vary": "Accept, Accept-Encoding", "cache-control": f"public, max-age={MAX_AGE_SECONDS}"}


def routes(services: Backends, console: Console) -> list[Route]:
    """Return the routes, which need no key."""
    return [Route(f"{PATH}/{{tenant_id}}", _Published(services, console).answer)]


class _Published:
    def __init__(self, services: Backends, console: Console) -> None:
        self._catalog = services.catalog
        self._timeout_seconds = services.timeout_seconds
        self._page = console.page()
        self._formats = conversion.numbers(pb.CatalogFormat.DESCRIPTOR)
        # By tenant and format. Tenants can be made up: few are asked for at once, and each only once.
        self._documents: Known[tuple[str, str], StaticContent] = Known(
            self._ask,
            timeout_seconds=services.timeout_seconds,
            weigh=lambda content: content.size,
            max_weight=MAX_KEPT_BYTES,
        )

    async def answer(self, request: Request) -> Response:
        """Return the page to a browser that asks for no format, and the document to others."""
        tenant_id, form = request.path_params["tenant_id"], request.query_params.get("format")
        if form is None and accepts_html(",".join(request.headers.getlist("accept"))):
            return self._page.response(request)
        form = form or "openapi"
        if form not in self._formats:
            wrong = errors.InvalidArgument.field("format", f"must be one of {', '.join(self._formats)}")
            return problems.response(wrong)
        try:
            identity.check_tenant("tenant_id", tenant_id)
            return (await self._documents.find((tenant_id, form))).response(request)
        except (errors.InvalidArgument, errors.Unauthenticated):
            return problems.response(errors.NotFound("no catalog is published at this address"))
        except TimeoutError:
            raise errors.Unavailable("the catalog cannot be looked up now; try again") from None

    async def _ask(self, key: tuple[str, str]) -> StaticContent:
        tenant_id, form = key
        asked = pb.GetPublishedCatalogRequest(id=tenant_id, format=self._formats[form])
        answer = await self._catalog.GetPublishedCatalog(asked, timeout=self._timeout_seconds)
        if not answer.HasField("document"):
            raise errors.Unauthenticated("not published")
        # Compressing a large one takes tens of milliseconds.
        body = answer.document.encode()
        return await asyncio.to_thread(StaticContent, body, "application/json", headers=_HEADERS)
