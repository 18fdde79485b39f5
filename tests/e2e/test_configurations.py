"""The whole service in other configurations: mutual TLS, a foreign environment, no Redis, large payloads."""

import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.harness import certificates, keys
from dev.harness import collector as collectors
from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.certificates import Issued
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from tests.e2e.conftest import ENVIRONMENT

# The whole service with mutual TLS between its processes.


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
    async with httpx.AsyncClient(base_url=secured.base_url, timeout=60) as http:
        api = Api(http)
        subscription = await api.subscribe(receiver.url())
        await api.until(await api.sent(subscription), "delivered")
        assert (await http.get(f"/api/v1/subscriptions/{subscription}/stats")).status_code == 200
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        gateway = (await http.get("/metrics")).text
    (line,) = (line for line in gateway.splitlines() if line.startswith("webhook_grpc_certificate_not_after"))
    assert float(line.split()[1]) > 0


@pytest.mark.parametrize("role", ROLES)
def test_servers_reject_clients_without_a_certificate(secured: Stack, authority: Issued, role: str) -> None:
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
    status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status
    return status


# A stack in an environment full of other programs' variables.


# Nothing listens there.
DEAD = "http://127.0.0.1:9"
PROXIES = {
    spelling: DEAD
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
    for spelling in (name, name.upper())
}
OTHERS = {
    "no_proxy": "example.com",
    "NO_PROXY": "example.com",
    "WEB_CONCURRENCY": "auto",
    "PROMETHEUS_MULTIPROC_DIR": "/nowhere",
    # Variables of a Postgres other than the embedded one.
    "PGHOST": "postgres.example",
    "PGPORT": "6432",
    "PGSERVICE": "other",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nowhere/ca.crt",
}


async def test_proxies_and_variables_of_libraries_change_nothing(short_folder: Path, receiver: Receiver) -> None:
    trace_id = secrets.token_hex(16)
    async with collectors.collecting() as collector:
        environment = {**ENVIRONMENT, **PROXIES, **OTHERS, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with stacks.running(short_folder / "environment", environment=environment) as stack:
            async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
                api = Api(http)
                delivery_id = await api.sent(
                    await api.subscribe(receiver.url("/hook")), traceparent=f"00-{trace_id}-00f067aa0ba902b7-01"
                )
                await api.until(delivery_id, "delivered")
                assert (await http.get("/api/v1/stats")).status_code == httpx.codes.OK
            await collector.wait_for(trace_id, "webhook attempt")


# The script of `helm test`, on a stack without Redis.


SCRIPT = Path(__file__).resolve().parents[2] / "charts/webhook-service/files/smoke.py"


async def test_an_installation_without_redis_delivers_and_fails_the_test_with_the_reason(
    short_folder: Path, free_port: int
) -> None:
    environment = {**keys.ENVIRONMENT, "REDIS_URL": "redis://127.0.0.1:9/0"}
    with stacks.running(short_folder / "smoke", environment=environment, processes="one") as stack:
        metrics = stack.ports["metrics"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            env={
                "PATH": os.environ["PATH"],
                "GATEWAY_URL": stack.base_url,
                "RECEIVER_URL": f"http://127.0.0.1:{free_port}/",
                "RECEIVER_PORT": str(free_port),
                "READINESS_URLS": " ".join(
                    f"http://127.0.0.1:{metrics[role]}/readyz" for role in ("ingest", "delivery")
                ),
                "ADMIN_KEY": keys.ADMIN_KEY,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, error = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 1
    assert output.decode().splitlines()[-1] == "delivered"
    line = error.decode().splitlines()[-1]
    assert line.startswith("delivered, but degraded: ")
    assert line.count("redis: StoreAway: Connection refused") >= 2


# A target that must show that it wants webhooks.


async def test_target_gets_what_waits_once_it_has_echoed_a_challenge(short_folder: Path, receiver: Receiver) -> None:
    environment = {**ENVIRONMENT, "ENDPOINT_VERIFICATION": "echo"}
    with stacks.running(short_folder / "verified", environment=environment, processes="one") as stack:
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
            api = Api(http)
            subscription = await api.subscribe(receiver.url())
            delivery_id = await api.sent(subscription)
            path = f"/api/v1/subscriptions/{subscription}"

            async def refused() -> str | None:
                error: str | None = (await http.get(path)).json()["check_error"]
                return error

            await wait_until(refused, what="the first challenge to fail")
            assert (await api.delivery(delivery_id))["held_by"] == "unverified"
            receiver.script(then=Reply(body=lambda body: json.loads(body).get("challenge", "").encode()))
            answer = await http.post(f"{path}/verify")
            assert (answer.status_code, answer.json()["status"]) == (200, "unverified")
            await api.until(delivery_id, "delivered")
            assert (await http.get(path)).json()["status"] == "active"


# Payloads of MAX_PAYLOAD_BYTES.


MOST = 32 << 20


async def _accepted(http: httpx.AsyncClient, path: str, **request: Any) -> httpx.Response:
    """Send until the event is accepted, as clients do: a busy disk may take longer than a request is given."""

    async def accepted() -> httpx.Response | None:
        answer = await http.post(path, **request)
        if answer.status_code == 202:
            return answer
        # The request before may still be writing after its 503.
        assert answer.status_code == 503 or answer.json()["reason"] == "IDEMPOTENCY_KEY_IN_USE", answer.text
        return None

    found = await wait_until(accepted, what="the event to be accepted")
    assert found is not None
    return found


async def test_the_largest_payload_is_accepted_and_delivered_byte_for_byte(
    short_folder: Path, receiver: Receiver
) -> None:
    environment = {"MAX_PAYLOAD_BYTES": str(MOST)}
    body = os.urandom(MOST)
    with stacks.running(short_folder / "large", environment=environment) as stack:
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
            api = Api(http)
            path = f"/api/v1/webhooks/ingest/{await api.subscribe(receiver.url('/hook'))}"
            headers = {"Content-Type": "application/octet-stream"}
            answers = [
                await _accepted(http, path, content=body, headers={**headers, "Idempotency-Key": f"{number}"})
                for number in range(2)
            ]
            for answer in answers:
                await api.until(answer.json()["delivery_id"], "delivered")
            assert (await http.post(path, content=body + b"x", headers=headers)).status_code == 413
    digest = hashlib.sha256(body).digest()
    assert [hashlib.sha256(request.body).digest() for request in receiver.requests] == [digest] * 2
