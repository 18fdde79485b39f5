"""A stack in an environment that is full of other programs' variables."""

import secrets
from pathlib import Path

import httpx

from dev.harness import collector as collectors
from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.receiver import Receiver
from tests.e2e.conftest import ENVIRONMENT

# Nobody listens there.
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
    # Of another Postgres than the embedded one.
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
            async with httpx.AsyncClient(base_url=stack.base_url, timeout=15) as http:
                api = Api(http)
                delivery_id = await api.sent(
                    await api.subscribe(receiver.url("/hook")), traceparent=f"00-{trace_id}-00f067aa0ba902b7-01"
                )
                await api.until(delivery_id, "delivered")
                assert (await http.get("/api/v1/stats")).status_code == httpx.codes.OK
            await collector.wait_for(trace_id, "webhook attempt")
