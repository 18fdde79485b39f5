"""A change and its audit entry share a transaction: if the entry cannot be written, nothing is changed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from protos.webhook.v1 import access_pb2, access_pb2_grpc, subscriptions_pb2
from services.platform import errors
from tests.ingest.conftest import CALL_SECONDS, Ingest, refused, serving

SUBSCRIPTIONS = "SELECT array_agg(s ORDER BY id) FROM subscriptions s"
TENANTS = "SELECT array_agg(t ORDER BY id) FROM tenants t"
KEYS = "SELECT array_agg(k ORDER BY id) FROM api_keys k"


@pytest.fixture
async def alone(database: str, redis_url: str) -> AsyncIterator[Ingest]:
    """An ingest server on a separate database."""
    async with serving(database, redis_url) as running:
        yield running


async def test_changes_are_not_made_without_their_audit_entry(alone: Ingest) -> None:
    made = await alone.create()
    access: access_pb2_grpc.AccessServiceAsyncStub = access_pb2_grpc.AccessServiceStub(alone.channel)
    await access.CreateTenant(access_pb2.CreateTenantRequest(id="acme"), timeout=CALL_SECONDS)
    create_key = access_pb2.CreateApiKeyRequest(tenant_id="acme", name="n", role=access_pb2.ROLE_READ)
    key = (await access.CreateApiKey(create_key, timeout=CALL_SECONDS)).api_key
    names: Any = {"tenant_id": alone.tenant_id, "subscription_id": made.id}
    await alone.pool.execute("ALTER TABLE audit_entries ADD CHECK (false) NOT VALID")
    before = [await alone.pool.fetchval(query) for query in (SUBSCRIPTIONS, TENANTS, KEYS)]

    pb = subscriptions_pb2
    # One after the other: each logs a bug with its stack trace, which takes a moment.
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        alone.create,
        lambda: alone.create(idempotency_key="k"),
        lambda: alone.update(made.id, description="another"),
        lambda: alone.delete(made.id),
        lambda: alone.set_status(made.id, pb.SUBSCRIPTION_ACTION_DISABLE),
        lambda: alone.subscriptions.RotateSubscriptionSecret(
            pb.RotateSubscriptionSecretRequest(**names), timeout=CALL_SECONDS
        ),
        lambda: alone.subscriptions.CreateIngestToken(pb.CreateIngestTokenRequest(**names), timeout=CALL_SECONDS),
        lambda: access.CreateTenant(access_pb2.CreateTenantRequest(id="other"), timeout=CALL_SECONDS),
        lambda: access.DeleteTenant(access_pb2.DeleteTenantRequest(id="acme"), timeout=CALL_SECONDS),
        lambda: access.CreateApiKey(create_key, timeout=CALL_SECONDS),
        lambda: access.RevokeApiKey(access_pb2.RevokeApiKeyRequest(id=key.id), timeout=CALL_SECONDS),
    )
    for call in calls:
        assert (await refused(call())).code is errors.Code.INTERNAL

    assert [await alone.pool.fetchval(query) for query in (SUBSCRIPTIONS, TENANTS, KEYS)] == before
    assert await alone.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0
