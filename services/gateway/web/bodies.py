"""Reads request bodies, within a bound of bytes and of time, and JSON bodies strictly."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from starlette.types import Receive, Scope

from services.gateway.accept import envelope
from services.gateway.web import problems
from services.gateway.web.role_route import RoleRoute
from services.platform import clock, errors

# Reads request bodies, within a bound of bytes and of time.


# For a body that does not come with its headers; more as more of it comes.
UPLOAD_TIMEOUT_SECONDS = 30.0


class ClientLeft(Exception):
    """The client closed the connection before its request was whole; there is nobody to answer."""


async def read(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body; PayloadTooLarge as soon as it is known to be over `max_bytes`.

    The first piece, which nearly always is the whole, has no timer of its own here, which would cost a tenth of the hot
    path: the server closes connections whose requests do not end (services/platform/http/protocol.py).

    What is left unread is thrown away by the server, within its bounds, so that the client gets to read the answer.
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
        raise problems.RequestTimeout(f"the body did not arrive within {allowed:.0f} s") from None
    return b"".join(parts)


def _too_large(max_bytes: int) -> errors.WebhookError:
    return errors.PayloadTooLarge.field("body", f"must be at most {max_bytes} bytes")


# A FastAPI route whose JSON body is bounded, strictly decoded, and refused with a problem that says why.


# Ten times the longest subscription.
MAX_DOCUMENT_BYTES = 256 << 10


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _DecodedRequest(Request):
    """A request whose body was read and decoded before."""

    def __init__(self, request: Request, body: bytes, decoded: object) -> None:
        super().__init__(request.scope, request.receive)
        self._read, self._decoded = body, decoded

    async def body(self) -> bytes:
        return self._read

    async def json(self) -> Any:
        return self._decoded


class JsonRoute(RoleRoute):
    """Decodes strictly what FastAPI would leave to the standard library: NaN, surrogates and depth included."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, which gets the body decoded if the route has one."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        required = self.body_field.field_info.is_required()

        async def decode_and_handle(request: Request) -> Response:
            declared = request.headers.get("content-type")
            if declared and not envelope.is_json(declared):
                raise problems.UnsupportedMediaType.field("Content-Type", "must be application/json")
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise problems.UnsupportedMediaType.field("Content-Encoding", "must be absent")
            try:
                body = await read(request.scope, request.receive, MAX_DOCUMENT_BYTES)
            except ClientLeft:
                return Response(status_code=400)  # which nobody reads
            return await handle(_DecodedRequest(request, body, _decode(body) if body or required else None))

        return decode_and_handle


def _decode(body: bytes) -> object:
    if not body:
        raise problems.Malformed("the request has no body; it takes a JSON object")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise problems.Malformed(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise problems.Malformed("the body is nested too deeply") from None
