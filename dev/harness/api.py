"""A client of the REST API for tests."""

import ssl
from typing import Any

import httpx

from dev.harness.waiting import wait_until

# For `verify` of clients that are made for each test: to make one for each takes 30 ms of CPU.
TLS = ssl.create_default_context()


class Api:
    """Make requests and assert that they succeed; methods return the response, or what is in it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def subscribe(self, target_url: str, **fields: Any) -> str:
        """Create a subscription and return its id."""
        answer = await self.http.post("/api/v1/subscriptions/", json={"target_url": target_url, **fields})
        assert answer.status_code == 201, answer.text
        identifier: str = answer.json()["id"]
        return identifier

    async def send(self, subscription_id: str, body: bytes = b'{"payload": {}}', **headers: str) -> httpx.Response:
        """Send a webhook; underscores in names of headers become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            f"/api/v1/webhooks/ingest/{subscription_id}",
            content=body,
            headers={"Content-Type": "application/json"} | named,
        )

    async def sent(self, subscription_id: str, body: bytes = b'{"payload": {}}', **headers: str) -> str:
        """Send a webhook and return its delivery."""
        answer = await self.send(subscription_id, body, **headers)
        assert answer.status_code == 202, answer.text
        identifier: str = answer.json()["delivery_id"]
        return identifier

    async def delivery(self, delivery_id: str) -> dict[str, Any]:
        """Return a delivery with its attempts."""
        answer = await self.http.get(f"/api/v1/webhooks/deliveries/{delivery_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(self, delivery_id: str, status: str, *, attempts: int = 0) -> dict[str, Any]:
        """Wait until a delivery has this status, and at least this many attempts."""

        async def there() -> dict[str, Any] | None:
            found = await self.delivery(delivery_id)
            return found if found["status"] == status and len(found["attempts"]) >= attempts else None

        return await wait_until(there, what=f"{delivery_id} to be {status}") or {}
