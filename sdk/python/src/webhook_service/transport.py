"""Sends calls, and repeats those that may be repeated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import httpx
from msgspec import UnsetType

from webhook_service import calls, errors
from webhook_service.calls import Call

T = TypeVar("T")


class Transport:
    """Sends calls with httpx."""

    def __init__(
        self,
        http: httpx.Client,
        *,
        attempts: int,
        headers: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._attempts = attempts
        self._headers = headers
        self._sleep = sleep
        self._timeout = http.timeout
        self._add_resources()

    def _add_resources(self) -> None:
        """Add an attribute for each resource."""

    def call(self, call: Call) -> Any:
        """Return what the service responds; raise WebhookServiceError."""
        request = call.request()
        attempt = 1
        while True:
            try:
                response = self._http.request(
                    request.method,
                    request.path,
                    headers={**request.headers, **self._headers},
                    content=request.content,
                    timeout=longer(self._timeout, call.wait_seconds),
                )
                return call.decode(response.status_code, response.headers, response.content)
            except httpx.TransportError as error:
                failure: errors.WebhookServiceError = errors.ConnectionFailed(
                    f"no response from {self._http.base_url}: {str(error) or type(error).__name__}"
                )
                failure.__cause__ = error
            except errors.ApiError as error:
                failure = error
            delay = calls.delay_before_retry(call, attempt, failure) if attempt < self._attempts else None
            if delay is None:
                raise failure
            self._sleep(delay)
            attempt += 1

    @contextlib.contextmanager
    def streaming(self, call: Call) -> Iterator[Iterator[str]]:
        """Yield the lines of a response that lasts; raise WebhookServiceError if it is refused, or cut off."""
        request = call.request()
        try:
            with self._http.stream(
                request.method, request.path, headers={**request.headers, **self._headers}, timeout=self._timeout
            ) as response:
                if response.status_code not in call.responses:
                    raise errors.of_response(response.status_code, response.headers, response.read())
                yield response.iter_lines()
        except httpx.TransportError as error:
            raise errors.ConnectionFailed(f"the connection to {self._http.base_url} was lost: {error}") from error


def longer(timeout: httpx.Timeout, seconds: float | UnsetType) -> httpx.Timeout:
    """Return a timeout with more time for the response."""
    if isinstance(seconds, UnsetType) or timeout.read is None:
        return timeout
    return httpx.Timeout(timeout.connect, read=timeout.read + seconds, write=timeout.write, pool=timeout.pool)


class Resource:
    """The operations on something."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class Pages(Generic[T]):
    """Everything in a list, which is read page by page as it is looped over."""

    def __init__(self, transport: Transport, call: Call, page: type[Any]) -> None:
        self._transport = transport
        self._call = call
        self._page = page

    def pages(self) -> Iterator[Any]:
        """Return each page as the service sends it."""
        call = self._call
        while True:
            page = self._transport.call(call)
            yield page
            if page.next_cursor is None:
                return
            call = replace(call, query={**call.query, "cursor": page.next_cursor})

    def first_page(self) -> Any:
        """Return the first page, whose `next_cursor` continues the list later."""
        return self._transport.call(self._call)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items
