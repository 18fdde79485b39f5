"""A method without a row in the role table is refused to everyone, whatever its kind."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, metadata
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.grpc import errors
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc.serving import serving

SERVICE = "webhook.v1.NewService"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def _find(_key: str) -> Identity:
    return identity.BOOTSTRAP


@pytest.fixture
async def served() -> AsyncIterator[tuple[grpc.aio.Channel, list[str]]]:
    """A channel to a server with a method of each kind, and the methods that were called."""
    reached: list[str] = []

    async def answer(_request: object, _context: object) -> bytes:
        reached.append("one")
        return b""

    async def stream(_request: object, _context: object) -> AsyncIterator[bytes]:
        reached.append("many")
        yield b""

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


async def made(channel: grpc.aio.Channel, kind: str, key: str) -> None:
    """Call the method of this kind, and read its whole response."""
    call: Any = getattr(channel, kind)(f"/{SERVICE}/{kind}")

    async def requests() -> AsyncIterator[bytes]:
        yield b"x"

    sent = requests() if kind.startswith("stream") else b"x"
    answer = call(sent, metadata=metadata(key, actor="bootstrap"), timeout=5)
    if kind.endswith("stream"):
        async for _ in answer:
            pass
    else:
        await answer


@pytest.mark.parametrize("key", [ADMIN_KEY, SERVICE_KEY])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_without_a_row_is_refused(
    served: tuple[grpc.aio.Channel, list[str]], kind: str, key: str
) -> None:
    channel, reached = served
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await made(channel, kind, key)
    refused = errors.from_rpc_error(raised.value)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (refused.reason, refused.message) == ("ROLE_INSUFFICIENT", "this method cannot be called")
    assert reached == []
