"""`backlog`: drain a million waiting deliveries, of one subscription and of a thousand.

First, the rate with an empty queue is measured on the same stack. Then the processes are stopped, the backlog is
written by SQL, and the processes are started again. Deliveries are counted over windows of the same length, one for
each run. If the backlog ends during a window, the window ends with it.
"""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, BenchmarkError, Table
from dev.benchmarks.measuring import cpu, figures, meter
from dev.benchmarks.measuring.cpu import profiling
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig
from dev.benchmarks.stack import SECRET
from dev.harness.load import payloads
from dev.harness.load.messages import Ask, Count, Forget
from dev.harness.load.pipes import Helper
from services.platform import ids

SUBSCRIPTIONS = {"over 1 subscription": 1, "over 1,000 subscriptions": 1000}
FIRST_DELIVERY_SECONDS = 30.0
TICK_SECONDS = 0.1
MEBIBYTE = 1 << 20


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """One window."""

    case: str
    seconds: float
    delivered: int
    delivered_per_second: float
    # With nothing waiting, measured on the same stack just before.
    empty_queue_per_second: float
    drain_ratio: float
    cpu_ms_per_webhook: dict[str, float]
    # CPU of the delivery service, which rings for waiting deliveries, in percent of one core.
    dispatcher_cpu_percent: float
    redis_peak_mb: float


def run(bench: Bench) -> Result:
    """Use a separate stack for each backlog."""
    runs = [window for case, count in SUBSCRIPTIONS.items() for window in _drained(bench, case, count)]
    medians = {case: figures.medians([run for run in runs if run.case == case]) for case in SUBSCRIPTIONS}
    worst = min(medians.values(), key=lambda found: float(found["drain_ratio"]))
    return {
        "backlog": bench.options.backlog,
        # The slower of both.
        **{key: worst[key] for key in ("drain_ratio", "delivered_per_second", "dispatcher_cpu_percent")},
        "redis_peak_mb": max(found["redis_peak_mb"] for found in medians.values()),
        "cases": medians,
        "runs": figures.plain(runs),
    }


def _drained(bench: Bench, case: str, count: int) -> list[Drain]:
    with rig.running(bench, f"backlog-{count}") as ready:
        empty = rig.calibrated(ready, ready.webhook_paths())
        waiting(ready, case, ready.targets(count), ready.receiver)
        return [_window(ready, case, empty) for _ in range(bench.options.runs)]


def waiting(ready: Rig, case: str, targets: Sequence[str], receiver: Helper) -> list[UUID]:
    """Write a backlog to the targets while the processes are stopped, and start them; return the subscriptions.

    Returns when the first delivery reaches the receiver.
    """
    ready.stack.stop()
    subscriptions = _fill(ready, case, targets)
    receiver.ask(Forget(), Count)
    ready.stack.start()
    _wait_for_first(receiver)
    return subscriptions


def _fill(ready: Rig, case: str, targets: Sequence[str]) -> list[UUID]:
    backlog = ready.bench.options.backlog
    ready.bench.screen.say(f"backlog {case}: writing {backlog:,} deliveries")
    subscriptions = [ids.new() for _ in targets]
    ready.store.insert_subscriptions(list(zip(subscriptions, targets, strict=True)), SECRET)
    payload = payloads.template(meter.KILOBYTE)
    with ready.bench.screen.count("writing the backlog", backlog) as made:
        ready.store.insert_backlog(backlog, subscriptions, payload, on_made=made)
    ready.store.settle()
    return subscriptions


def _wait_for_first(receiver: Helper) -> None:
    deadline = time.monotonic() + FIRST_DELIVERY_SECONDS
    while not receiver.ask(Ask(), Count).deliveries:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"nothing of the backlog was delivered within {FIRST_DELIVERY_SECONDS:g} s")
        time.sleep(TICK_SECONDS)


def _window(ready: Rig, case: str, empty: float) -> Drain:
    bench = ready.bench
    trees = ready.trees()
    before, used, began = ready.deliveries(), cpu.seconds(trees), time.monotonic()
    with (
        bench.screen.step(f"draining {case}", bench.options.seconds) as tick,
        profiling(bench, ready.stack.trees(), bench.options.seconds),
    ):
        while time.monotonic() - began < bench.options.seconds and ready.deliveries() < bench.options.backlog:
            time.sleep(TICK_SECONDS)
            tick()
    delivered, seconds = ready.deliveries() - before, time.monotonic() - began
    spent = cpu.difference(cpu.seconds(trees), used)
    ready.stack.check()
    cpu_ms = figures.cpu_ms(spent, delivered)
    rate = delivered / seconds
    bench.screen.say(
        f"  {case}: {rate:,.0f}/s, {rate / empty:.0%} of {empty:,.0f}/s, {cpu_ms['stack']:.3f} CPU ms each"
    )
    return Drain(
        case=case,
        seconds=seconds,
        delivered=delivered,
        delivered_per_second=rate,
        empty_queue_per_second=empty,
        drain_ratio=rate / empty,
        cpu_ms_per_webhook=cpu_ms,
        dispatcher_cpu_percent=100 * spent["delivery"] / seconds,
        redis_peak_mb=ready.stack.redis_peak_bytes() / MEBIBYTE,
    )


def _tables(result: Result) -> Sequence[Table]:
    columns = ("case", "drained/s", "empty queue/s", "ratio", "CPU ms", "dispatcher % of a core", "Redis peak MiB")
    rows = [_row(case, found) for case, found in result["cases"].items()]
    return [Table(title=f"backlog of {result['backlog']:,}", columns=columns, rows=rows)]


def _row(case: str, found: dict[str, Any]) -> list[str]:
    return [
        case,
        f"{found['delivered_per_second']:,.0f}",
        f"{found['empty_queue_per_second']:,.0f}",
        f"{found['drain_ratio']:.2f}",
        f"{found['cpu_ms_per_webhook']['stack']:.3f}",
        f"{found['dispatcher_cpu_percent']:.1f}",
        f"{found['redis_peak_mb']:.1f}",
    ]


def _charts(result: Result) -> Sequence[Chart]:
    cases, title = result["cases"], f"Draining {result['backlog']:,} waiting deliveries"
    rates = {"empty_queue_per_second": "empty queue", "delivered_per_second": "drained"}
    return [
        results.rate_chart("backlog-rates", title, cases, rates),
        results.cpu_chart("backlog-cpu", title, cases),
    ]


SCENARIO = Scenario(name="backlog", what="a million deliveries that wait", run=run, tables=_tables, charts=_charts)
