"""The addresses that servers listen on: both IP families in production, and the effect of BIND_HOST."""

import asyncio
import contextlib
import socket

import pytest

from dev.embedded.ports import free_port
from services.platform.http import server as http_server
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc.serving import serving

IPV4, IPV6 = "127.0.0.1", "::1"
BOUND = [
    ({"env": "production"}, {IPV4, IPV6}),
    ({"bind_host": "::"}, {IPV4, IPV6}),
    ({"bind_host": "127.0.0.1"}, {IPV4}),
    ({"bind_host": "::1"}, {IPV6}),
    ({"bind_host": "[::1]"}, {IPV6}),
    ({"env": "development"}, {IPV4}),
]

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


async def _reached(port: int) -> set[str]:
    reached = set()
    for host in (IPV4, IPV6):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            reached.add(host)
    return reached


# gRPC uses both families for "0.0.0.0".
@pytest.mark.parametrize(("variables", "reached"), [*BOUND, ({"bind_host": "0.0.0.0"}, {IPV4})])
async def test_http(variables: dict[str, str], reached: set[str]) -> None:
    settings = GrpcServerSettings(auth_required=False, **variables)  # type: ignore[arg-type]
    with contextlib.closing(http_server.bind(settings.host, 0)) as listener:
        assert await _reached(listener.getsockname()[1]) == reached


@pytest.mark.parametrize(("variables", "reached"), BOUND)
async def test_grpc(variables: dict[str, str], reached: set[str]) -> None:
    # Not port 0: gRPC would use different ports if the families cannot have the same.
    settings = GrpcServerSettings(auth_required=False, grpc_port=free_port(), **variables)  # type: ignore[arg-type]
    async with serving(settings) as port:
        assert await _reached(port) == reached
