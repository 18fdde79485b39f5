"""Idempotency keys of calls that make other things than events: made once, and what is secret is shown once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from protos.webhook.v1 import access_pb2, access_pb2_grpc
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors, ids
from tests.ingest.conftest import CALL_SECONDS, Ingest, refused

Call = Callable[..., Awaitable[Any]]


class Calls:
    """The calls, each for a tenant and a subscription of its own."""

    def __init__(self, ingest: Ingest, subscription_id: str) -> None:
        self.ingest = ingest
        self.access: access_pb2_grpc.AccessServiceAsyncStub = access_pb2_grpc.AccessServiceStub(ingest.channel)
        self.names: Any = {"tenant_id": ingest.tenant_id, "subscription_id": subscription_id}

    async def rotation(self, key: str, **fields: Any) -> pb.RotateSubscriptionSecretResponse:
        request = pb.RotateSubscriptionSecretRequest(idempotency_key=key, **self.names, **fields)
        return await self.ingest.subscriptions.RotateSubscriptionSecret(request, timeout=CALL_SECONDS)

    async def token(self, key: str) -> pb.CreateIngestTokenResponse:
        request = pb.CreateIngestTokenRequest(idempotency_key=key, **self.names)
        return await self.ingest.subscriptions.CreateIngestToken(request, timeout=CALL_SECONDS)

    async def tenant(self, key: str, **fields: Any) -> access_pb2.CreateTenantResponse:
        asked: dict[str, Any] = {"id": f"{self.ingest.tenant_id}-2", "description": "d"}
        request = access_pb2.CreateTenantRequest(idempotency_key=key, **asked | fields)
        return await self.access.CreateTenant(request, timeout=CALL_SECONDS)

    async def api_key(self, key: str, **fields: Any) -> access_pb2.CreateApiKeyResponse:
        asked: dict[str, Any] = {"tenant_id": self.ingest.tenant_id, "name": "n", "role": access_pb2.ROLE_READ}
        request = access_pb2.CreateApiKeyRequest(idempotency_key=key, **asked | fields)
        return await self.access.CreateApiKey(request, timeout=CALL_SECONDS)


@pytest.fixture
async def calls(ingest: Ingest) -> Calls:
    """The calls for a new tenant."""
    own = await ingest.of(f"t{ids.new().hex[:20]}")
    return Calls(own, (await own.create()).id)


async def audited(calls: Calls) -> int:
    """Return how many changes of the tenant, and of the one that is made of it, were recorded."""
    query = "SELECT count(*) FROM audit_entries WHERE tenant_id = ANY($1)"
    names = [calls.ingest.tenant_id, f"{calls.ingest.tenant_id}-2"]
    return int(await calls.ingest.pool.fetchval(query, names))


# The call, what of its response is shown once, and fields of another request.
CALLS = [
    ("rotation", "secret_key", {"overlap_hours": 1.0}),
    ("rotation", "secret_key", {"secret_key": "a secret of 24 characters"}),
    ("token", "token", None),
    ("tenant", None, {"description": "another"}),
    ("tenant", None, {"id": "another-id"}),
    ("api_key", "key", {"role": access_pb2.ROLE_WRITE}),
]


@pytest.mark.parametrize(("name", "secret", "other"), CALLS, ids=str)
async def test_a_repeated_call_makes_nothing_and_gets_the_first_response_without_what_is_secret(
    calls: Calls, name: str, secret: str | None, other: dict[str, Any] | None
) -> None:
    call: Call = getattr(calls, name)
    before, key = await audited(calls), f"key {ids.new()}"
    first = await call(key)
    assert not first.replayed
    again = await call(key)
    assert again.replayed
    if secret is not None:
        assert getattr(first, secret)
        assert not getattr(again, secret)
        first.ClearField(secret)
    again.ClearField("replayed")
    assert again == first
    assert await audited(calls) == before + 1
    if other is not None:
        error = await refused(call(key, **other))
        assert (type(error), error.reason) == (errors.InvalidArgument, "IDEMPOTENCY_KEY_REUSED")
    assert await audited(calls) == before + 1


@pytest.mark.parametrize("name", ["rotation", "token", "tenant", "api_key"])
async def test_of_calls_with_one_key_at_once_one_makes_something(calls: Calls, name: str) -> None:
    call: Call = getattr(calls, name)
    before, key = await audited(calls), f"key {ids.new()}"
    answers = await asyncio.gather(*(call(key) for _ in range(4)))
    assert sorted(answer.replayed for answer in answers) == [False, True, True, True]
    assert await audited(calls) == before + 1


@pytest.mark.parametrize("name", ["rotation", "token", "api_key"])
async def test_calls_with_other_keys_or_without_one_make_another(calls: Calls, name: str) -> None:
    call: Call = getattr(calls, name)
    before = await audited(calls)
    answers = [await call(key) for key in ("", "", f"a {ids.new()}", f"b {ids.new()}")]
    assert not any(answer.replayed for answer in answers)
    assert await audited(calls) == before + 4


async def test_a_repeated_token_keeps_the_first_one_valid(calls: Calls) -> None:
    key = f"key {ids.new()}"
    token = (await calls.token(key)).token
    assert (await calls.token(key)).replayed
    request = pb.CheckIngestTokenRequest(subscription_id=calls.names["subscription_id"], token=token)
    checked = await calls.ingest.subscriptions.CheckIngestToken(request, timeout=CALL_SECONDS)
    assert checked.tenant_id == calls.ingest.tenant_id


async def test_a_tenant_that_exists_is_a_conflict_for_another_key(calls: Calls) -> None:
    await calls.tenant(f"a {ids.new()}")
    error = await refused(calls.tenant(f"b {ids.new()}"))
    assert (type(error), error.reason) == (errors.Conflict, "TENANT_EXISTS")


async def test_no_row_keeps_what_is_secret(calls: Calls) -> None:
    secret = "planted-7c1f3a and more of it"
    await calls.rotation(f"a {ids.new()}", secret_key=secret)
    made = [(await calls.rotation(f"b {ids.new()}")).secret_key, (await calls.api_key(f"c {ids.new()}")).key]
    kept = await calls.ingest.pool.fetch("SELECT response, request_hash FROM idempotency_keys")
    for text in (secret, *made):
        assert not any(text.encode() in row["response"] + row["request_hash"] for row in kept)
    assert kept
