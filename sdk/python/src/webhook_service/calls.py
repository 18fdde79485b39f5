"""Requests and responses without input and output, which the blocking and the asynchronous client share."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import UNSET, UnsetType

from webhook_service import errors
from webhook_service.base import Model

JSON = "application/json"
# Refusals after which the same request can succeed. 409 is one only while the first request is still running.
_AGAIN = frozenset((408, 429, 503))
_IN_USE = "IDEMPOTENCY_KEY_IN_USE"
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0


def segment(text: str) -> str:
    """Return a value as a segment of a path."""
    if not text:
        raise ValueError("an id must not be empty")
    return quote(text, safe="")


@dataclass(frozen=True)
class Call:
    """A call of an operation."""

    http_method: str
    path: str
    responses: Mapping[int, type[Any] | None]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    raw: bytes | str | None = None
    content_type: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    # Whether repeated requests are recognized by an Idempotency-Key.
    keyed: bool = False
    # Whether it changes nothing.
    reads: bool = False
    # Longer than other calls: the time that the service waits before it responds.
    wait_seconds: float | UnsetType = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether it has no second effect if it is sent again: it only reads, or has a key."""
        return self.reads or self.keyed

    def request(self) -> Request:
        """Return the request, which is the same each time it is sent: a new key is made here."""
        headers = {"Accept": f"{JSON}, application/problem+json"}
        headers |= {name: _header(value) for name, value in self.headers.items() if value is not None}
        content = None
        if self.raw is not None:
            content = self.raw.encode() if isinstance(self.raw, str) else self.raw
            headers["Content-Type"] = self.content_type or JSON
        elif self.body is not None:
            given = {name: value for name, value in self.body.items() if value is not UNSET}
            content = msgspec.json.encode(given, enc_hook=_encode)
            headers["Content-Type"] = JSON
        if self.keyed:
            headers["Idempotency-Key"] = self.idempotency_key or str(uuid.uuid4())
        pairs = [(name, text) for name, value in self.query.items() for text in _texts(value)]
        query = f"?{urlencode(pairs)}" if pairs else ""
        return Request(method=self.http_method, path=self.path + query, headers=headers, content=content)

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Any:
        """Return what a response contains; raise the ApiError that it tells of."""
        if status not in self.responses:
            raise errors.of_response(status, headers, body)
        model = self.responses[status]
        if model is None:
            return None
        try:
            found = msgspec.json.decode(body, type=model)
        except msgspec.DecodeError as error:
            message = f"the response is not what this version of the SDK expects: {error}"
            raise errors.ApiError(message, status=status, request_id=headers.get("x-request-id")) from error
        if isinstance(found, Model) and (etag := headers.get("etag")):
            found.__dict__["etag"] = etag
        return found


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it is sent, and sent again."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)


def delay_before_retry(call: Call, attempt: int, error: errors.WebhookServiceError) -> float | None:
    """Return how long to wait before attempt `attempt` + 1; None if the call must not be repeated.

    Only a call that reads or has a key is: without a response nobody knows whether any other had its effect.
    """
    if not call.repeatable or not _is_passing(error):
        return None
    named = error.retry_after_seconds if isinstance(error, errors.ApiError) else None
    if named is not None:
        return named
    longest = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries


def _is_passing(error: errors.WebhookServiceError) -> bool:
    if isinstance(error, errors.ConnectionFailed):
        return True
    return isinstance(error, errors.ApiError) and (error.status in _AGAIN or error.reason == _IN_USE)


def _header(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    return str(value)


def _texts(value: Any) -> list[str]:
    """Return the values of a parameter of a query."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, datetime):
        return [_time(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [text for item in value for text in _texts(item)]
    return [str(value)]


def _time(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time must have a time zone, such as datetime.now(timezone.utc)")
    return moment.isoformat()


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
