"""The service to show: the one that runs on PORT, or the demo's own, which it starts and stops."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import Field

from dev.demo.client import DemoError
from dev.embedded import last_lines
from dev.harness.stack import Stack
from services.platform.settings import Settings

START_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 5.0
# The title of the API, by which the demo recognizes the service.
TITLE = "Webhook delivery service"
# The default of 5 s is right for production, but long for someone who watches. The screen says so.
RETRY_BASE_SECONDS = 1


class DemoSettings(Settings):
    """Where a running service may be, according to the environment and .env."""

    # The gateway's.
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    # For a running service that requires one: a key with the role write.
    api_key: str = Field("", repr=False)


async def is_ours(base_url: str) -> bool:
    """Return whether the gateway of this service is alive at this URL."""
    try:
        async with httpx.AsyncClient(base_url=base_url, timeout=PROBE_TIMEOUT_SECONDS, trust_env=False) as http:
            # Any server may have a /livez; only our gateway has this title.
            alive, described = await http.get("/livez"), await http.get("/openapi.json")
            return alive.is_success and described.is_success and described.json()["info"]["title"] == TITLE
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return False


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[str]:
    """Run a stack on a free port, with its data in a temporary folder; yield the URL of its gateway."""
    with tempfile.TemporaryDirectory(prefix="webhook-demo-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder) / "data", environment={"RETRY_BASE_SECONDS": str(RETRY_BASE_SECONDS)})
        try:
            stack.launch()
        except OSError as error:
            raise DemoError(f"no stack can be started: {error}") from error
        try:
            await _until_ready(stack)
            yield stack.base_url
        finally:
            with contextlib.suppress(AssertionError):
                await asyncio.to_thread(stack.stop)


async def _until_ready(stack: Stack) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not stack.ready:
        last = " / ".join(line.strip() for line in last_lines(stack.output_path, 3))
        if stack.process.poll() is not None:
            raise DemoError(f"the stack did not start; its last lines: {last}")
        if time.monotonic() > deadline:
            raise DemoError(f"the stack was not ready within {START_TIMEOUT_SECONDS:g} s; its last lines: {last}")
        await asyncio.sleep(POLL_SECONDS)
