"""The gateway as a process."""

import asyncio
import json
import os
import signal
import socket
import sys

import httpx

from dev.embedded import ports
from dev.harness.waiting import wait_until
from services.platform import ids
from tests.gateway.fakes import Services


async def start(**environment: object) -> asyncio.subprocess.Process:
    given = {name: str(value) for name, value in environment.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gateway",
        env=os.environ | {"METRICS_PORT": "0", "BIND_HOST": "127.0.0.1"} | given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_a_port_in_use_is_reported_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start(PORT=port)
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert output.decode().splitlines()[-1] == f"port {port} on 127.0.0.1 is taken by another process"
    assert b"Traceback" not in output


async def test_an_invalid_setting_is_reported_in_one_line() -> None:
    process = await start(PORT="eighty")
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    [line] = output.decode().splitlines()
    assert line.startswith("PORT: ")


async def test_a_request_in_flight_is_answered_before_the_process_ends(free_port: int) -> None:
    services, port = Services(), free_port
    async with services.serving(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        process = await start(PORT=port, INGEST_ADDR=f"127.0.0.1:{services.port}")

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(ready)
        services.delay_seconds = 0.7
        request = asyncio.create_task(
            client.post(f"/api/v1/webhooks/ingest/{ids.new()}", content=b'{"payload": 1}', timeout=60)
        )
        await wait_until(lambda: services.requests)
        process.send_signal(signal.SIGTERM)
        assert (await request).status_code == 202
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    assert b"Traceback" not in output


async def test_public_port_serves_only_livez_of_the_operations_pages_outside_of_development(free_port: int) -> None:
    services = Services()
    async with services.serving(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}", timeout=60) as client:
        process = await start(
            PORT=free_port, ENV="production", AUTH_REQUIRED="false", INGEST_ADDR=f"127.0.0.1:{services.port}"
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while (line := json.loads(await process.stdout.readline()))["event"] != "started":
                    pass
            answer = await client.get("/livez")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            described = (await client.get("/openapi.json")).json()["paths"]
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{line['metrics_port']}", timeout=60
            ) as metrics_port:
                for path in ("/metrics", "/readyz", "/healthz"):
                    assert (await client.get(path)).status_code == 404
                    assert path not in described
                    assert (await metrics_port.get(path)).status_code == 200
        finally:
            process.terminate()
            await process.wait()


async def test_a_gateway_that_drains_answers_and_ends_its_connections(free_port: int) -> None:
    services, port, ops_port = Services(), free_port, ports.free_port()
    path, body = f"/api/v1/webhooks/ingest/{ids.new()}", b'{"payload": 1}'
    async with services.serving(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        addresses = {"PORT": port, "METRICS_PORT": ops_port, "INGEST_ADDR": f"127.0.0.1:{services.port}"}
        process = await start(**addresses, DRAIN_SECONDS=1.5)

        async def readiness() -> int:
            async with httpx.AsyncClient(timeout=60) as fresh:
                try:
                    return (await fresh.get(f"http://127.0.0.1:{ops_port}/readyz")).status_code
                except httpx.TransportError:
                    return 0

        async def is_ready() -> bool:
            return await readiness() == 200

        async def is_draining() -> bool:
            return await readiness() == 503

        await wait_until(is_ready)
        kept = await client.post(path, content=body)
        assert (kept.status_code, kept.headers.get("connection")) == (202, None)
        process.send_signal(signal.SIGTERM)
        await wait_until(is_draining)
        # The first on the kept connection, the second on a new one.
        for _ in range(2):
            answer = await client.post(path, content=body)
            assert (answer.status_code, answer.headers["connection"]) == (202, "close")
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
