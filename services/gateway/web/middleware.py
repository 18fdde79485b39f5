"""Plain ASGI middleware.

The order is Traced (outermost), Metered, WellFormed, Authenticated, Shortcut, Compressed, HeadAsGet.
"""

import functools
import re
import time
from collections.abc import Callable, Collection, Sequence

import structlog
from prometheus_client import Counter, Histogram
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import metrics
from services.gateway.web import browsers, problems
from services.gateway.web.callers import SESSION_CHECK, SESSION_TOKEN, Bucket, Caller, Callers
from services.platform import errors, ids
from services.platform.http.protocol import HOLDER
from services.platform.process.bounds import Refusals
from services.platform.process.metrics import CALLERS_REFUSED
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind, Tracer

log = structlog.get_logger(__name__)

# Below it a compressed response saves no packet.
MIN_COMPRESSED_BYTES = 1024
# Takes half the time of the default level and makes a tenth more bytes.
GZIP_LEVEL = 4
_QUALITY = re.compile(r";\s*q\s*=\s*0(?:\.0{0,3})?\s*\Z")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# RFC 9110, 4.1 recommends that servers take 8,000 bytes.
MAX_TARGET_BYTES = 8192
# Headers that are read here and have one value, so that they must not be repeated; all others may be (RFC 9110, 5.3).
# The server itself refuses a second Host or Content-Length.
SINGLE_HEADERS = frozenset((b"authorization", b"content-encoding", b"content-type", b"x-tenant"))
# Only these paths are traced: the others are pages and probes.
TRACED_PREFIX = "/api/"
_TRACEPARENT = spans.TRACEPARENT.encode()
# A client that disconnected before its response, as in metrics.
_LEFT = 499
_SERVER_ERROR = 500


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header accepts gzip (RFC 9110, 12.5.3)."""
    taken = _taken(accept_encoding)
    return taken.get("gzip", taken.get("x-gzip", taken.get("*", False)))


def accepts_html(accept: str) -> bool:
    """Return whether an Accept header names HTML, as those of browsers do. Programs accept anything, by a wildcard."""
    return _taken(accept).get("text/html", False)


def _taken(header: str) -> dict[str, bool]:
    """Return whether each member of a header of preferences is accepted, or refused by a quality of 0."""
    return {member.partition(";")[0].strip(): _QUALITY.search(member) is None for member in header.lower().split(",")}


class Compressed:
    """Compresses responses with gzip if they are long enough and the client accepts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        # The header may be repeated; its lines are one list.
        encodings = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if accepts_gzip(encodings.decode("latin-1")):
            await GZipResponder(self._app, MIN_COMPRESSED_BYTES, GZIP_LEVEL)(scope, receive, send)
        else:
            await IdentityResponder(self._app, MIN_COMPRESSED_BYTES)(scope, receive, send)


class Templates:
    """The path templates of routes, which contain no ids and no tokens."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        # FastAPI sets the route in the scope; for Starlette's routes there is only the endpoint.
        self._paths: dict[object, str] = {
            **{route.endpoint: route.path_format for route in routes if isinstance(route, Route)},
            **{route.app: route.path for route in routes if isinstance(route, Mount)},
        }

    def of(self, scope: Scope) -> str:
        """Return the template of a request that was served."""
        route = scope.get("route")
        return route.path_format if route is not None else self._paths.get(scope.get("endpoint"), "unmatched")


def method_of(scope: Scope) -> str:
    """Return a request's method, or "other", so that clients cannot invent names of metrics and spans."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"


class Metered:
    """Counts and times requests by route, and responds 500 to exceptions that nothing else has handled."""

    def __init__(self, app: ASGIApp, templates: Templates) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        # Each request has its own task, and so its own context.
        ids.CURRENT_REQUEST_ID.set(scope.get("request_id"))
        started = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 - for any error the client gets a response and the log a trace
            if not status:
                await problems.bug(error)(scope, receive, watch)
            # Otherwise problems.py has responded and logged it, and Starlette raises it again for the server to log.
        finally:
            metrics.IN_FLIGHT.dec()
            requests, seconds = _children(method_of(scope), self._templates.of(scope), status)
            requests.inc()
            seconds.observe(time.perf_counter() - started)


@functools.cache  # bounded by the methods above, the routes and their statuses
def _children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    # 499 is nginx's status for a client that disconnected before its response.
    return metrics.REQUESTS.labels(method, route, str(status or 499)), metrics.REQUEST_SECONDS.labels(route)


class WellFormed:
    """Refuses requests with too long a target or a repeated header, and ignores a trailing slash without a redirect."""

    def __init__(self, app: ASGIApp, single_headers: Collection[bytes] = ()) -> None:
        self._app = app
        self._single_headers = SINGLE_HEADERS.union(single_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        path: str = scope["path"]
        if len(path) > 1 and path[-1] == "/":
            scope["path"] = path[:-1]
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            error: errors.WebhookError = problems.TargetTooLong(
                f"path and query must be at most {MAX_TARGET_BYTES} bytes"
            )
            await problems.response(error)(scope, receive, send)
            return
        headers = scope["headers"]
        if len(dict(headers)) != len(headers) and (repeated := self._repeated([name for name, _ in headers])):
            error = problems.RepeatedHeader.of(
                *(errors.Violation(field=name, description="must not appear more than once") for name in repeated)
            )
            await problems.response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _repeated(self, names: Sequence[bytes]) -> list[str]:
        """Return the headers that must not be repeated and are, in their usual spelling."""
        repeated = [name for name in dict.fromkeys(names) if name in self._single_headers and names.count(name) > 1]
        return [name.decode().title() for name in repeated]


class Authenticated:
    """Finds the caller before the body is read, puts it in the scope, and refuses requests without a valid API key.

    Routes in `open_routes` need no key: they are for the operator's machines, or have another credential in the
    request. All other paths need one, even those that do not exist, or the cookie of a session. Where no key is
    required, `local_only` requests are served without one. `on_limited` is told of requests above the rate of a key,
    and of the key's tenant.
    """

    def __init__(
        self,
        app: ASGIApp,
        callers: Callers,
        open_routes: Sequence[BaseRoute],
        *,
        local_only: bool = False,
        on_limited: Callable[[Scope, str], None] = lambda _scope, _tenant_id: None,
    ) -> None:
        self._app = app
        self._callers = callers
        self._open_routes = tuple(open_routes)
        self._local_only = local_only and not callers.required
        self._refusals = Refusals()
        self._on_limited = on_limited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        header: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                header = value
                break
        caller = self._callers.known(header)
        foreign = browsers.foreign(scope) if self._local_only and header is None else None
        if (caller is None or foreign) and self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            if foreign is not None:
                raise foreign
            if caller is None:
                caller = await self._find(scope, header)
                send = _not_stored(scope, send)
            if caller.bucket is not None:
                send = _with_rate_headers(caller.bucket, send)
                caller.bucket.take()
        except errors.WebhookError as refused:
            await self._count(scope, caller, refused)
            await problems.response(refused)(scope, receive, send)
            return
        scope["caller"] = caller
        scope[HOLDER] = caller.tenant_id
        await self._app(scope, receive, send)

    async def _count(self, scope: Scope, caller: Caller | None, refused: errors.WebhookError) -> None:
        """Count a refusal, and delay it where there are very many."""
        if not isinstance(refused, errors.Unavailable):
            CALLERS_REFUSED.labels(refused.reason).inc()
        if isinstance(refused, errors.Unauthenticated):
            await self._refusals.pause()
        elif isinstance(refused, problems.RateLimited) and caller is not None:
            self._on_limited(scope, caller.tenant_id)

    def _is_open(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._open_routes)

    async def _find(self, scope: Scope, header: bytes | None) -> Caller:
        """Return the caller by the key, or else by the cookie of a session."""
        token = browsers.session_token(scope) if header is None else None
        if token is None:
            return await self._callers.find(header)
        browsers.check_session_use(scope)
        caller = await self._callers.find_session(token)
        scope[SESSION_TOKEN] = token
        scope[SESSION_CHECK] = functools.partial(self._callers.find_session, token)
        return caller


def _not_stored(scope: Scope, send: Send) -> Send:
    """Return a `send` that lets no cache keep the response to a request that is signed in by a session.

    Shared caches keep no response to a request with Authorization (RFC 9111, 3.5), but know nothing of cookies.
    """
    if SESSION_TOKEN not in scope:
        return send

    async def send_not_stored(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            others = [(name, value) for name, value in headers if name.lower() != b"cache-control"]
            message["headers"] = [*others, (b"cache-control", b"no-store")]
        await send(message)

    return send_not_stored


def _with_rate_headers(bucket: Bucket, send: Send) -> Send:
    """Return a `send` that adds the RateLimit headers of a key as the response begins."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *bucket.headers()]
        await send(message)

    return send_with_headers


class HeadAsGet:
    """Serves HEAD as GET, for routes that support only GET. The server omits the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        as_get = dict(scope, method="GET")
        try:
            await self._app(as_get, receive, send)
        finally:
            # Templates reads these for metrics.
            scope.update({name: as_get[name] for name in ("route", "endpoint") if name in as_get})


class Shortcut:
    """Serves a few routes without the application's own middleware, which would cost as much as they do.

    The application has them too, so that it knows which methods their paths support.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                scope["route"] = route
                await route.app(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Traced:
    """Records a span for each request. It is not used if tracing is off.

    A span has no more of a request than metrics have: path, query and headers may contain secrets.
    """

    def __init__(self, app: ASGIApp, templates: Templates, tracer: Tracer) -> None:
        self._app = app
        self._templates = templates
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if not scope["path"].startswith(TRACED_PREFIX):
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        span = self._tracer.enter(method, Kind.SERVER, _traceparent(scope), attributes)
        if span is None:
            await self._app(scope, receive, send)
            return
        status = _LEFT

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = spans.CURRENT.set(span)
        try:
            await self._app(scope, receive, watch)
        finally:
            spans.CURRENT.reset(token)
            path = self._templates.of(scope)
            span.rename(f"{method} {path}")
            span.set({"http.route": path, "http.response.status_code": status})
            span.end(error=str(status) if status >= _SERVER_ERROR else "")


def _traceparent(scope: Scope) -> str | None:
    """Return the header; a repeated one is malformed and ignored."""
    found = [value for name, value in scope["headers"] if name == _TRACEPARENT]
    return found[0].decode("latin-1") if len(found) == 1 else None
