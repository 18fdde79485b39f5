"""A client of the parts of the REST API that the demo uses."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TypeVar

import httpx
import msgspec

from dev.demo import verification


class DemoError(Exception):
    """The demo did not end as it should. The message is one line for its user."""


TIMEOUT_SECONDS = 5.0


class AttemptError(msgspec.Struct, frozen=True):
    """Return why an attempt did not succeed."""

    kind: str
    message: str


class Attempt(msgspec.Struct, frozen=True):
    """One request to the receiver."""

    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: AttemptError | None


class Delivery(msgspec.Struct, frozen=True):
    """A delivery with its attempts, oldest first."""

    id: str
    status: str
    reason: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt]

    @property
    def ended(self) -> bool:
        """Return whether it has ended."""
        return self.status in {"delivered", "failed", "cancelled"}


class Accepted(msgspec.Struct, frozen=True):
    """The response to a webhook."""

    delivery_id: str
    event_id: str


class _Created(msgspec.Struct, frozen=True):
    id: str


Answer = TypeVar("Answer")


class Client:
    """Raise DemoError, with the service's message, for every response except the expected one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @contextlib.asynccontextmanager
    async def subscribed(self, *, target_url: str, secret_key: str, event_types: list[str]) -> AsyncIterator[str]:
        """Yield the id of a subscription, which is deleted when the context ends."""
        body = {
            "target_url": target_url,
            "secret_key": secret_key,
            "event_types": event_types,
            "description": "created by the demo, which deletes it at the end",
        }
        created = await self._call("POST", "/api/v1/subscriptions/", _Created, json=body)
        try:
            yield created.id
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await self._http.delete(f"/api/v1/subscriptions/{created.id}")

    async def send(self, subscription_id: str, *, body: bytes, event_type: str, secret_key: str) -> Accepted:
        """Send a webhook, signed as GitHub signs them."""
        headers = {
            "Content-Type": "application/json",
            "X-Event-Type": event_type,
            "X-Hub-Signature-256": verification.hub_signature(secret_key, body),
        }
        path = f"/api/v1/webhooks/ingest/{subscription_id}"
        return await self._call("POST", path, Accepted, content=body, headers=headers)

    async def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery."""
        return await self._call("GET", f"/api/v1/webhooks/deliveries/{delivery_id}", Delivery)

    async def _call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        content: bytes | None = None,
        json: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        try:
            response = await self._http.request(method, path, content=content, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise DemoError(f"{method} {path}: the service does not answer ({error!r})") from error
        if not response.is_success:
            raise DemoError(f"{method} {path} returned {response.status_code}: {response.text[:500]}")
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError as error:
            raise DemoError(f"{method} {path} returned an unexpected response: {error}") from error


@contextlib.asynccontextmanager
async def connected(base_url: str, *, api_key: str = "") -> AsyncIterator[Client]:
    """Yield a client of the service at `base_url`, which is on this machine, so no proxy is used."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
        yield Client(http)
