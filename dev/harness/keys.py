"""API keys and encryption keys for tests, and calls with a key."""

import base64
from collections.abc import Mapping
from typing import Any

import grpc
import httpx

from services.domain.secrets import encryption
from services.domain.secrets.encryption import Keys
from services.domain.secrets.vault import Vault

ENCRYPTION_KEY = base64.b64encode(b"the tests encrypt with this, not").decode()
OTHER_KEY = base64.b64encode(b"and later on, with this instead.").decode()


def encryption_keys(*texts: str) -> Keys:
    """Return these keys, or ENCRYPTION_KEY if none is given."""
    return Keys(encryption.parse_keys(",".join(texts or (ENCRYPTION_KEY,))))


def vault(*texts: str) -> Vault:
    """Return a vault with these keys."""
    return Vault(encryption_keys(*texts))


ADMIN_KEY = "whk_the_bootstrap_key_of_the_tests_4f7a1c"
SERVICE_KEY = "the_service_key_of_the_tests_93b2e5d8c1"
# For a process, or a whole stack.
ENVIRONMENT: Mapping[str, str] = {
    "AUTH_REQUIRED": "true",
    "BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
    "SERVICE_KEY": SERVICE_KEY,
}
# For a stack whose processes have a service key each. Ingest uses the shared one.
OWN_SERVICE_KEYS: Mapping[str, str] = {
    "DELIVERY_SERVICE_KEY": "the_service_key_of_delivery_1f0c2b7a9e44",
    "ANALYTICS_SERVICE_KEY": "the_service_key_of_analytics_77ab09c1d2",
}
CALL_SECONDS = 10.0


def bearer(key: str) -> dict[str, str]:
    """Return the header of a request that carries the key."""
    return {"Authorization": f"Bearer {key}"}


def metadata(
    key: str | None, *, actor: str | None = None, caller_key: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with this key, or none; for a gateway, also the caller that it acts for."""
    values = {
        "authorization": None if key is None else f"Bearer {key}",
        "webhook-actor": actor,
        "webhook-caller-key": caller_key,
    }
    return tuple((name, value) for name, value in values.items() if value is not None)


class Admin:
    """An operator's REST calls."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def tenant(self, tenant_id: str) -> str:
        """Create a tenant and return its id."""
        answer = await self.http.post("/api/v1/admin/tenants", json={"id": tenant_id}, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 201, answer.text
        return tenant_id

    async def created(self, **fields: Any) -> dict[str, Any]:
        """Create a key and return the response."""
        body = {"name": "a test's", "role": "write", **fields}
        answer = await self.http.post("/api/v1/admin/api-keys", json=body, headers=bearer(ADMIN_KEY))
        assert (answer.status_code, answer.headers.get("cache-control")) == (201, "no-store"), answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def key(self, tenant_id: str = "default", role: str = "write", **fields: Any) -> str:
        """Create a key."""
        key: str = (await self.created(tenant_id=tenant_id, role=role, **fields))["key"]
        return key

    async def listed(self, key_id: str) -> dict[str, Any]:
        """Return a key as listed."""
        answer = await self.http.get("/api/v1/admin/api-keys", params={"limit": 200}, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = next(key for key in answer.json()["items"] if key["id"] == key_id)
        return found

    async def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        answer = await self.http.delete(f"/api/v1/admin/api-keys/{key_id}", headers=bearer(ADMIN_KEY))
        assert answer.status_code == 204, answer.text


async def code_of(
    channel: grpc.aio.Channel,
    method: str,
    key: str | None,
    request: bytes = b"",
    *,
    actor: str | None = None,
    caller_key: str | None = None,
) -> grpc.StatusCode:
    """Call a method with an encoded request and return the status code, also of one that answers with a stream.

    What answers at all is OK: some streams end only with their readers.
    """
    call: Any = channel.unary_stream(method)
    try:
        answers = call(request, metadata=metadata(key, actor=actor, caller_key=caller_key), timeout=CALL_SECONDS)
        async for _ in answers:
            answers.cancel()
            break
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
