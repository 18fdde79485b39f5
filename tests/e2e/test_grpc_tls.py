"""The whole service with mutual TLS between its processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.harness import certificates
from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.certificates import Issued
from dev.harness.receiver import Receiver
from dev.harness.stack import Stack

ROLES = ("ingest", "delivery", "analytics")


@pytest.fixture(scope="module")
def authority() -> Issued:
    return certificates.authority()


@pytest.fixture(scope="module")
def secured(short_folder: Path, authority: Issued) -> Iterator[Stack]:
    """A stack whose processes have a certificate."""
    files = certificates.grpc_files(certificates.of_process(authority, "webhook"), short_folder / "tls", authority.pem)
    with stacks.running(short_folder / "secured", environment=files) as running:
        yield running


async def test_a_webhook_goes_through_and_is_looked_up(secured: Stack, receiver: Receiver) -> None:
    async with httpx.AsyncClient(base_url=secured.base_url, timeout=15) as http:
        api = Api(http)
        subscription = await api.subscribe(receiver.url())
        await api.until(await api.sent(subscription), "delivered")
        assert (await http.get(f"/api/v1/subscriptions/{subscription}/stats")).status_code == 200
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        gateway = (await http.get("/metrics")).text
    (line,) = (line for line in gateway.splitlines() if line.startswith("webhook_grpc_certificate_not_after"))
    assert float(line.split()[1]) > 0


@pytest.mark.parametrize("role", ROLES)
def test_servers_take_nobody_without_a_certificate(secured: Stack, authority: Issued, role: str) -> None:
    address = f"127.0.0.1:{secured.ports[role]}"
    shown = authority.issue("operator")
    root = authority.pem.encode()
    credentials = grpc.ssl_channel_credentials(root, shown.key_pem.encode(), shown.pem.encode())
    with grpc.secure_channel(address, credentials) as channel:
        assert _health(channel) == health_pb2.HealthCheckResponse.SERVING
    for refused in (
        grpc.insecure_channel(address),
        grpc.secure_channel(address, grpc.ssl_channel_credentials(root)),
    ):
        with refused as channel, pytest.raises(grpc.RpcError) as caught:
            _health(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def _health(channel: grpc.Channel) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    return status
