"""What the console asks first, at /console/session: whether requests need a key, and who is signed in."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.resources import models
from services.gateway.web.callers import ANYBODY, Callers
from services.platform.process import metrics

PATH = "/console/session"
# Who is signed in where nobody has to be.
_ANYBODY = {"key_id": ANYBODY.key_id, "name": None, "role": ANYBODY.role, "tenant_id": ANYBODY.tenant_id}


def route(callers: Callers, *, development: bool) -> Route:
    """Return the route, which needs no key."""
    body = {
        "required": callers.required,
        "caller": None if callers.required else _ANYBODY,
        "expires_at": None,
        "version": metrics.version(),
        "development": development,
    }

    async def session(_: Request) -> Response:
        return Response(json.dumps(body), headers=models.NO_STORE, media_type="application/json")

    return Route(PATH, session)
