"""Each role with each REST operation and gRPC method."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.harness import keys
from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, Admin, bearer
from services.gateway.web import routing
from services.platform import ids
from tests.e2e.access import role_table
from tests.e2e.access.conftest import Channels
from tests.platform.auth.test_auth import methods

GIVEN = ("admin", "write", "ingest", "read", "pull")
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
# Operations without an API key, which take a token in the path.
OPEN = {"POST /api/v1/webhooks/ingest/{subscription_id}/{token}"}
METHODS = {f"/webhook.v1.{method.replace('.', '/')}": who for (_, method), who in role_table.ALLOWED.items()}


@pytest.mark.parametrize("role", GIVEN)
async def test_rest_operations_are_open_only_to_the_roles_in_the_table(
    http: httpx.AsyncClient, admin: Admin, role: str
) -> None:
    key = await admin.key(role=role)
    document = (await http.get("/openapi.json")).json()
    seen = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            if not operation["security"]:
                assert not path.startswith("/api/") or name in OPEN
                continue
            behind = role_table.dotted(routing.method_of(operation["operationId"]) or "")
            allowed = role_table.ALLOWED[name, behind]
            seen.add((name, behind))
            # Nothing has this id, and no body is sent: nothing is created or changed.
            where = path.replace("{tenant_id}", "nobody-of-this-name").replace("{number}", "1")
            for parameter in ("subscription_id", "delivery_id", "event_id", "event_type_id", "key_id", "link_id"):
                where = where.replace(f"{{{parameter}}}", str(ids.new()))
            answer = await http.request(method, where, headers=bearer(key))
            if role in allowed:
                assert answer.status_code not in {401, 403}, (name, answer.text)
                assert answer.status_code < 500, (name, answer.text)
            else:
                assert answer.status_code == 403, (name, answer.text)
                problem = answer.json()
                assert problem["reason"] == "ROLE_INSUFFICIENT"
                assert f"has role {role}" in problem["detail"]
    assert seen == {row for row in role_table.ALLOWED if row[0]}


@pytest.mark.parametrize("role", GIVEN)
async def test_grpc_methods_are_open_only_to_the_roles_in_the_table(
    admin: Admin, channels: Channels, role: str
) -> None:
    assert {f"/{method.containing_service.full_name}/{method.name}" for method in methods()} == set(METHODS)
    key = await admin.key(role=role)
    for method, allowed in METHODS.items():
        code = await keys.code_of(channels[method.split("/")[1]], method, key)
        if role in allowed:
            assert code not in REFUSED, method
        else:
            assert code is grpc.StatusCode.PERMISSION_DENIED, method


async def test_methods_refuse_a_missing_or_bad_key(channels: Channels) -> None:
    for method in METHODS:
        for key in (None, "whk_" + "x" * 43, "x" * 43, SERVICE_KEY + "x"):
            code = await keys.code_of(channels[method.split("/")[1]], method, key, request=b"not a message")
            assert code is grpc.StatusCode.UNAUTHENTICATED, (method, key)


async def test_the_bootstrap_key_is_accepted_by_every_process(channels: Channels) -> None:
    for method, allowed in METHODS.items():
        code = await keys.code_of(channels[method.split("/")[1]], method, ADMIN_KEY)
        assert (code in REFUSED) == (not allowed), method


async def test_health_needs_no_key_and_reflection_does(channels: Channels) -> None:
    for name, channel in channels.items():
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=keys.CALL_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        describe: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")

        async def requests() -> AsyncIterator[bytes]:
            yield b"\x3a\x00"  # list_services

        async for described in describe(requests(), metadata=keys.metadata(ADMIN_KEY), timeout=keys.CALL_SECONDS):
            assert name.encode() in described

        async def no_requests() -> AsyncIterator[bytes]:
            """Send nothing: grpc.aio reports INTERNAL for a message that it writes to a call that was refused."""
            return
            yield b""

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in describe(no_requests(), timeout=keys.CALL_SECONDS):
                pass
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
