"""What `helm test` runs, against a stack that delivers without Redis."""

import asyncio
import os
import sys
from pathlib import Path

from dev.harness import keys
from dev.harness import stack as stacks

SCRIPT = Path(__file__).resolve().parents[2] / "charts/webhook-service/files/smoke.py"


async def test_an_installation_without_redis_delivers_and_fails_the_test_with_the_reason(
    short_folder: Path, free_port: int
) -> None:
    environment = {**keys.ENVIRONMENT, "REDIS_URL": "redis://127.0.0.1:9/0"}
    with stacks.running(short_folder / "smoke", environment=environment) as stack:
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
        output, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert output.decode().splitlines()[-1] == "delivered"
    line = error.decode().splitlines()[-1]
    assert line.startswith("delivered, but degraded: ")
    assert line.count("redis: StoreAway: Connection refused") == 2
