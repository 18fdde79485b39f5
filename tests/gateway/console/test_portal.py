"""Exchanges of portal links: how many there may be, and whom that holds up."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.console import portal
from services.gateway.console.pages import Console
from services.gateway.web import problems
from services.platform import ids
from services.platform.process.bounds import Refusals


class _Access:
    """The access service, with some links."""

    def __init__(self, *link_ids: str) -> None:
        self.link_ids = link_ids
        self.exchanges: list[str] = []

    async def GetPortalLink(self, request: pb.GetPortalLinkRequest, **_: float) -> pb.GetPortalLinkResponse:
        return pb.GetPortalLinkResponse(exists=request.id in self.link_ids)

    async def ExchangePortalLink(
        self, request: pb.ExchangePortalLinkRequest, **_: float
    ) -> pb.ExchangePortalLinkResponse:
        self.exchanges.append(request.id)
        if request.secret == "right":
            link = pb.PortalLink(id=request.id)
            return pb.ExchangePortalLinkResponse(exchanged=pb.ExchangedPortalLink(link=link, token="a token"))
        return pb.ExchangePortalLinkResponse(refusal=pb.Refusal(reason="KEY_INVALID", message="used"))


async def test_tries_of_one_link_are_bounded_and_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[str] = []

    async def pause(_: object) -> None:
        paused.append("paused")

    monkeypatch.setattr(Refusals, "pause", pause)
    monkeypatch.setattr(portal, "EXCHANGES_PER_SECOND", 0.001)
    tried, other, made_up = (str(ids.new()) for _ in range(3))
    access = _Access(tried, other)
    services: Any = SimpleNamespace(access=access, timeout_seconds=60.0)
    handlers: Any = problems.HANDLERS
    application = Starlette(routes=list(portal.routes(services, Console())), exception_handlers=handlers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as http:

        async def status(link_id: str, secret: str) -> int:
            return (await http.post(f"/portal/{link_id}/session", json={"secret": secret})).status_code

        assert await status(tried, "wrong") == 401
        assert [await status(tried, "wrong") for _ in range(5)] == [429] * 5
        assert await status(other, "right") == 201
        # Ids can be made up: none of them has a count, or a look at its secret.
        assert await status(made_up, "wrong") == 401
        assert access.exchanges == [tried, other]
        assert len(paused) == 2
