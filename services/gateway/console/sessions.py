"""Signing in and out at /console/session: an API key for the token of a session, which a browser keeps in a cookie.

Scripts of the page never see the token. Where no key is required, nobody needs to sign in.
"""

import json

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.console.oidc import Oidc
from services.gateway.console.refusals import refused
from services.gateway.resources import models
from services.gateway.web import browsers, problems, routing
from services.gateway.web.backends import Backends
from services.gateway.web.callers import ANYBODY, Bucket, Caller, Callers
from services.platform import errors
from services.platform.auth import keys, known
from services.platform.process import metrics
from services.platform.process.bounds import BoundedCache, Refusals

PATH = "/console/session"
MAX_BODY_BYTES = 4096
# With one key at this process: each writes an entry of the audit log.
SIGN_INS_PER_SECOND = 10.0
# Who is signed in where nobody has to be.
_ANYBODY = {"key_id": ANYBODY.key_id, "name": None, "role": ANYBODY.role, "tenant_id": ANYBODY.tenant_id}


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a sign-in."""

    key: str


def route(services: Backends, callers: Callers, oidc: Oidc, *, development: bool, trace_url: str = "") -> Route:
    """Return the route, which needs no key: who signs in has none yet.

    Who is signed in learns `trace_url`: where the trace {trace_id} is shown.
    """
    handlers = _Sessions(services, callers, oidc, development=development, trace_url=trace_url)

    async def session(request: Request) -> Response:
        if request.method == "POST":
            return await handlers.sign_in(request)
        return await (handlers.sign_out(request) if request.method == "DELETE" else handlers.find(request))

    return Route(PATH, session, methods=["GET", "POST", "DELETE"])


class _Sessions:
    def __init__(self, services: Backends, callers: Callers, oidc: Oidc, *, development: bool, trace_url: str) -> None:
        self._access = services.access
        self._oidc = oidc
        self._callers = callers
        self._timeout_seconds = services.timeout_seconds
        self._required = callers.required
        self._development = development
        self._trace_url = trace_url
        self._refusals = Refusals()
        # By key id.
        self._sign_ins: BoundedCache[str, Bucket] = BoundedCache(known.SIZE, keep_used=True)

    async def find(self, request: Request) -> Response:
        """Return who is signed in, and whether anybody has to be."""
        token = browsers.session_token(request.scope) if self._required else None
        if token is None or (caller := await self._caller_of(token)) is None:
            return await self._answer(None)
        _count(caller)
        answer = await self._access.GetSession(pb.GetSessionRequest(token=token), timeout=self._timeout_seconds)
        if not answer.HasField("session"):
            await self._refusals.pause()  # tokens can be made up
            return await self._answer(None)
        return await self._answer(answer.session)

    async def sign_in(self, request: Request) -> Response:
        """Start a session for the holder of a key, in place of the one that the browser has."""
        browsers.check_session_use(request.scope)
        try:
            key = _key(await routing.read(request.scope, request.receive, MAX_BODY_BYTES))
        except routing.ClientLeft:
            return Response(status_code=400)
        if keys.why_not(key):
            return await self._refuse(keys.invalid())
        try:
            caller = await self._callers.find_key(key)
        except errors.Unauthenticated as unknown:
            return await self._refuse(unknown)
        _count(caller)
        self._sign_ins_of(caller.key_id).take()
        asked = pb.CreateSessionRequest(key=key, user_agent=request.headers.get("user-agent", ""))
        answer = await self._access.CreateSession(asked, timeout=self._timeout_seconds)
        if answer.HasField("refusal"):
            return await self._refuse(refused(answer.refusal))
        await self._end(request)
        session = answer.created.session
        seconds = session.expires_at.seconds - session.created_at.seconds
        cookie = browsers.session_cookie(request.scope, answer.created.token, max_age_seconds=seconds)
        return await self._answer(session, 201, cookie)

    async def sign_out(self, request: Request) -> Response:
        """End the session of the browser."""
        browsers.check_session_use(request.scope)
        await self._end(request)
        cookie = browsers.session_cookie(request.scope, "", max_age_seconds=0)
        return Response(status_code=204, headers=models.NO_STORE | {"set-cookie": cookie})

    async def _end(self, request: Request) -> None:
        """End the session whose token the browser has, unless it has ended."""
        token = browsers.session_token(request.scope)
        if token is not None and await self._caller_of(token):
            await self._access.EndSession(pb.EndSessionRequest(token=token), timeout=self._timeout_seconds)

    async def _caller_of(self, token: str) -> Caller | None:
        """Return the caller with a session, or None if it has ended.

        Made-up tokens are looked up as made-up keys are: few at once, and none again and again.
        """
        try:
            return await self._callers.find_session(token)
        except errors.Unauthenticated:
            await self._refusals.pause()
            return None

    def _sign_ins_of(self, key_id: str) -> Bucket:
        found = self._sign_ins.get(key_id)
        if found is None:
            found = Bucket(SIGN_INS_PER_SECOND)
            self._sign_ins.put(key_id, found)
        return found

    async def _answer(self, session: pb.Session | None, status: int = 200, cookie: str | None = None) -> Response:
        body = {
            "required": self._required,
            "caller": _ANYBODY if not self._required else None,
            "expires_at": None,
            "version": metrics.VERSION,
            "development": self._development,
            "oidc": self._required and await self._oidc.is_offered(),
            # Not for strangers.
            "trace_url": self._trace_url or None if session is not None or not self._required else None,
        }
        if session is not None:
            found = models.values(session)
            caller = {name: found[name] for name in ("key_id", "role", "tenant_id")}
            body |= {"caller": caller | {"name": found["key_name"] or None}, "expires_at": found["expires_at"]}
        headers = models.NO_STORE | ({"set-cookie": cookie} if cookie else {})
        return Response(json.dumps(body), status, headers, "application/json")

    async def _refuse(self, error: errors.WebhookError) -> Response:
        await self._refusals.pause()
        return problems.response(error)


def _count(caller: Caller) -> None:
    """Count a request of a caller; raise RateLimited if there were too many."""
    if caller.bucket is not None:
        caller.bucket.take()


def _key(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=SignIn).key
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise errors.InvalidArgument.field("key", 'is required; send {"key": "whk_…"}') from None
