"""Methods of every kind: one without a row in the role table is refused to everyone, one with a row is served."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, metadata
from dev.harness.waiting import wait_until
from services.platform import errors as platform_errors
from services.platform.auth import identity, roles
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role, Rule, Service
from services.platform.grpc import errors
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc.serving import serving

SERVICE = "webhook.v1.NewService"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


# A refused stream may end before it has sent a message; grpc.aio then reports INTERNAL for the write.
NO_MESSAGE = b""
READ_KEY = "whk_a_key_of_role_read_4f7a1c0000000000"


async def _find(key: str) -> Identity:
    return Identity(tenant_id="acme", role=Role.READ, key_id="0") if key == READ_KEY else identity.BOOTSTRAP


@pytest.fixture
async def served() -> AsyncIterator[tuple[grpc.aio.Channel, list[str]]]:
    """A channel to a server with a method of each kind, and the methods that were called."""
    reached: list[str] = []

    async def sent(request: Any) -> bytes:
        """Return what was sent; for a stream, all of its messages."""
        return request if isinstance(request, bytes) else b"".join([each async for each in request])

    async def answer(request: object, _context: object) -> bytes:
        text = await sent(request)
        reached.append(f"{identity.CALLER.get().tenant_id} sent {text.decode()}")
        if text == b"fail":
            raise platform_errors.NotFound("not here")
        return text.upper()

    async def stream(request: object, context: object) -> AsyncIterator[bytes]:
        yield await answer(request, context)

    made: dict[str, Any] = {
        "unary_unary": grpc.unary_unary_rpc_method_handler(answer),
        "unary_stream": grpc.unary_stream_rpc_method_handler(stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(answer),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream),
    }

    settings = GrpcServerSettings(
        grpc_port=0, auth_required=True, service_key=SERVICE_KEY, bootstrap_admin_key=ADMIN_KEY
    )
    async with (
        serving(settings, grpc.method_handlers_generic_handler(SERVICE, made), find=_find) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel, reached


async def made(channel: grpc.aio.Channel, kind: str, key: str, text: bytes = b"x") -> bytes:
    """Call the method of this kind, and return its answer. A stream with an empty text sends no message."""
    call: Any = getattr(channel, kind)(f"/{SERVICE}/{kind}")

    async def requests() -> AsyncIterator[bytes]:
        if text:
            yield text

    sent = requests() if kind.startswith("stream") else text
    answer = call(sent, metadata=metadata(key, actor="bootstrap"), timeout=60)
    if kind.endswith("stream"):
        return b"".join([each async for each in answer])
    found: bytes = await answer
    return found


@pytest.mark.parametrize("key", [ADMIN_KEY, SERVICE_KEY])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_without_a_row_is_refused(
    served: tuple[grpc.aio.Channel, list[str]], kind: str, key: str
) -> None:
    channel, reached = served
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await made(channel, kind, key, NO_MESSAGE)
    refused = errors.from_rpc_error(raised.value)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (refused.reason, refused.message) == ("ROLE_INSUFFICIENT", "this method cannot be called")
    assert reached == []


@pytest.fixture
def with_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method may be called with a key of role read."""
    rows = {f"/{SERVICE}/{kind}": Rule(Role.READ, Service.ACTOR) for kind in KINDS}
    monkeypatch.setattr(roles, "RULES", {**roles.RULES, **rows})


def counted(kind: str, code: str) -> float:
    labels = {"method": f"/{SERVICE}/{kind}", "code": code}
    return REGISTRY.get_sample_value("webhook_rpc_requests_total", labels) or 0.0


@pytest.mark.usefixtures("with_rows")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_with_a_row_is_served_for_its_caller_and_counted(
    served: tuple[grpc.aio.Channel, list[str]], kind: str
) -> None:
    channel, reached = served
    before = counted(kind, "OK")
    assert await made(channel, kind, READ_KEY) == b"X"
    assert reached == ["acme sent x"]
    await wait_until(lambda: counted(kind, "OK") == before + 1, what="the call to be counted")


@pytest.mark.usefixtures("with_rows")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_any_kind_of_method_becomes_a_status(
    served: tuple[grpc.aio.Channel, list[str]], kind: str
) -> None:
    before = counted(kind, "NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await made(served[0], kind, READ_KEY, b"fail")
    refused = errors.from_rpc_error(raised.value)
    assert (type(refused), refused.message) == (platform_errors.NotFound, "not here")
    await wait_until(lambda: counted(kind, "NOT_FOUND") == before + 1, what="the call to be counted")


@pytest.mark.usefixtures("with_rows")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_of_any_kind_requires_its_role(
    served: tuple[grpc.aio.Channel, list[str]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(roles, "RULES", {f"/{SERVICE}/{kind}": Rule(Role.WRITE, Service.ACTOR)})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await made(served[0], kind, READ_KEY, NO_MESSAGE)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert served[1] == []
