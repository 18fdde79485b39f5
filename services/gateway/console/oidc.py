"""Signing in at /console/oidc: a browser is sent to the issuer, and ingest makes a session of what it brings back.

The way back is a navigation that the issuer's website begins, so what goes wrong is told by the page for signing in.
"""

import json
import time
from urllib.parse import urlencode

import grpc
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.console.refusals import refused
from services.gateway.resources import models
from services.gateway.web import browsers, static
from services.gateway.web.backends import Backends
from services.platform.errors import ErrorReason
from services.platform.process.bounds import Refusals

PATH = "/console/oidc"
CALLBACK_PATH = f"{PATH}/callback"
SIGN_IN_PAGE = "/sign-in"
# From the beginning of a sign-in to its end: as long as somebody may look for a second factor.
ATTEMPT_SECONDS = 600
# Of ingest, which asks the issuer up to three times.
TIMEOUT_SECONDS = 15.0
# How long it is remembered whether anybody can sign in so.
OFFERED_SECONDS = 60.0


class Oidc:
    """The routes, and whether they lead to an issuer."""

    def __init__(self, services: Backends) -> None:
        self._access = services.access
        self._timeout_seconds = services.timeout_seconds
        self._refusals = Refusals()
        self._offered = False
        # On time.monotonic().
        self._known_until = 0.0

    def routes(self) -> list[Route]:
        """Return the routes, which need no key: who signs in has none."""

        async def begin(request: Request) -> Response:
            return await self.begin(request)

        async def complete(request: Request) -> Response:
            return await self.complete(request)

        return [Route(PATH, begin, methods=["POST"]), Route(CALLBACK_PATH, complete, methods=["GET"])]

    async def is_offered(self) -> bool:
        """Return whether an issuer is set; what was known before while ingest is away."""
        if time.monotonic() >= self._known_until:
            try:
                answer = await self._access.DescribeSignIn(pb.DescribeSignInRequest(), timeout=self._timeout_seconds)
            except grpc.aio.AioRpcError:
                return self._offered
            self._offered, self._known_until = answer.oidc, time.monotonic() + OFFERED_SECONDS
        return self._offered

    async def begin(self, request: Request) -> Response:
        """Return the address of the issuer where somebody signs in, and give their browser what it keeps meanwhile."""
        browsers.check_session_use(request.scope)
        answer = await self._access.BeginSignIn(pb.BeginSignInRequest(), timeout=TIMEOUT_SECONDS)
        cookie = browsers.attempt_cookie(request.scope, answer.attempt, max_age_seconds=ATTEMPT_SECONDS)
        headers = models.NO_STORE | static.NOSNIFF | {"set-cookie": cookie}
        return Response(json.dumps({"url": answer.authorization_url}), 201, headers, "application/json")

    async def complete(self, request: Request) -> Response:
        """Make a session of what a browser brings back, and lead it to the console; or to where it can try again."""
        query = request.query_params
        if query.get("error"):
            return _to_page(request, "denied")
        asked = pb.CompleteSignInRequest(
            attempt=browsers.attempt(request.scope),
            state=query.get("state", ""),
            code=query.get("code", ""),
            issuer=query.get("iss", ""),
            user_agent=request.headers.get("user-agent", ""),
        )
        try:
            answer = await self._access.CompleteSignIn(asked, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return _to_page(request, "busy" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else "unavailable")
        if answer.HasField("refusal"):
            await self._refusals.pause()
            reason = refused(answer.refusal).reason
            return _to_page(request, "role" if reason is ErrorReason.ROLE_INSUFFICIENT else "refused")
        session = answer.created.session
        seconds = session.expires_at.seconds - session.created_at.seconds
        cookie = browsers.session_cookie(request.scope, answer.created.token, max_age_seconds=seconds)
        return _to_page(request, None, cookie)


def _to_page(request: Request, problem: str | None, *cookies: str) -> Response:
    """Return a redirect to a page, which takes away what the browser kept. `problem` is a word of console/main.js."""
    target = SIGN_IN_PAGE + (f"?{urlencode({'problem': problem})}" if problem else "")
    answer = Response(status_code=303, headers=models.NO_STORE | static.NOSNIFF | {"location": target})
    answer.headers["referrer-policy"] = "no-referrer"
    for cookie in (browsers.attempt_cookie(request.scope, "", max_age_seconds=0), *cookies):
        answer.headers.append("set-cookie", cookie)
    return answer
