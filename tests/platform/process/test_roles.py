"""Several roles in one process: start, stop, and what they share."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.platform.http import server
from services.platform.process import lifecycle, logs
from services.platform.process.lifecycle import Process, Role, StartError
from services.platform.process.whole import Whole
from services.platform.tracing.settings import TracingSettings

SETTINGS = TracingSettings(shutdown_grace_seconds=5.0, _env_file=None)


class Stage:
    """Takes down what roles do."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.whole = Whole(("first", "second", "third"))
        self.listener: socket.socket = server.bind("127.0.0.1", 0)

    def role(self, name: str, *, called: bool = False, fails: Callable[[], BaseException] | None = None) -> Role:
        """Return a role that says what is done with it."""

        @contextlib.asynccontextmanager
        async def serve(process: Process, _: Any) -> AsyncIterator[None]:
            if fails is not None:
                raise fails()
            self.said.append(f"{name} starts as {logs.ROLE.get()}")
            yield
            self.said.append(f"{name} stops")
            await asyncio.sleep(0.01)
            self.said.append(f"{name} has stopped")

        return Role(name=name, settings=TracingSettings, serve=serve, called=called)

    async def run(self, *roles: Role) -> int:
        """Run a process of these roles."""
        running = [lifecycle._Running(role, SETTINGS, self.whole) for role in roles]
        return await lifecycle._run(self.whole, running, self.listener)


async def test_roles_that_are_called_stop_after_those_that_call() -> None:
    stage = Stage()

    async def stop_once_all_run() -> None:
        await wait_until(lambda: len(stage.said) == 3, what="all to start")
        stage.whole.request_stop()

    stopping = asyncio.create_task(stop_once_all_run())
    assert await stage.run(stage.role("first", called=True), stage.role("second"), stage.role("third")) == 0
    await stopping
    assert stage.said[:3] == [f"{name} starts as {name}" for name in ("first", "second", "third")]
    assert stage.said.index("first stops") > stage.said.index("second has stopped")
    assert stage.said.index("first stops") > stage.said.index("third has stopped")
    assert stage.said.index("third stops") < stage.said.index("second has stopped")


async def test_a_role_that_cannot_start_ends_the_process_and_the_others_are_taken_down() -> None:
    stage = Stage()
    wrong = stage.role("second", fails=lambda: StartError("the keys are wrong"))
    assert await stage.run(stage.role("first", called=True), wrong) == 1
    assert stage.said == ["first starts as first", "first stops", "first has stopped"]


async def test_a_role_that_exits_at_its_start_ends_the_process_with_its_line() -> None:
    stage = Stage()
    with pytest.raises(SystemExit, match="port 80 is taken"):
        await stage.run(stage.role("first"), stage.role("second", fails=lambda: SystemExit("port 80 is taken")))
    assert "first has stopped" in stage.said


async def test_readiness_names_the_role_and_what_is_of_the_process_once() -> None:
    whole = Whole(("first", "second"))
    first, second = Process("first", whole=whole), Process("second", whole=whole)

    async def away() -> None:
        raise RuntimeError("away")

    first.health.add_readiness("store", away)
    second.health.add_optional("store", away)
    assert await whole.health.state() == ({"first.store": "RuntimeError: away"}, {"second.store": "RuntimeError: away"})
    first.spawn("loop", asyncio.sleep(0))
    await whole.stop_requested.wait()
    assert await whole.health.alive() == {"background_tasks": "RuntimeError: loop died"}
    whole.health.stop()
    failures, _ = await whole.health.state()
    assert failures == {"process": "is stopping"}


async def test_what_roles_share_is_opened_once_and_closed_by_the_last() -> None:
    whole, said = Whole(("first", "second")), []

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[object]:
        said.append(f"opened as {logs.ROLE.get()}")
        await asyncio.sleep(0.01)
        yield said
        said.append("closed")

    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        found = await asyncio.gather(*(each.enter_async_context(whole.share("it", opened)) for each in (first, second)))
        assert found[0] is found[1]
        await first.aclose()
        assert said == ["opened as first+second"]
        await second.aclose()
    assert said == ["opened as first+second", "closed"]
    async with whole.share("it", opened):
        assert len(said) == 3


async def test_the_time_to_stop_is_one_for_all_roles() -> None:
    whole = Whole(("first", "second"))
    first, second = Process("first", whole=whole), Process("second", whole=whole)
    assert first.seconds_to_stop(5.0) == pytest.approx(5.0, abs=0.5)
    await asyncio.sleep(0.05)
    assert second.seconds_to_stop(60.0) < 5.0
