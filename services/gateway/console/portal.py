"""The pages of portal links, below /portal/{link_id}: framed by the origin of the link, and signed in by its secret.

The page is the console's. Its script exchanges the secret, which is in the fragment and so in no request for a page,
for a token, and sends that in place of an API key.
"""

import json
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.console.pages import Console
from services.gateway.console.refusals import refused
from services.gateway.resources import models
from services.gateway.resources.portal_links import PATH
from services.gateway.web import problems, routing, static
from services.gateway.web.backends import Backends
from services.gateway.web.callers import Bucket
from services.platform import errors
from services.platform.auth import known
from services.platform.auth.known import Known
from services.platform.process import metrics
from services.platform.process.bounds import BoundedCache, Refusals

ELEMENT_PATH = f"{PATH}/webhook-portal.js"
_ELEMENT = "portal/webhook-portal.js"
MAX_BODY_BYTES = 4096
# Of one link at this process: its page needs one. Each link has its own, so that tries of one hold up no other.
EXCHANGES_PER_SECOND = 10.0
# What lets pages of any website load the script of the element, and that alone.
_SHARED = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}


_ENDED = "the portal link was used already, has expired, or never existed; open another one"


class Secret(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an exchange."""

    secret: str


def routes(services: Backends, console: Console) -> list[Route]:
    """Return the routes, which need no key: who opens a link has none."""
    portal = _Portal(services, console)
    element = console.shared(_ELEMENT, _SHARED)

    async def page(request: Request) -> Response:
        return await portal.page(request)

    async def page_below(request: Request) -> Response:
        return await portal.page(request)

    return [
        Route(ELEMENT_PATH, element.served),
        Route(f"{PATH}/{{link_id}}", page),
        Route(f"{PATH}/{{link_id}}/session", portal.exchange, methods=["POST"]),
        Route(f"{PATH}/{{link_id}}/logo", portal.logo),
        Route(f"{PATH}/{{link_id}}/{{rest:path}}", page_below),
    ]


class _Portal:
    def __init__(self, services: Backends, console: Console) -> None:
        self._access = services.access
        self._timeout_seconds = services.timeout_seconds
        self._console = console
        self._refusals = Refusals()
        # By the id of a link that exists.
        self._exchanges: BoundedCache[str, Bucket] = BoundedCache(known.SIZE, keep_used=True)
        # Ids can be made up: few are asked for at once.
        self._origins: Known[str, str] = Known(self._find_origin, timeout_seconds=services.timeout_seconds)

    async def page(self, request: Request) -> Response:
        """Return the page, which only pages of the link's origin may frame; of no link, none may."""
        link_id = _link_id(request)
        if link_id is None:
            return problems.unknown_path()
        try:
            origin = await self._origin(link_id)
        except errors.Unauthenticated:
            origin = ""
        return self._console.page(frame_ancestors=origin or "'none'").response(request)

    async def exchange(self, request: Request) -> Response:
        """Exchange the secret of a link for its token."""
        link_id = _link_id(request)
        try:
            secret = _secret(await routing.read(request.scope, request.receive, MAX_BODY_BYTES))
        except routing.ClientLeft:
            return Response(status_code=400)
        if link_id is None:
            return problems.unknown_path()
        try:
            await self._origin(link_id)
        except errors.Unauthenticated as unknown:  # no look at the table for each secret with a made-up id
            await self._refusals.pause()
            return problems.response(unknown)
        self._exchanges_of(link_id).take()
        asked = pb.ExchangePortalLinkRequest(id=link_id, secret=secret)
        answer = await self._access.ExchangePortalLink(asked, timeout=self._timeout_seconds)
        if answer.HasField("refusal"):
            await self._refusals.pause()
            return problems.response(refused(answer.refusal))
        link = models.values(answer.exchanged.link)
        body = {
            "required": True,
            "token": answer.exchanged.token,
            "caller": {
                "key_id": f"portal:{link['id']}",
                "name": None,
                "role": "portal",
                "tenant_id": link["tenant_id"],
                "capabilities": link["capabilities"],
                "limited": bool(link["subscriptions"]),
            },
            "origin": link["origin"] or None,
            "look": _look(answer.exchanged.look),
            "expires_at": link["expires_at"],
            "version": metrics.VERSION,
            "development": False,
        }
        return Response(json.dumps(body), 201, models.NO_STORE | static.NOSNIFF, "application/json")

    async def logo(self, request: Request) -> Response:
        """Return the logo of a link's tenant."""
        link_id = _link_id(request)
        if link_id is not None:
            asked = pb.GetPortalLinkRequest(id=link_id, with_logo=True)
            answer = await self._access.GetPortalLink(asked, timeout=self._timeout_seconds)
            if answer.logo:
                headers = static.NOSNIFF | {"cache-control": "private, max-age=300"}
                return Response(answer.logo, headers=headers, media_type=answer.logo_type)
            await self._refusals.pause()  # ids can be made up
        return problems.unknown_path()

    async def _origin(self, link_id: str) -> str:
        """Return the origin of a link; Unauthenticated if there is none with this id, Unavailable if nobody knows."""
        try:
            return await self._origins.find(link_id)
        except TimeoutError:
            raise errors.Unavailable("the portal link cannot be looked up now; try again") from None

    def _exchanges_of(self, link_id: str) -> Bucket:
        found = self._exchanges.get(link_id)
        if found is None:
            found = Bucket(EXCHANGES_PER_SECOND)
            self._exchanges.put(link_id, found)
        return found

    async def _find_origin(self, link_id: str) -> str:
        answer = await self._access.GetPortalLink(pb.GetPortalLinkRequest(id=link_id), timeout=self._timeout_seconds)
        if not answer.exists:
            raise errors.Unauthenticated(_ENDED)
        return answer.origin


def _look(look: pb.PortalLook) -> dict[str, object]:
    found = models.values(look)
    return {name: found[name] for name in ("name", "accent", "accent_dark", "has_logo")}


def _link_id(request: Request) -> str | None:
    text = request.path_params["link_id"]
    try:
        return text if str(UUID(text)) == text else None
    except ValueError:
        return None


def _secret(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Secret).secret
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise errors.InvalidArgument.field("secret", 'is required; send {"secret": "whl_…"}') from None
