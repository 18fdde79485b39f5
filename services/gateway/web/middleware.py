"""Plain ASGI middleware, outermost first: Traced, Metered, WellFormed, Authenticated, Shortcut, Compressed."""

import functools
import re
import time
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Histogram
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import metrics
from services.gateway.accept import senders
from services.gateway.web import problems
from services.gateway.web.callers import Bucket, Callers
from services.platform import errors, request_ids
from services.platform.process.metrics import CALLERS_REFUSED

# Answers compressed with gzip, for clients that take it.


# Below it a compressed answer saves no packet.
MIN_COMPRESSED_BYTES = 1024
# Half as long as the default for a tenth more bytes: lists of JSON compress well at any level.
GZIP_LEVEL = 4


_QUALITY = re.compile(r";\s*q\s*=\s*0(?:\.0{0,3})?\s*\Z")


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header takes gzip (RFC 9110, 12.5.3)."""
    taken = {}
    for member in accept_encoding.lower().split(","):
        name = member.partition(";")[0].strip()
        taken[name] = _QUALITY.search(member) is None
    return taken.get("gzip", taken.get("x-gzip", taken.get("*", False)))


class Compressed:
    """Compress what an application answers if it is long enough."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        # A header that may repeat: its lines are one list.
        encodings = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if accepts_gzip(encodings.decode("latin-1")):
            await GZipResponder(self._app, MIN_COMPRESSED_BYTES, GZIP_LEVEL)(scope, receive, send)
        else:
            await IdentityResponder(self._app, MIN_COMPRESSED_BYTES)(scope, receive, send)


# Plain ASGI middleware, outermost first: Traced (traces.py), Metered, WellFormed, Authenticated, Shortcut.


log = structlog.get_logger(__name__)


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# RFC 9110, 4.1 recommends that servers take 8,000 bytes.
MAX_TARGET_BYTES = 8192
# Headers that this service reads and that have one value: which of two counts is not ours to guess. All others may
# repeat (RFC 9110, 5.3). The server itself refuses a second Host or Content-Length.
SINGLE_HEADERS = senders.PROVIDER_HEADERS | {
    b"authorization",
    b"content-encoding",
    b"content-type",
    b"idempotency-key",
    b"x-event-type",
    b"x-hub-signature-256",
    b"x-tenant",
}


class Templates:
    """The paths of routes as they are written, with the names of what varies: never an id, never a token."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        # FastAPI leaves in the scope which route it chose, but of Starlette's routes only the endpoint.
        self._paths: dict[object, str] = {
            **{route.endpoint: route.path for route in routes if isinstance(route, Route)},
            **{route.app: route.path for route in routes if isinstance(route, Mount)},
        }

    def of(self, scope: Scope) -> str:
        """That of a request which was served."""
        route = scope.get("route")
        return route.path if route is not None else self._paths.get(scope.get("endpoint"), "unmatched")


def method_of(scope: Scope) -> str:
    """A request's method, or "other": nobody makes up what metrics and spans are named by."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"


class Metered:
    """Counts and times every request by its route, and is the last guard: nothing escapes unanswered."""

    def __init__(self, app: ASGIApp, templates: Templates) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        # Each request has a task of its own, and with it a context of its own.
        request_ids.CURRENT.set(scope.get("request_id"))
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log a trace
            if not status:
                await problems.bug(error)(scope, receive, watch)
            # Else problems.py has answered and logged it; Starlette raises it again for the server to log.
        finally:
            metrics.IN_FLIGHT.dec()
            requests, seconds = _children(method_of(scope), self._templates.of(scope), status)
            requests.inc()
            seconds.observe(time.perf_counter() - started)


@functools.cache  # bounded: by the methods above, the routes there are, and the statuses they answer with
def _children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    # 499 is what nginx calls a client that left before its answer.
    return metrics.REQUESTS.labels(method, route, str(status or 499)), metrics.REQUEST_SECONDS.labels(route)


class WellFormed:
    """Refuse requests with a target that is too long or a header twice; serve paths with and without a trailing slash.

    The slash costs no redirect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
        if len(dict(headers)) != len(headers) and (repeated := _repeated([name for name, _ in headers])):
            error = problems.RepeatedHeader.of(
                *(errors.Violation(field=name, description="must not appear more than once") for name in repeated)
            )
            await problems.response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _repeated(names: Sequence[bytes]) -> list[str]:
    """Return the headers that must not repeat and do, spelled as usual."""
    return [name.decode().title() for name in dict.fromkeys(names) if name in SINGLE_HEADERS and names.count(name) > 1]


class Authenticated:
    """Finds out who calls, before the body is read, and leaves it in the scope; whoever is nobody gets no further.

    Routes in `open_routes` take no key: they are for machines of the operator's, or have a proof of their own in the
    request. All other paths ask for one, those too that lead nowhere.
    """

    def __init__(self, app: ASGIApp, callers: Callers, open_routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._callers = callers
        self._open_routes = tuple(open_routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        header: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                header = value
                break
        caller = self._callers.known(header)
        if caller is None and any(route.matches(scope)[0] is not Match.NONE for route in self._open_routes):
            await self._app(scope, receive, send)
            return
        try:
            if caller is None:
                caller = await self._callers.find(header)
            if caller.bucket is not None:
                send = _telling(caller.bucket, send)
                caller.bucket.take()
        except errors.WebhookError as refused:
            if not isinstance(refused, errors.Unavailable):
                CALLERS_REFUSED.labels(refused.reason).inc()
            await problems.response(refused)(scope, receive, send)
            return
        scope["caller"] = caller
        await self._app(scope, receive, send)


def _telling(bucket: Bucket, send: Send) -> Send:
    """Return a `send` that adds to the answer what is left of a key's rate when the answer begins."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *bucket.headers()]
        await send(message)

    return tell


class HeadAsGet:
    """Answer HEAD as GET, for routes that know GET alone. The server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = dict(scope, method="GET")
        try:
            await self._app(asked, receive, send)
        finally:
            # By these it is counted; see Templates.
            scope.update({name: asked[name] for name in ("route", "endpoint") if name in asked})


class Shortcut:
    """Serves a few routes before the application's own middleware, which would cost as much as they do.

    The application has them too, so that it knows which methods their paths take.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                scope["route"] = route
                await route.app(scope, receive, send)
                return
        await self._app(scope, receive, send)
