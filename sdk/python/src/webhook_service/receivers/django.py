"""Receives deliveries with Django."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.core.cache import BaseCache
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from webhook_service.errors import VerificationFailed
from webhook_service.receivers import AlreadyReceived, BeingHandled, Received, Receiver

# Longer than the service retries by default, and than a request is handled.
REMEMBERED_SECONDS = 4 * 24 * 3600
HANDLED_SECONDS = 120
_DONE = "done"


def webhook(receiver: Receiver) -> Callable[[Callable[[Received], Any]], Callable[[HttpRequest], HttpResponse]]:
    """Return a view that calls the decorated function with each delivery, once.

    The response is 204, or 401 for what is not genuine. If the function raises, the response is 500, and the service
    sends the delivery again.
    """

    def decorate(handler: Callable[[Received], Any]) -> Callable[[HttpRequest], HttpResponse]:
        def view(request: HttpRequest) -> HttpResponse:
            try:
                received = receiver.verify(dict(request.headers), request.body)
            except VerificationFailed as error:
                return HttpResponse(str(error), status=401, content_type="text/plain")
            if received.challenge is not None:
                return HttpResponse(received.challenge, content_type="text/plain")
            try:
                with receiver.handling(received):
                    handler(received)
            except AlreadyReceived:
                return HttpResponse(status=204)
            except BeingHandled:
                return HttpResponse(status=409)
            return HttpResponse(status=204)

        return cast("Callable[[HttpRequest], HttpResponse]", csrf_exempt(require_POST(view)))

    return decorate


class SeenInCache:
    """Remembers deliveries in a cache of Django that all processes share, such as `caches["default"]` over Redis."""

    def __init__(self, cache: BaseCache, *, prefix: str = "webhook:") -> None:
        self._cache = cache
        self._prefix = prefix

    def begin(self, delivery_id: str) -> None:
        """Raise AlreadyReceived or BeingHandled, or note that the delivery is being handled."""
        key = self._prefix + delivery_id
        if not self._cache.add(key, "handled", HANDLED_SECONDS):
            raise AlreadyReceived(delivery_id) if self._cache.get(key) == _DONE else BeingHandled(delivery_id)

    def done(self, delivery_id: str) -> None:
        """Note that the delivery was handled."""
        self._cache.set(self._prefix + delivery_id, _DONE, REMEMBERED_SECONDS)

    def forget(self, delivery_id: str) -> None:
        """Forget the delivery, which could not be handled."""
        self._cache.delete(self._prefix + delivery_id)
