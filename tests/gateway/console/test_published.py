"""Catalogs that tenants publish: who gets the page and who the document, and how often the service is asked."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from protos.webhook.v1 import catalog_pb2 as pb
from services.gateway.console import published
from services.gateway.console.pages import Console
from services.gateway.web import problems

BROWSER = {"accept": "text/html,application/xhtml+xml"}


class _Catalog:
    """The catalog service, where only acme publishes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def GetPublishedCatalog(
        self, request: pb.GetPublishedCatalogRequest, **_: float
    ) -> pb.GetPublishedCatalogResponse:
        form = pb.CatalogFormat.Name(request.format)
        self.asked.append((request.id, form))
        self.is_asked.set()
        await self.may_answer.wait()
        if request.id != "acme":
            return pb.GetPublishedCatalogResponse()
        return pb.GetPublishedCatalogResponse(document=json.dumps({"info": {"title": "Acme"}, "format": form}))


@pytest.fixture
def catalog() -> _Catalog:
    return _Catalog()


@pytest.fixture
def http(catalog: _Catalog) -> httpx.AsyncClient:
    services: Any = SimpleNamespace(catalog=catalog, timeout_seconds=60.0)
    handlers: Any = problems.HANDLERS
    application = Starlette(routes=list(published.routes(services, Console())), exception_handlers=handlers)
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost")


async def test_browsers_get_the_page_and_programs_the_document(http: httpx.AsyncClient, catalog: _Catalog) -> None:
    page = await http.get("/catalogs/acme", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert catalog.asked == []
    for accept in ({}, {"accept": "application/json"}):
        document = await http.get("/catalogs/acme", headers=accept)
        assert document.json() == {"info": {"title": "Acme"}, "format": "CATALOG_FORMAT_OPENAPI"}
        assert "Accept" in document.headers["vary"]
        assert document.headers["cache-control"] == "public, max-age=10"
    same = await http.get("/catalogs/acme", headers={"if-none-match": document.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    # A browser that asks for a format wants the document.
    other = await http.get("/catalogs/acme?format=asyncapi", headers=BROWSER)
    assert other.json()["format"] == "CATALOG_FORMAT_ASYNCAPI"


@pytest.mark.parametrize("tenant_id", ["other", "ACME", "a" * 64, "%00", "*"])
async def test_a_tenant_that_does_not_publish_is_as_one_that_does_not_exist(
    http: httpx.AsyncClient, tenant_id: str
) -> None:
    answer = await http.get(f"/catalogs/{tenant_id}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no catalog is published at this address"


async def test_an_unknown_format_is_named(http: httpx.AsyncClient) -> None:
    answer = await http.get("/catalogs/acme?format=yaml")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "format", "message": "must be one of openapi, asyncapi"}]


async def test_the_service_is_asked_once_for_many_readers(http: httpx.AsyncClient, catalog: _Catalog) -> None:
    catalog.may_answer.clear()
    readers = [asyncio.ensure_future(http.get(f"/catalogs/{name}")) for name in ("acme", "other") for _ in range(20)]
    await catalog.is_asked.wait()
    catalog.may_answer.set()
    answers = await asyncio.gather(*readers)
    assert {answer.status_code for answer in answers[:20]} == {200}
    assert {answer.status_code for answer in answers[20:]} == {404}
    assert sorted(catalog.asked) == [("acme", "CATALOG_FORMAT_OPENAPI"), ("other", "CATALOG_FORMAT_OPENAPI")]


async def test_made_up_tenants_do_not_keep_readers_out(http: httpx.AsyncClient, catalog: _Catalog) -> None:
    assert (await http.get("/catalogs/acme")).status_code == 200
    catalog.may_answer.clear()
    catalog.is_asked.clear()
    waiting = [asyncio.ensure_future(http.get(f"/catalogs/made-up-{number}")) for number in range(50)]
    await catalog.is_asked.wait()
    assert (await http.get("/catalogs/acme")).status_code == 200
    catalog.may_answer.set()
    assert {(await one).status_code for one in waiting} == {404}


async def test_large_documents_of_others_are_forgotten_first(
    catalog: _Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_KEPT_BYTES", 1)
    services: Any = SimpleNamespace(catalog=catalog, timeout_seconds=60.0)
    application = Starlette(routes=list(published.routes(services, Console())))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as http:
        for form in ("openapi", "asyncapi", "openapi"):
            assert (await http.get("/catalogs/acme", params={"format": form})).status_code == 200
    assert len(catalog.asked) == 3
