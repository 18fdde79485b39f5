"""The service to show: the one that runs on PORT, or one of the demo's own, started and stopped by it."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from dev.demo.client import DemoError
from dev.embedded import last_lines, ports

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 60.0
# The stack itself takes at most 10 s.
STOP_TIMEOUT_SECONDS = 12.0
POLL_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 1.5
# Of the API, by which the demo knows the service.
TITLE = "Webhook delivery service"
# Of the caller's environment; its settings, and its .env, are not for a stack that lives for seconds.
PASSED_ON = ("HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# The default of 5 s is right for production and long for somebody who watches. Said on the screen.
RETRY_BASE_SECONDS = 1


async def is_ours(base_url: str) -> bool:
    """Whether the gateway of this service answers there, and is alive."""
    try:
        async with httpx.AsyncClient(base_url=base_url, timeout=PROBE_TIMEOUT_SECONDS, trust_env=False) as http:
            # Any server may have a /livez; none but our gateway has this title.
            alive, described = await http.get("/livez"), await http.get("/openapi.json")
            return alive.is_success and described.is_success and described.json()["info"]["title"] == TITLE
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return False


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[str]:
    """A stack on a free port with its data in a temporary folder; the URL of its gateway. All gone with the context."""
    folder = Path(tempfile.mkdtemp(prefix="webhook-demo-"))
    log_path = folder / "stack.log"
    try:
        try:
            port = ports.free_port()
            process = await _launch(folder, port, log_path)
        except OSError as error:
            raise DemoError(f"no stack can be started: {error}") from error
        try:
            base_url = f"http://127.0.0.1:{port}"
            await _until_ready(process, base_url, log_path)
            yield base_url
        finally:
            await _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _launch(folder: Path, port: int, log_path: Path) -> asyncio.subprocess.Process:
    environment = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(folder / "data"),
        "PORT": str(port),
        "RETRY_BASE_SECONDS": str(RETRY_BASE_SECONDS),
    }
    with log_path.open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dev.local"),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the demo, which then stops the stack.
            start_new_session=True,
        )


async def _until_ready(process: asyncio.subprocess.Process, base_url: str, log_path: Path) -> None:
    try:
        async with (
            asyncio.timeout(START_TIMEOUT_SECONDS),
            httpx.AsyncClient(base_url=base_url, timeout=PROBE_TIMEOUT_SECONDS, trust_env=False) as http,
        ):
            while process.returncode is None:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get("/readyz")
                    # A gateway is ready before it has reached the services behind it.
                    if answer.is_success and "degraded" not in answer.json():
                        return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise DemoError(f"the stack was not ready within {START_TIMEOUT_SECONDS:g} s; {_end(log_path)}") from None
    raise DemoError(f"the stack did not start; {_end(log_path)}")


def _end(log_path: Path) -> str:
    return "its last words: " + " / ".join(line.strip() for line in last_lines(log_path, 3))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        # What it leaves, its guard ends.
        process.kill()
        await process.wait()
