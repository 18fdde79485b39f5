"""Problem documents (RFC 9457) for requests that no application gets to see: those that are no valid HTTP, or too much.

The connection ends after each of them: what follows on it cannot be told apart from the request that was refused.
"""

import json
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from services.platform import ids
from services.platform.errors import ErrorReason


@dataclass(frozen=True, kw_only=True)
class HttpProblem:
    """Why a request is refused."""

    status: int
    title: str
    detail: str
    reason: ErrorReason

    def body(self, request_id: str) -> bytes:
        """Return the document."""
        members = {
            "type": self.reason.uri,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "request_id": request_id,
        }
        return json.dumps(members, separators=(",", ":")).encode()

    def raw(self, request_id: str | None = None) -> bytes:
        """Return the whole answer, to a request whose id is known or which has none yet."""
        request_id = request_id or ids.new_request_id()
        body = self.body(request_id)
        lines = (
            f"HTTP/1.1 {self.status} {self.title}",
            "content-type: application/problem+json",
            f"content-length: {len(body)}",
            "connection: close",
            f"{ids.REQUEST_ID_HEADER}: {request_id}",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an ASGI application
        """Answer a request with it. The server adds the request id to the headers."""
        body = self.body(scope["request_id"])
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def bad_request(detail: str, *, reason: ErrorReason = ErrorReason.MALFORMED_REQUEST) -> HttpProblem:
    """Return the problem of a request that is not valid HTTP."""
    return HttpProblem(status=400, title="Bad Request", detail=detail, reason=reason)
