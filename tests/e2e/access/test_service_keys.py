"""What a service key allows, and what it does not."""

from typing import Any

import grpc
import pytest

from dev.harness import keys
from dev.harness.keys import ADMIN_KEY, OWN_SERVICE_KEYS, SERVICE_KEY, Admin
from protos.webhook.v1 import access_pb2, access_pb2_grpc, subscriptions_pb2, subscriptions_pb2_grpc
from services.platform import ids
from services.platform.grpc import errors
from tests.e2e.access import role_table
from tests.e2e.access.conftest import PROCESSES, Channels
from tests.platform.auth.test_auth import methods

DENIED, UNAUTHENTICATED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
REFUSED = {DENIED, UNAUTHENTICATED}
SERVICE_KEYS = {
    "ingest": SERVICE_KEY,
    "delivery": OWN_SERVICE_KEYS["DELIVERY_SERVICE_KEY"],
    "analytics": OWN_SERVICE_KEYS["ANALYTICS_SERVICE_KEY"],
}
# Written out, so that nobody adds a method for the service key by mistake.
ALONE = {
    "/webhook.v1.AccessService/Authenticate",
    "/webhook.v1.AccessService/CreateSession",
    "/webhook.v1.AccessService/GetSession",
    "/webhook.v1.AccessService/EndSession",
    "/webhook.v1.AccessService/DescribeSignIn",
    "/webhook.v1.AccessService/BeginSignIn",
    "/webhook.v1.AccessService/CompleteSignIn",
    "/webhook.v1.AccessService/GetPortalLink",
    "/webhook.v1.AccessService/ExchangePortalLink",
    "/webhook.v1.AnalyticsService/AddRefusals",
    "/webhook.v1.CatalogService/GetPublishedCatalog",
    "/webhook.v1.IngestService/BatchIngest",
    "/webhook.v1.SubscriptionService/CheckIngestToken",
    "/webhook.v1.SystemService/NoteProcess",
}
WITH_THE_ADMINS_KEY = {
    "/webhook.v1.AccessService/CreateTenant",
    "/webhook.v1.AccessService/GetTenant",
    "/webhook.v1.AccessService/UpdateTenant",
    "/webhook.v1.AccessService/ListTenants",
    "/webhook.v1.AccessService/DeleteTenant",
    "/webhook.v1.AccessService/CreateApiKey",
    "/webhook.v1.AccessService/ListApiKeys",
    "/webhook.v1.AccessService/RevokeApiKey",
    "/webhook.v1.AccessService/ListSessions",
    "/webhook.v1.AccessService/RevokeSession",
    "/webhook.v1.AuditService/ListAuditEntries",
    "/webhook.v1.SystemService/GetSystem",
}
METHODS = {f"/{method.containing_service.full_name}/{method.name}" for method in methods()}
WITH_AN_ACTOR = METHODS - ALONE - WITH_THE_ADMINS_KEY
ROLES = {f"/webhook.v1.{method.replace('.', '/')}": who for (_, method), who in role_table.ALLOWED.items()}


def service_of(method: str) -> str:
    return method.split("/")[1]


def key_for(method: str) -> str:
    return SERVICE_KEYS[PROCESSES[service_of(method)]]


async def test_service_key_without_a_caller_key_allows_only_what_needs_no_caller(channels: Channels) -> None:
    for method in METHODS:
        code = await keys.code_of(channels[service_of(method)], method, key_for(method))
        assert (code not in REFUSED) == (method in ALONE), method


async def test_a_service_key_opens_one_process(channels: Channels) -> None:
    for method in METHODS:
        for process, key in SERVICE_KEYS.items():
            code = await keys.code_of(
                channels[service_of(method)], method, key, actor="bootstrap", caller_key=ADMIN_KEY
            )
            if process == PROCESSES[service_of(method)]:
                assert code not in REFUSED, method
            else:
                assert code is UNAUTHENTICATED, (method, process)


@pytest.mark.parametrize("role", ["admin", "write", "ingest", "read"])
async def test_a_service_key_with_an_actor_may_do_what_the_actors_role_allows(
    admin: Admin, channels: Channels, role: str
) -> None:
    actor = (await admin.created(role=role))["id"]
    for method in WITH_AN_ACTOR:
        code = await keys.code_of(channels[service_of(method)], method, key_for(method), actor=actor)
        assert (code is not DENIED) == (role in ROLES[method]), method


async def test_an_unknown_or_revoked_actor_is_rejected(admin: Admin, channels: Channels) -> None:
    revoked = (await admin.created())["id"]
    await admin.revoke(revoked)
    for method in WITH_AN_ACTOR:
        for actor in (str(ids.new()), revoked, "anonymous", "system", "service", "", "x" * 300):
            code = await keys.code_of(channels[service_of(method)], method, key_for(method), actor=actor)
            assert code is UNAUTHENTICATED, (method, actor)


async def test_an_actor_acts_for_its_own_tenant_only(admin: Admin, channels: Channels, a_name: str) -> None:
    await admin.tenant(a_name)
    actor = (await admin.created())["id"]
    stub: Any = subscriptions_pb2_grpc.SubscriptionServiceStub(channels["webhook.v1.SubscriptionService"])
    request = subscriptions_pb2.ListSubscriptionsRequest(tenant_id=a_name)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ListSubscriptions(request, metadata=keys.metadata(SERVICE_KEY, actor=actor), timeout=60)
    assert errors.from_rpc_error(raised.value).reason == "TENANT_FORBIDDEN"


async def test_admin_methods_require_the_admins_own_key(admin: Admin, channels: Channels) -> None:
    admins = await admin.created(role="admin")
    writers = await admin.key(role="write")
    for method in WITH_THE_ADMINS_KEY:
        channel = channels[service_of(method)]

        async def code(
            actor: str | None = None, caller_key: str | None = None, method: str = method, channel: Any = channel
        ) -> grpc.StatusCode:
            return await keys.code_of(channel, method, SERVICE_KEY, actor=actor, caller_key=caller_key)

        # Knowing the id of an admin's key is not enough.
        assert await code(actor=admins["id"]) is DENIED, method
        assert await code(actor="bootstrap") is DENIED, method
        assert await code(caller_key=writers) is DENIED, method
        assert await code(caller_key="whk_" + "x" * 43) is UNAUTHENTICATED, method
        assert await code(caller_key=SERVICE_KEY) is UNAUTHENTICATED, method
        assert await code(caller_key=admins["key"]) not in REFUSED, method
        assert await code(caller_key=ADMIN_KEY) not in REFUSED, method


async def test_a_change_by_a_forwarded_key_is_its_holders(admin: Admin, channels: Channels, a_name: str) -> None:
    admins = await admin.created(role="admin")
    stub: Any = access_pb2_grpc.AccessServiceStub(channels["webhook.v1.AccessService"])
    forwarded = keys.metadata(SERVICE_KEY, actor="bootstrap", caller_key=admins["key"])
    await stub.CreateTenant(access_pb2.CreateTenantRequest(id=a_name), metadata=forwarded, timeout=60)
    parameters = {"resource_id": a_name}
    answer = await admin.http.get("/api/v1/admin/audit", params=parameters, headers=keys.bearer(ADMIN_KEY))
    assert [entry["actor"] for entry in answer.json()["items"]] == [admins["id"]]
