"""No process imports what its roles do not use: it costs memory, and time at each start."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.__main__ import ROLES

ROOT = Path(__file__).resolve().parents[3]
# The large packages, and the roles that import them. structlog takes rich where the demo has installed it, and redis
# OpenTelemetry's SDK where tracing is installed: the image has no rich, and tracing is a setting.
USED_BY: Mapping[str, set[str]] = {
    "aiohttp": {"worker"},  # by taskiq, for a middleware that nobody uses here
    "asyncpg": {"ingest", "delivery", "worker", "analytics", "relay"},
    "fastapi": {"gateway", "worker"},  # of a worker by taskiq, which looks for it
    "google.protobuf": {"gateway", "ingest", "delivery", "analytics", "relay"},
    "grpc": {"gateway", "ingest", "delivery", "analytics", "relay"},
    "grpc_reflection.v1alpha.reflection": {"ingest", "delivery", "analytics"},
    "httpx": set(),
    "jsonschema_rs": {"ingest"},
    "opentelemetry.exporter": set(),
    "pycares": {"worker"},
    "redis": {"ingest", "delivery", "worker"},
    "services.platform.tracing.sdk": set(),
    "taskiq": {"worker"},
}
# A process like any other, which names its modules when it is asked to.
PROCESS = """
import sys, threading

def tell():
    sys.stdin.readline()
    print("MODULES", *sys.modules, flush=True)

threading.Thread(target=tell, daemon=True).start()
from services.__main__ import main
main()
"""


@pytest.fixture
def environment(database: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a process with stores."""
    ports = dict.fromkeys(("PORT", "GRPC_PORT", "METRICS_PORT", "DRAIN_SECONDS"), "0")
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database,
        "OUTBOX_DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(tmp_path),
        **ports,
    }


def modules(role: str, environment: dict[str, str]) -> set[str]:
    """Return what a process of a role has imported when it has started."""
    command = [sys.executable, "-c", PROCESS, role]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("MODULES "):
                process.terminate()
                return set(line.split()[1:])
            if " started " in line:
                process.stdin.write("\n")
                process.stdin.flush()
    pytest.fail(f"did not start: {''.join(said)}")


@pytest.mark.parametrize("role", ROLES)
def test_a_started_process_has_imported_only_what_its_role_uses(role: str, environment: dict[str, str]) -> None:
    found = modules(role, environment)
    assert "services.platform.process.lifecycle" in found
    assert {name for name in USED_BY if name in found} == {name for name, roles in USED_BY.items() if role in roles}
