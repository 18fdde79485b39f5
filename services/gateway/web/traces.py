"""The span of a request: the first that a webhook leaves here."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.web import middleware
from services.gateway.web.middleware import Templates
from services.platform.tracing import spans
from services.platform.tracing.spans import Kind
from services.platform.tracing.tracer import Tracer

# The rest is pages, and machines that ask every few seconds how we are.
PREFIX = "/api/"
_HEADER = spans.TRACEPARENT.encode()
# As in metrics.py: a client that left before its answer.
_LEFT = 499
_SERVER_ERROR = 500


class Traced:
    """Begins the span of a request, and ends it with the answer. There is none of this where tracing is off.

    A span says no more of a request than a metric does: path, query and headers may hold what is secret.
    """

    def __init__(self, app: ASGIApp, templates: Templates, tracer: Tracer) -> None:
        self._app = app
        self._templates = templates
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        if not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        method = middleware.method_of(scope)
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
    """The header. One that stands there twice is malformed, and counts for nothing."""
    found = [value for name, value in scope["headers"] if name == _HEADER]
    return found[0].decode("latin-1") if len(found) == 1 else None
