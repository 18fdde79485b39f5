"""A FastAPI route whose JSON body is bounded, strictly decoded, and refused with a problem that says why."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response

from services.gateway import bodies, envelope, problems
from services.gateway.role_route import RoleRoute

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
                body = await bodies.read(request.scope, request.receive, MAX_DOCUMENT_BYTES)
            except bodies.ClientLeft:
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
