"""`scheduled`: what scheduled events cost while they wait, and how late 1,000 a second are that become due.

A million events that are due in a week wait first: the CPU time of the processes, with none and with all of them. Then
events are written that become due at a steady rate while these still wait. How late a delivery is counts from when its
event was due until its first attempt began.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from dev.benchmarks import rig
from dev.benchmarks.bench import Bench, BenchmarkError, Table
from dev.benchmarks.measuring import cpu, figures, meter
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig
from dev.harness.load import payloads
from dev.harness.load.messages import Count, Forget

RATE_PER_SECOND = 1_000
EVENT_TYPE = "benchmark.scheduled"
WEEK_SECONDS = 7.0 * 86_400
NOTICED_SECONDS = 65.0
# Before the first is due, so that writing them is over.
LEAD_SECONDS = 15.0
DRAIN_SECONDS = 60.0
TICK_SECONDS = 0.2


def run(bench: Bench) -> Result:
    """Use one stack."""
    with rig.running(bench, "scheduled") as ready:
        ready.warm_up(ready.webhook_paths())
        ready.stack.subscribe(ready.targets(), [EVENT_TYPE])
        idle = {"none wait": _idle(ready)}
        bench.screen.say(f"scheduled: writing {bench.options.backlog:,} events")
        payload = payloads.template(meter.KILOBYTE)
        ready.store.insert_scheduled(bench.options.backlog, WEEK_SECONDS, WEEK_SECONDS, EVENT_TYPE, payload)
        ready.store.settle()
        # Nobody is told of what is written by SQL: it is found by the look that comes in a minute.
        time.sleep(NOTICED_SECONDS)
        idle["all wait"] = _idle(ready)
        runs = [_due(ready, payload) for _ in range(bench.options.runs)]
    return {
        "waiting": bench.options.backlog,
        "idle": idle,
        "late_p50_ms": statistics.median([run["p50_ms"] for run in runs]),
        "late_p99_ms": statistics.median([run["p99_ms"] for run in runs]),
        "late_max_ms": max(run["max_ms"] for run in runs),
        "early": sum(run["early"] for run in runs),
        "lost": sum(run["lost"] for run in runs),
        "runs": runs,
    }


def _idle(ready: Rig) -> dict[str, float]:
    """Return the CPU time of each process in a second of doing nothing, in ms."""
    seconds = ready.bench.options.seconds
    trees = ready.trees()
    used = cpu.seconds(trees)
    time.sleep(seconds)
    return {name: 1000 * spent / seconds for name, spent in cpu.difference(cpu.seconds(trees), used).items()}


def _due(ready: Rig, payload: payloads.Template) -> dict[str, Any]:
    """Have events become due at the rate, and return how late their deliveries are."""
    seconds = ready.bench.options.seconds
    count = int(RATE_PER_SECOND * seconds)
    ready.receiver.ask(Forget(), Count)
    began = time.time()
    ready.store.insert_scheduled(count, seconds, LEAD_SECONDS, EVENT_TYPE, payload)
    trees, used = ready.trees(), dict[str, float]()
    deadline = began + LEAD_SECONDS + seconds + DRAIN_SECONDS
    while ready.deliveries() < count or ready.store.unfinished():
        if not used and time.time() > began + LEAD_SECONDS:
            used = cpu.seconds(trees)
        if time.time() > deadline:
            raise BenchmarkError(f"{ready.deliveries():,} of {count:,} scheduled events were delivered in time")
        time.sleep(TICK_SECONDS)
    spent = cpu.difference(cpu.seconds(trees), used)
    ready.stack.check()
    row = ready.store.lateness(began, EVENT_TYPE)
    found = {name: row[name] for name in ("p50_ms", "p99_ms", "max_ms", "early")}
    cpu_ms = figures.cpu_ms(spent, count)
    ready.bench.screen.say(
        f"  due: p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms late, {cpu_ms['stack']:.3f} CPU ms each"
    )
    return {**found, "lost": count - row["attempted"], "cpu_ms_per_webhook": cpu_ms}


def _tables(result: Result) -> Sequence[Table]:
    waiting = f"{result['waiting']:,} events that are due in a week"
    names = list(result["idle"]["none wait"])
    idle = [[case, *(f"{found[name]:.1f}" for name in names)] for case, found in result["idle"].items()]
    late = [f"{result[f'late_{name}_ms']:,.0f}" for name in ("p50", "p99", "max")]
    return [
        Table(title=f"CPU ms in a second, while nothing is due; {waiting}", columns=("case", *names), rows=idle),
        Table(
            title=f"{RATE_PER_SECOND:,} due a second, while {result['waiting']:,} others wait",
            columns=("", "late p50 ms", "p99 ms", "max ms", "early", "lost"),
            rows=[["deliveries", *late, str(result["early"]), str(result["lost"])]],
        ),
    ]


def _charts(result: Result) -> Sequence[Chart]:  # noqa: ARG001 - three numbers need no chart
    return []


SCENARIO = Scenario(name="scheduled", what="events that become due later", run=run, tables=_tables, charts=_charts)
