"""A gateway imports no store drivers, because it has no stores."""

import subprocess
import sys

FORBIDDEN = ("asyncpg", "redis", "taskiq", "cryptography", "opentelemetry.sdk")
SERVED = """
import asyncio, sys
from services.gateway.__main__ import serve
from services.gateway.settings import GatewaySettings
from services.platform.process.lifecycle import Process

async def main() -> None:
    process = Process("gateway")
    async with serve(process, GatewaySettings(port=0, metrics_port=0, env="development")):
        print(*sys.modules)
    await process.cancel_all()

asyncio.run(main())
"""


def test_a_gateway_that_serves_without_tls_imports_no_store_and_no_cryptography() -> None:
    served = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, timeout=60, check=False)
    assert served.returncode == 0, served.stderr
    modules = set(served.stdout.splitlines()[-1].split())
    assert "services.gateway.app" in modules
    assert modules.isdisjoint(FORBIDDEN)
