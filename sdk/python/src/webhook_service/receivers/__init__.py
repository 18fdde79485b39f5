"""Receives deliveries: verifies each, and handles it once. `fastapi`, `django` and `flask` are for the frameworks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from webhook_service import verification
from webhook_service.errors import WebhookServiceError

REMEMBERED = 100_000
_CHALLENGE = "url_verification"


class AlreadyReceived(WebhookServiceError):
    """The delivery was handled before: respond with 2xx, so that it is not sent again."""


class BeingHandled(WebhookServiceError):
    """Another request handles the delivery now: respond with 409, so that it is sent again if that one fails."""


class Seen(Protocol):
    """Remembers deliveries. Implement it over your database or cache if there are several processes."""

    def begin(self, delivery_id: str) -> None:
        """Raise AlreadyReceived or BeingHandled, or note that the delivery is being handled."""

    def done(self, delivery_id: str) -> None:
        """Note that the delivery was handled."""

    def forget(self, delivery_id: str) -> None:
        """Forget the delivery, which could not be handled."""


class SeenInMemory:
    """Remembers the latest deliveries of this process. It has no use for several processes, or after a restart."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._done: OrderedDict[str, None] = OrderedDict()
        self._handled: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, delivery_id: str) -> None:
        """Raise AlreadyReceived or BeingHandled, or note that the delivery is being handled."""
        with self._lock:
            if delivery_id in self._done:
                raise AlreadyReceived(delivery_id)
            if delivery_id in self._handled:
                raise BeingHandled(delivery_id)
            self._handled.add(delivery_id)

    def done(self, delivery_id: str) -> None:
        """Note that the delivery was handled."""
        with self._lock:
            self._handled.discard(delivery_id)
            self._done[delivery_id] = None
            while len(self._done) > self._remembered:
                self._done.popitem(last=False)

    def forget(self, delivery_id: str) -> None:
        """Forget the delivery, which could not be handled."""
        with self._lock:
            self._handled.discard(delivery_id)


@dataclass(frozen=True, kw_only=True)
class Received:
    """A genuine delivery."""

    id: str
    event_id: str | None
    event_type: str | None
    attempt: int
    timestamp: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the payload, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def challenge(self) -> str | None:
        """What to respond with if the service asks whether this target wants webhooks; otherwise None."""
        if self.event_type != _CHALLENGE:
            return None
        found = self.json()
        return str(found["challenge"]) if isinstance(found, dict) and "challenge" in found else None


class Receiver:
    """Verifies deliveries by the secrets of a subscription, and lets each be handled once.

    `secrets` are those that `verify` takes. `seen` remembers what was handled.
    """

    def __init__(
        self,
        secrets: str | Iterable[str],
        *,
        seen: Seen | None = None,
        tolerance_seconds: float = verification.TOLERANCE_SECONDS,
    ) -> None:
        self._secrets = [secrets] if isinstance(secrets, str) else list(secrets)
        if not any(self._secrets):
            raise ValueError("secrets must have a secret")
        self._seen = seen or SeenInMemory()
        self._tolerance_seconds = tolerance_seconds

    def verify(self, headers: Mapping[str, str], body: bytes) -> Received:
        """Return what was received; raise VerificationFailed unless it is genuine."""
        verified = verification.verify(body, headers, self._secrets, tolerance_seconds=self._tolerance_seconds)
        found = {name.lower(): value for name, value in headers.items()}
        attempt = found.get("x-webhook-attempt", "")
        return Received(
            id=verified.id,
            event_id=found.get("x-webhook-event-id"),
            event_type=found.get("x-event-type"),
            attempt=int(attempt) if attempt.isdecimal() else 1,
            timestamp=verified.timestamp,
            headers=found,
            body=body,
        )

    def handling(self, received: Received) -> Handling:
        """Return a context in which to handle a delivery once; it raises AlreadyReceived or BeingHandled."""
        return Handling(self._seen, received.id)


class Handling:
    """The time in which a delivery is handled. An exception in it makes the next attempt be handled again."""

    def __init__(self, seen: Seen, delivery_id: str) -> None:
        self._seen = seen
        self._id = delivery_id

    def __enter__(self) -> None:
        self._seen.begin(self._id)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._seen.done(self._id)
        else:
            self._seen.forget(self._id)
