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
from services.platform.grpc import conversion
from services.platform.process.bounds import BoundedCache

PATH = "/catalogs"
# Anybody may ask, so that answers are kept for as long: what changes is seen within that time.
KEPT_SECONDS = 10.0
MAX_KEPT_BYTES = 16 << 20
MAX_UNKNOWN = 10_000
# Tenants that published of late are no strangers: made-up ones do not keep their readers out.
REMEMBERED_SECONDS = 3600.0
# One is asked for at a time; how many requests wait for their turn.
MAX_WAITING = 64
_HEADERS = {"vary": "Accept, Accept-Encoding", "cache-control": f"public, max-age={KEPT_SECONDS:.0f}"}


def routes(services: Backends, console: Console) -> list[Route]:
    """Return the routes, which need no key."""
    return [Route(f"{PATH}/{{tenant_id}}", _Published(services, console).answer)]


class _Published:
    def __init__(self, services: Backends, console: Console) -> None:
        self._catalog = services.catalog
        self._timeout_seconds = services.timeout_seconds
        self._page = console.page()
        self._formats = conversion.numbers(pb.CatalogFormat.DESCRIPTOR)
        # By tenant and format. The compressed one takes a few percent more.
        self._found: BoundedCache[tuple[str, str], tuple[int, StaticContent]] = BoundedCache(
            MAX_UNKNOWN, ttl_seconds=KEPT_SECONDS, weigh=lambda one: one[0], max_weight=MAX_KEPT_BYTES
        )
        self._unknown: BoundedCache[str, bool] = BoundedCache(MAX_UNKNOWN, ttl_seconds=KEPT_SECONDS)
        self._publishers: BoundedCache[str, bool] = BoundedCache(MAX_UNKNOWN, ttl_seconds=REMEMBERED_SECONDS)
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

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
        except errors.InvalidArgument:
            return _not_published()
        found = await self._document(tenant_id, form)
        return _not_published() if found is None else found.response(request)

    async def _document(self, tenant_id: str, form: str) -> StaticContent | None:
        found = self._found.get((tenant_id, form))
        if found is None and tenant_id not in self._unknown:
            if self._waiting >= MAX_WAITING and tenant_id not in self._publishers:
                raise errors.Overloaded("too many catalogs are asked for; try again")
            self._waiting += 1
            try:
                async with self._one_at_a_time:
                    found = self._found.get((tenant_id, form))  # somebody may have asked for it meanwhile
                    if found is None and tenant_id not in self._unknown:
                        found = await self._ask(tenant_id, form)
            finally:
                self._waiting -= 1
        return found and found[1]

    async def _ask(self, tenant_id: str, form: str) -> tuple[int, StaticContent] | None:
        asked = pb.GetPublishedCatalogRequest(id=tenant_id, format=self._formats[form])
        answer = await self._catalog.GetPublishedCatalog(asked, timeout=self._timeout_seconds)
        if not answer.HasField("document"):
            self._unknown.put(tenant_id, True)  # noqa: FBT003
            self._publishers.discard(tenant_id)
            return None
        self._publishers.put(tenant_id, True)  # noqa: FBT003
        body = answer.document.encode()
        # Compressing a large one takes tens of milliseconds.
        content = await asyncio.to_thread(StaticContent, body, "application/json", headers=_HEADERS)
        self._found.put((tenant_id, form), (len(body), content))
        return len(body), content


def _not_published() -> Response:
    missing = errors.NotFound("no catalog is published at this address")
    return problems.response(missing)
