"""Receives deliveries with FastAPI, or any application of Starlette."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from webhook_service.errors import VerificationFailed
from webhook_service.receivers import AlreadyReceived, BeingHandled, Received, Receiver

Handler = TypeVar("Handler", bound=Callable[[Received], Any])


def webhook(app: Any, path: str, receiver: Receiver) -> Callable[[Handler], Handler]:
    """Call the decorated function with each delivery that arrives at `path`, once. It may be async.

    The response is 204, or 401 for what is not genuine. If the function raises, the response is 500, and the service
    sends the delivery again.
    """

    def decorate(handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            try:
                received = receiver.verify(dict(request.headers), await request.body())
            except VerificationFailed as error:
                return PlainTextResponse(str(error), 401)
            if received.challenge is not None:
                return PlainTextResponse(received.challenge)
            try:
                with receiver.handling(received):
                    await _call(handler, received)
            except AlreadyReceived:
                return Response(status_code=204)
            except BeingHandled:
                return Response(status_code=409)
            return Response(status_code=204)

        getattr(app, "router", app).add_route(path, endpoint, methods=["POST"], include_in_schema=False)
        return handler

    return decorate


async def _call(handler: Callable[[Received], Any], received: Received) -> None:
    if inspect.iscoroutinefunction(handler):
        made: Awaitable[Any] = handler(received)
        await made
    else:
        await run_in_threadpool(handler, received)
