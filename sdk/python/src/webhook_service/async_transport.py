"""Sends calls asynchronously, and repeats those that may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import httpx

from webhook_service import calls, errors
from webhook_service.calls import Call
from webhook_service.transport import longer

T = TypeVar("T")


class AsyncTransport:
    """Sends calls with httpx."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        attempts: int,
        headers: Mapping[str, str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._attempts = attempts
        self._headers = headers
        self._sleep = sleep
        self._timeout = http.timeout
        self._add_resources()

    def _add_resources(self) -> None:
        """Add an attribute for each resource."""

    async def call(self, call: Call) -> Any:
        """Return what the service responds; raise WebhookServiceError."""
        request = call.request()
        attempt = 1
        while True:
            try:
                response = await self._http.request(
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
            await self._sleep(delay)
            attempt += 1


class AsyncResource:
    """The operations on something."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport


class AsyncPages(Generic[T]):
    """Everything in a list, which is read page by page as it is looped over."""

    def __init__(self, transport: AsyncTransport, call: Call, page: type[Any]) -> None:
        self._transport = transport
        self._call = call
        self._page = page

    async def pages(self) -> AsyncIterator[Any]:
        """Return each page as the service sends it."""
        call = self._call
        while True:
            page = await self._transport.call(call)
            yield page
            if page.next_cursor is None:
                return
            call = replace(call, query={**call.query, "cursor": page.next_cursor})

    async def first_page(self) -> Any:
        """Return the first page, whose `next_cursor` continues the list later."""
        return await self._transport.call(self._call)

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
