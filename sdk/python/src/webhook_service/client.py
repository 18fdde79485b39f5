"""The clients."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx

from webhook_service import pulling
from webhook_service.async_resources import AsyncApi
from webhook_service.resources import Api
from webhook_service.version import VERSION

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 5


class Client(Api):
    """A client that blocks. It may be used by several threads, and keeps connections open until it is closed.

    `url` and `api_key` default to the variables `WEBHOOK_URL` and `WEBHOOK_API_KEY`; an empty key is none. `tenant`
    acts in another tenant, which requires a key with role `admin`. Requests that read or have an `Idempotency-Key` are
    sent up to `attempts` times; no others are repeated. `http` takes a client of your own, with a proxy or
    certificates, and its base URL.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        http: httpx.Client | None = None,
    ) -> None:
        self._own = http is None
        super().__init__(
            http or httpx.Client(base_url=_url(url), timeout=timeout_seconds, follow_redirects=False),
            attempts=attempts,
            headers=_headers(api_key, tenant),
        )

    def pull(
        self,
        subscription_id: str,
        *,
        max_deliveries: int = pulling.MAX_DELIVERIES,
        wait_seconds: float = pulling.WAIT_SECONDS,
        lease_seconds: float = pulling.LEASE_SECONDS,
    ) -> Iterator[pulling.Pulled]:
        """Yield the deliveries of a subscription whose `destination` is `pull`, for as long as it is looped over."""
        return pulling.pull(
            self.subscriptions,
            subscription_id,
            max_deliveries=max_deliveries,
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
        )

    def close(self) -> None:
        """Close the connections, unless they belong to a client of yours."""
        if self._own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(AsyncApi):
    """The same for asyncio."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._own = http is None
        super().__init__(
            http or httpx.AsyncClient(base_url=_url(url), timeout=timeout_seconds, follow_redirects=False),
            attempts=attempts,
            headers=_headers(api_key, tenant),
        )

    def pull(
        self,
        subscription_id: str,
        *,
        max_deliveries: int = pulling.MAX_DELIVERIES,
        wait_seconds: float = pulling.WAIT_SECONDS,
        lease_seconds: float = pulling.LEASE_SECONDS,
    ) -> AsyncIterator[pulling.AsyncPulled]:
        """Yield the deliveries of a subscription whose `destination` is `pull`, for as long as it is looped over."""
        return pulling.pull_async(
            self.subscriptions,
            subscription_id,
            max_deliveries=max_deliveries,
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
        )

    async def close(self) -> None:
        """Close the connections, unless they belong to a client of yours."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _url(url: str | None) -> str:
    return url or os.environ.get("WEBHOOK_URL") or DEFAULT_URL


def _headers(api_key: str | None, tenant: str | None) -> dict[str, str]:
    key = os.environ.get("WEBHOOK_API_KEY") if api_key is None else api_key
    headers = {"User-Agent": f"webhook-service-sdk-python/{VERSION}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if tenant:
        headers["X-Tenant"] = tenant
    return headers
