"""Receives deliveries with Flask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response, request

from webhook_service.errors import VerificationFailed
from webhook_service.receivers import AlreadyReceived, BeingHandled, Received, Receiver

Handler = TypeVar("Handler", bound=Callable[[Received], Any])


def webhook(app: Any, path: str, receiver: Receiver) -> Callable[[Handler], Handler]:
    """Call the decorated function with each delivery that arrives at `path`, once. `app` may be a blueprint.

    The response is 204, or 401 for what is not genuine. If the function raises, the response is 500, and the service
    sends the delivery again.
    """

    def decorate(handler: Handler) -> Handler:
        def endpoint() -> Response:
            try:
                received = receiver.verify(dict(request.headers), request.get_data())
            except VerificationFailed as error:
                return Response(str(error), 401, mimetype="text/plain")
            if received.challenge is not None:
                return Response(received.challenge, mimetype="text/plain")
            try:
                with receiver.handling(received):
                    handler(received)
            except AlreadyReceived:
                return Response(status=204)
            except BeingHandled:
                return Response(status=409)
            return Response(status=204)

        app.add_url_rule(path, endpoint=f"webhook {path}", view_func=endpoint, methods=["POST"])
        return handler

    return decorate
