"""Background tasks have an owner, and roles of one process start and stop together."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from services.platform.process.lifecycle import Process


async def _fails() -> None:
    raise RuntimeError("broken")


async def _ends() -> None:
    return


async def _runs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("loop", [_fails, _ends])
async def test_a_background_task_that_ends_unexpectedly_ends_the_process(loop: object) -> None:
    process = Process("test")
    process.spawn("loop", loop())  # type: ignore[operator]
    async with asyncio.timeout(60):
        await process.stop_requested.wait()
    assert process.failed
    assert await process.health.alive() == {"background_tasks": "RuntimeError: loop died"}


async def test_draining_is_logged_and_lasts_until_a_second_signal() -> None:
    process = Process("test")
    told: list[bool] = []
    process.on_drain(lambda: told.append(process.health.stopping))
    process.request_stop()
    draining = asyncio.create_task(process.drain(600))
    await asyncio.sleep(0.01)
    assert told == [True]
    assert not draining.done()
    assert await process.health.ready() == {"process": "is stopping"}
    process.request_stop()
    await asyncio.wait_for(draining, 60)


async def test_a_process_that_is_broken_does_not_drain() -> None:
    process = Process("test")
    process.spawn("loop", _fails())
    await process.stop_requested.wait()
    await asyncio.wait_for(process.drain(600), 60)


async def test_a_background_task_that_its_owner_ends_is_not_a_failure() -> None:
    process = Process("test")
    first, second = process.spawn("first", _runs()), process.spawn("second", _runs())
    await process.cancel(first)
    assert first.cancelled()
    await process.cancel_all()
    assert second.cancelled()
    assert not process.failed
    assert not process.stop_requested.is_set()
    assert await process.health.alive() == {}


# -- roles of one process --

# Its arguments are roles, each with how it starts. A called one comes first, so that the order is not that of stopping.
PROGRAM = """
import asyncio, contextlib, sys
from services.platform.process import lifecycle
from services.platform.tracing.settings import TracingSettings

def tell(*words):
    print("TOLD", *words, flush=True)

@contextlib.asynccontextmanager
async def opened():
    tell("opened")
    yield "shared"
    tell("closed")

def role(name, start):
    @contextlib.asynccontextmanager
    async def serve(process, settings):
        async with process.whole.share("something", opened) as shared:
            if start == "waits":
                tell(name, "waits")
                await process.stop_requested.wait()
            elif start == "cannot":
                raise lifecycle.StartError("it cannot start")
            elif start == "exits":
                raise SystemExit("it exits")
            elif start == "breaks":
                raise RuntimeError("it broke")
            tell(name, "serves", shared)
            try:
                yield
            finally:
                await asyncio.sleep(0.05)
                tell(name, "ended")
    return lifecycle.Role(name=name, settings=TracingSettings, serve=serve, called=name.startswith("called"))

lifecycle.run(*(role(*argument.split("=")) for argument in sys.argv[1:]))
"""


@contextmanager
def _running(*roles: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a process of these roles."""
    environment = os.environ | {"METRICS_PORT": "0", "ENV": "production", "DRAIN_SECONDS": "0"}
    command = [sys.executable, "-c", PROGRAM, *roles]
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        try:
            yield made
        finally:
            made.kill()


def _told(output: str) -> list[str]:
    return [line.removeprefix("TOLD ") for line in output.splitlines() if line.startswith("TOLD ")]


def test_roles_that_others_call_stop_last_and_what_all_share_is_closed_after_them() -> None:
    with _running("called=serves", "front=serves") as process:
        assert process.stdout is not None
        started = next(line for line in process.stdout if '"started"' in line)
        assert '"role": "called+front"' in started
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert _told(output) == ["front ended", "called ended", "closed"]


@pytest.mark.parametrize(
    ("start", "found"), [("cannot", "it cannot start"), ("exits", "it exits"), ("breaks", "RuntimeError: it broke")]
)
def test_a_role_that_cannot_start_ends_the_process_and_takes_the_others_down(start: str, found: str) -> None:
    with _running("called=serves", "waiting=waits", f"front={start}") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert found in output + errors
    told = _told(output)
    assert (told[0], told[-1]) == ("opened", "closed")
    assert {"called ended", "waiting ended"} <= set(told)
    assert told.count("opened") == 1
