"""What the slow filters of one tenant cost the accepts of another: on real processes, in slices in turn."""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from dev.harness.stack import Stack
from dev.shape.report import Report

WHAT = "accepts of one tenant while another one has 1,000 slow filters"
FILTERS = 1_000
# None of them matches, so that nothing but their evaluation is measured. One takes a tenth of a millisecond or more.
SLOW = "event.data.items.exists(one, one.name.contains('nothing {number}'))"
ITEMS = 200
SLOW_PER_SECOND, OTHERS_PER_SECOND = 10, 100
ROUNDS, SLICE_SECONDS = 3, 12.0
MOST_RATIO, MOST_MS = 1.5, 250.0
# How far two slices of the same kind may be apart for a ratio to say something.
NEAR = 1.25
NOWHERE = "http://127.0.0.1:9/"
ALONE, BESIDE, CONTROL = "alone", "beside", "control"


def run() -> bool:
    """Run it on a stack of its own, and print what was found."""
    report = Report()
    report.say(WHAT)
    with tempfile.TemporaryDirectory(prefix="shape-") as folder:
        stack = Stack(Path(folder) / "data")
        stack.start()
        try:
            _judge(report, asyncio.run(_run(stack.base_url)))
        finally:
            stack.stop()
    return report.is_good


async def _run(base_url: str) -> dict[str, list[list[float]]]:
    """Return the milliseconds of the accepts of each slice, by its kind."""
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=base_url, timeout=60, limits=limits) as http:
        for tenant_id in ("slow", "other"):
            (await http.post("/api/v1/admin/tenants", json={"id": tenant_id})).raise_for_status()
        for number in range(FILTERS):
            body = {"target_url": NOWHERE, "filter": SLOW.format(number=number)}
            made = await http.post("/api/v1/subscriptions", json=body, headers={"X-Tenant": "slow"})
            made.raise_for_status()
        await _accepts(http, SLICE_SECONDS, beside=True)  # a warm-up
        order = [ALONE, BESIDE, CONTROL]
        took: dict[str, list[list[float]]] = {name: [] for name in order}
        for number in range(ROUNDS):
            for name in order[number % 3 :] + order[: number % 3]:
                took[name].append(await _accepts(http, SLICE_SECONDS, beside=name == BESIDE))
    return took


async def _accepts(http: httpx.AsyncClient, seconds: float, *, beside: bool) -> list[float]:
    """Return the milliseconds of each accept of the other tenant, counted from when it was due."""
    slow = {"event_type": "a", "payload": {"items": [{"name": f"item {number}"} for number in range(ITEMS)]}}
    plain = {"event_type": "a", "payload": {"items": [{"name": "one"}]}}
    async with asyncio.TaskGroup() as group:
        if beside:
            group.create_task(_publish(http, "slow", slow, SLOW_PER_SECOND, seconds))
        others = group.create_task(_publish(http, "other", plain, OTHERS_PER_SECOND, seconds))
    return others.result()


async def _publish(http: httpx.AsyncClient, tenant_id: str, event: object, rate: float, seconds: float) -> list[float]:
    begin, took = time.perf_counter(), []

    async def publish(due_at: float) -> None:
        answer = await http.post("/api/v1/events", json=event, headers={"X-Tenant": tenant_id})
        answer.raise_for_status()
        took.append((time.perf_counter() - due_at) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due_at = begin + number / rate
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            group.create_task(publish(due_at))
    return took


def _judge(report: Report, took: dict[str, list[list[float]]]) -> None:
    p99s = {name: [_p99(one) for one in slices] for name, slices in took.items()}
    longest = {name: max(max(one) for one in slices) for name, slices in took.items()}
    for name, slices in took.items():
        p50 = statistics.median(itertools.chain.from_iterable(slices))
        listed = ", ".join(f"{p99:.1f}" for p99 in p99s[name])
        report.say(f"  {name:<8} p50 {p50:.1f} ms, p99 {listed} ms, longest {longest[name]:.0f} ms")
    ratio, control = _ratio(p99s[BESIDE], p99s[ALONE]), _ratio(p99s[CONTROL], p99s[ALONE])
    tells = 1 / NEAR <= control <= NEAR
    words = "" if tells else ", by which a ratio cannot be told"
    line = f"p99 beside them: {ratio:.2f} times that alone (at most {MOST_RATIO}); control {control:.2f}{words}"
    report.check(line, kept=ratio <= MOST_RATIO or not tells)
    line = f"longest accept beside them: {longest[BESIDE]:.0f} ms (at most {MOST_MS:.0f})"
    report.check(line, kept=longest[BESIDE] <= MOST_MS)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median over the rounds."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))
