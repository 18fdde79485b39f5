"""The sandbox: what takes too much ends alone, and nothing of this process is known there."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from dev.shape import templates
from dev.shape.report import Report
from services.domain.templates import child, sandbox
from services.domain.templates import renderer as renderers
from services.domain.templates.child import Request
from services.domain.templates.renderer import Renderer
from services.domain.templates.sources import Sources
from services.domain.templates.template import Template, TemplateFailed
from tests.domain.templates.test_sources import event

GOOD = Template(source='{"a": {{ event.data.amount }}}', content_type="application/json")


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.close()


def plain(source: str) -> Template:
    return Template(source=source, content_type="text/plain")


async def failure(renderer: Renderer, template: Template, **secrets: str) -> str:
    with pytest.raises(TemplateFailed) as raised:
        await renderer.render(template, event(), secrets)
    return str(raised.value)


async def test_a_source_that_takes_too_much_is_stopped_and_others_are_rendered(renderer: Renderer) -> None:
    assert (await renderer.render(GOOD, event(), {})).body == b'{"a": 12300}'
    assert "it was stopped: it took more than" in await failure(renderer, plain("{{ [1] * 100000000 }}"))
    # Not tried again soon, for others wait meanwhile.
    assert "is tried again after 60 s" in await failure(renderer, plain("{{ [1] * 100000000 }}"))
    made = await asyncio.gather(*(renderer.render(GOOD, event(), {}) for _ in range(20)))
    assert {one.body for one in made} == {b'{"a": 12300}'}


@pytest.mark.parametrize(("cpu_seconds", "asked"), [(0.0, 3), (child.CPU_SECONDS, 1)])
async def test_a_stop_before_its_time_is_not_believed(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch, cpu_seconds: float, asked: int
) -> None:
    requests = []

    async def stopped_twice(request: Request, _: str) -> child.Reply:
        requests.append(request)
        if len(requests) < 3:
            return child.Reply(ended=child.TOO_LONG, cpu_seconds=cpu_seconds)
        return child.Reply(body=b"{}")

    monkeypatch.setattr(renderer._sandbox, "ask", stopped_twice)
    if asked == 1:
        assert "it was stopped" in await failure(renderer, GOOD)
    else:
        assert (await renderer.render(GOOD, event(), {})).body == b"{}"
    assert len(requests) == asked


def test_memory_is_bounded() -> None:
    code = (
        "import mmap; from services.domain.templates import child; limit = child.Limit(mmap.mmap(-1, 16));"
        " limit.begin(60, child.MEMORY_BYTES); bytearray(child.MEMORY_BYTES // 2); bytearray(2 * child.MEMORY_BYTES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr
    assert "MEMORY_BYTES // 2" not in done.stderr.splitlines()[-1]


async def test_a_renderer_survives_the_end_of_its_process_and_of_a_caller(renderer: Renderer) -> None:
    await renderer.render(GOOD, event(), {})
    process = renderer._sandbox._process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    waiting = asyncio.create_task(renderer.render(GOOD, event(), {}))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await renderer.render(GOOD, event(), {})).body == b'{"a": 12300}'


async def test_a_process_that_ends_before_it_is_asked_is_replaced(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = sandbox._started
    started: list[asyncio.subprocess.Process] = []

    async def start_one_that_ends() -> asyncio.subprocess.Process:
        process = await start()
        if not started:
            process.kill()
        started.append(process)
        return process

    monkeypatch.setattr(sandbox, "_started", start_one_that_ends)
    assert (await renderer.render(GOOD, event(), {})).body == b'{"a": 12300}'
    assert len(started) == 2


async def test_no_secret_is_in_an_error(renderer: Renderer) -> None:
    source = plain("{{ secrets.key | nope(secrets.key) }}")
    assert "hunter2" not in await failure(renderer, source, key="hunter2")
    made = await failure(
        renderer, Template(source="{{ secrets.key | safe }}", content_type="application/json"), key="hunter2"
    )
    assert "not JSON" in made
    assert "hunter2" not in made


async def test_a_failure_shows_the_output_apart_from_its_message(renderer: Renderer) -> None:
    """Others read the message with the attempt: it has no data of the event, and no part of a long secret."""
    source = '{"a": "{{ event.data.name }}", "key": {{ secrets.key | safe }}}'
    with pytest.raises(TemplateFailed) as raised:
        await renderer.render(
            Template(source=source, content_type="application/json"), event({"name": "Ann"}), {"key": "hunter2" * 9}
        )
    assert str(raised.value) == "the output is not JSON: invalid character, on line 1 of the output"
    assert "Ann" in raised.value.near


async def test_a_template_that_was_stopped_is_rendered_for_another_tenant(renderer: Renderer) -> None:
    large = plain("{{ [1] * event.data.times }}")
    with pytest.raises(TemplateFailed, match="it was stopped"):
        await renderer.render(large, event({"times": 100_000_000}, tenant_id="acme"), {})
    with pytest.raises(TemplateFailed, match="is tried again"):
        await renderer.render(large, event({"times": 1}, tenant_id="acme"), {})
    assert (await renderer.render(large, event({"times": 1}, tenant_id="other"), {})).body == b"[1]"


async def test_tenants_that_wait_take_turns(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = renderer._sandbox._exchange
    order: list[str] = []

    async def noted(body: bytes) -> child.Reply:
        asked = msgspec.msgpack.decode(body, type=Request).event
        assert asked is not None
        order.append(asked.tenant_id)
        return await exchange(body)

    monkeypatch.setattr(renderer._sandbox, "_exchange", noted)
    monkeypatch.setattr(renderers, "MISTAKEN_STOPS", 1)  # a busy machine may stop one, which is not asked for again
    tenants = [*["many"] * 20, "few", "few", "one"]
    asked = [renderer.render(GOOD, event(tenant_id=tenant_id), {}) for tenant_id in tenants]
    await asyncio.gather(*asked, return_exceptions=True)
    # The first one is asked at once, and then each tenant has a turn before another one has its next.
    assert order[:7] == ["many", "many", "few", "one", "many", "few", "many"]


async def test_the_process_does_not_know_the_environment(monkeypatch: pytest.MonkeyPatch, renderer: Renderer) -> None:
    monkeypatch.setenv("ENCRYPTION_KEYS", "hunter2")
    await renderer.render(GOOD, event(), {})
    process = renderer._sandbox._process
    assert process is not None
    environment = await asyncio.to_thread(_environment, process.pid)
    assert b"hunter2" not in environment


def _environment(pid: int) -> bytes:
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - a file of the system
        return file.read()


async def test_hostile_sources_end_within_their_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """A sample: `make acceptance-shape` has the full count, and looks at the time."""
    report = Report()
    await templates.hostile(report, 3, 40)
    said = capsys.readouterr().out
    assert "40 hostile templates" in said
    assert "FAIL each ended within 32 MiB" not in said


@pytest.mark.parametrize("template", [GOOD, Template(preset="slack")])
def test_a_request_is_answered_in_one_process(template: Template) -> None:
    class Unlimited:
        def begin(self, _seconds: float, _more_bytes: int) -> None: ...

    limit: Any = Unlimited()
    reply = child.answer(Sources(), Request(template=template, event=event()), limit)
    assert reply.body
    assert reply.error is None
