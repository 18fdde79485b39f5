"""FastAPI routes that check the caller's role, and read and decode JSON bodies strictly."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from services.gateway.web import callers, problems
from services.gateway.web.callers import Caller
from services.platform import clock, errors
from services.platform.auth import roles
from services.platform.auth.roles import Role

# The gRPC method behind each operation with another name. The operation requires the method's role (roles.RULES).
_METHODS: Mapping[str, str] = {
    "ingest_webhook": "BatchIngest",
    "publish_event": "BatchIngest",
    "publish_events": "BatchIngest",
    "publish_cloudevents": "BatchIngest",
    "replace_subscription": "UpdateSubscription",
    "disable_subscription": "SetSubscriptionStatus",
    "enable_subscription": "SetSubscriptionStatus",
    "pause_subscription": "SetSubscriptionStatus",
    "resume_subscription": "SetSubscriptionStatus",
    "verify_subscription": "SetSubscriptionStatus",
    "list_public_keys": "GetSubscription",
    "list_deliveries": "SearchDeliveries",
    "get_delivery_summary": "SummarizeDeliveries",
    "retry_delivery": "BatchRetryDeliveries",
    "get_webhook_delivery": "GetDelivery",
    "retry_webhook_delivery": "BatchRetryDeliveries",
    "cancel_webhook_delivery": "CancelDelivery",
    "list_subscription_deliveries": "ListDeliveries",
    "stream": "Watch",
    "list_event_deliveries": "ListDeliveries",
    "recover_subscription": "CreateJob",
    "report_pull_results": "Report",
    "get_subscription_stats": "GetStats",
}
_PATHS: Mapping[str, str] = {path.rpartition("/")[2]: path for path in roles.RULES}

# For a body that does not arrive together with its headers; there is more time as more of it arrives.
UPLOAD_TIMEOUT_SECONDS = 30.0
# Ten times the longest subscription.
MAX_DOCUMENT_BYTES = 256 << 10
# A catalog, with what is said about it.
MAX_LARGE_BYTES = (2 << 20) + (4 << 10)

JSON = "application/json"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@functools.cache  # bounded by the number of operations
def method_of(operation_id: str) -> str | None:
    """Return the path of the gRPC method behind an operation; None for an operation that needs no API key."""
    return _PATHS.get(_METHODS.get(operation_id) or operation_id.title().replace("_", ""))


def least_role(operation_id: str) -> Role | None:
    """Return the least role that an operation requires; None for an operation that needs no API key."""
    method = method_of(operation_id)
    return None if method is None else roles.RULES[method].least


def check_role(scope: Scope, operation_id: str) -> Caller:
    """Return the caller; raise PermissionDenied unless its role allows the operation."""
    method = method_of(operation_id)
    if method is None:
        raise RuntimeError(f"no gRPC method, and so no role, is known for {operation_id}")
    return callers.check_rule(scope, roles.RULES[method])


class RoleRoute(APIRoute):
    """A route that checks the caller's role before it reads the body."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request if the caller may make it."""
        if scope["method"] in (self.methods or ()):
            check_role(scope, self.operation_id or "")
        await super().handle(scope, receive, send)


class ClientLeft(Exception):
    """The client closed the connection before its request was whole; so no answer is sent."""


async def read(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Return the whole body; raise PayloadTooLarge as soon as it is known to be over `max_bytes`.

    The first piece, which is nearly always the whole body, has no timer here, because a timer would cost a tenth of the
    hot path: the server closes connections whose requests do not end (services/platform/http/protocol.py). The server
    also discards what is left unread, within its bounds, so that the client can read the response.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_on(receive, body, max_bytes)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _read_on(receive: Receive, begin: bytes, max_bytes: int) -> bytes:
    parts, size = [begin], len(begin)
    latest = asyncio.get_running_loop().time() + UPLOAD_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout_at(latest) as timeout:
            while size <= max_bytes:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientLeft
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                timeout.reschedule(latest + clock.upload_seconds(size))
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        allowed = UPLOAD_TIMEOUT_SECONDS + clock.upload_seconds(size)
        raise errors.RequestTimeout(f"the body did not arrive within {allowed:.0f} s") from None
    return b"".join(parts)


def _too_large(max_bytes: int) -> errors.WebhookError:
    return errors.PayloadTooLarge.field("body", f"must be at most {max_bytes} bytes")


def is_json(content_type: str) -> bool:
    """Return whether a content type is application/json or ends in +json."""
    if content_type == JSON:
        return True
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON or (essence.endswith("+json") and "/" in essence)


class _DecodedRequest(Request):
    """A request whose body has been read and decoded."""

    def __init__(self, request: Request, body: bytes, decoded: object) -> None:
        super().__init__(request.scope, request.receive)
        self._read, self._decoded = body, decoded

    async def body(self) -> bytes:
        return self._read

    async def json(self) -> Any:
        return self._decoded


class JsonRoute(RoleRoute):
    """A route whose JSON body is bounded and decoded strictly: no NaN, lone surrogates or excessive depth."""

    max_bytes = MAX_DOCUMENT_BYTES

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler; it receives the decoded body if the route has one."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        required = self.body_field.field_info.is_required()

        async def decode_and_handle(request: Request) -> Response:
            declared = request.headers.get("content-type")
            if declared and not is_json(declared):
                raise problems.UnsupportedMediaType.field("Content-Type", "must be application/json")
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise problems.UnsupportedMediaType.field("Content-Encoding", "must be absent")
            try:
                body = await read(request.scope, request.receive, self.max_bytes)
            except ClientLeft:
                return Response(status_code=400)  # the client is gone
            return await handle(_DecodedRequest(request, body, _decode(body) if body or required else None))

        return decode_and_handle


class LargeJsonRoute(JsonRoute):
    """The same for bodies that may be larger."""

    max_bytes = MAX_LARGE_BYTES


def _decode(body: bytes) -> object:
    if not body:
        raise problems.Malformed("the request has no body; send a JSON object")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise problems.Malformed(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise problems.Malformed("the body is nested too deeply") from None
