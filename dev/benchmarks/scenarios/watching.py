"""`watching`: what the live stream costs while somebody looks at it, and while nobody does.

One stack gets 2,000 webhooks a second in slices: while nobody looks, while one reader has a stream of all deliveries
open, and while nobody looks again, which is the control. Each round begins with another one.
"""

import contextlib
import http.client
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, BenchmarkError, Table
from dev.benchmarks.measuring.figures import Figures
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig

RATE = 2000.0
# A machine that cannot do twice of that is measured at half of what it can do, and the result says at what.
SHARE = 0.5
NOBODY, SOMEBODY, CONTROL = "nobody", "somebody", "control"
# Who works for the stream besides Redis.
ROLES = ("gateway", "delivery", "worker")
# The bound, and how far the control may be from 1 so that a difference of that size says something.
MOST = 1.03
NEAR = 1.015
STREAM = "/api/v1/stream?topic=deliveries"
BEGIN_SECONDS = 15.0


class Reader:
    """Somebody who looks: a stream that is opened again when it ends, in a thread of this process."""

    def __init__(self, port: int, api_key: str) -> None:
        self.bytes = 0
        self.began = threading.Event()
        self._port, self._headers = port, {"Authorization": f"Bearer {api_key}"}
        self._stop = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look for as long as the context lasts; from its beginning on, deliveries come."""
        self._thread.start()
        if not self.began.wait(BEGIN_SECONDS):
            raise BenchmarkError("the live stream did not begin")
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(BEGIN_SECONDS)

    def _read(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=BEGIN_SECONDS)
                with contextlib.closing(connection):
                    connection.request("GET", STREAM, headers=self._headers)
                    answer = connection.getresponse()
                    while answer.status == http.client.OK and not self._stop.is_set():
                        read = answer.read1(1 << 16)
                        if not read:
                            break
                        self.bytes += len(read)
                        self.began.set()


def run(bench: Bench) -> Result:
    """Start one stack, and run the slices over it in turn."""
    with rig.running(bench, "watching") as ready:
        paths = ready.webhook_paths()
        rate = min(RATE, SHARE * rig.calibrated(ready, paths))
        order = [NOBODY, SOMEBODY, CONTROL]
        runs: dict[str, list[Figures]] = {name: [] for name in order}
        shown: list[int] = []
        for number in range(bench.options.runs):
            at = number % len(order)
            for name in order[at:] + order[:at]:
                runs[name].append(_slice(ready, paths, rate, name, shown))
    found = [one for of_name in runs.values() for one in of_name]
    return {
        "rate": rate,
        "shown_bytes": shown,
        "lost": sum(one.lost for one in found),
        "somebody": _verdict(runs[SOMEBODY], runs),
        "control": _ratio(runs[CONTROL], runs[NOBODY]),
        **results.of_loads(found),
    }


def _slice(ready: Rig, paths: Sequence[str], rate: float, name: str, shown: list[int]) -> Figures:
    load = ready.open(paths, rate)
    if name != SOMEBODY:
        # Workers look once a second whether somebody watches, and the gate expires some seconds after the last one.
        _wait_until_nobody_looks(ready)
        return ready.measure(name, load)
    reader = Reader(ready.system.port, ready.system.api_key)
    with reader.looking():
        figures = ready.measure(name, load)
    if reader.bytes < figures.delivered:
        raise BenchmarkError("the live stream showed nothing")
    shown.append(reader.bytes)
    return figures


def _wait_until_nobody_looks(ready: Rig) -> None:
    deadline = time.monotonic() + BEGIN_SECONDS
    while ready.stack.somebody_watches():
        if time.monotonic() > deadline:
            raise BenchmarkError("the live stream stays open without anybody who looks")
        time.sleep(0.1)


def _cpu(one: Figures) -> float:
    return sum(one.cpu_ms_per_webhook[role] for role in ROLES)


def _ratio(runs: Sequence[Figures], others: Sequence[Figures]) -> float:
    """Return the median over the rounds of what one costs as a multiple of the other."""
    return round(statistics.median(_cpu(one) / _cpu(other) for one, other in zip(runs, others, strict=True)), 4)


def _verdict(runs: Sequence[Figures], all_runs: dict[str, list[Figures]]) -> dict[str, Any]:
    """Return what somebody who looks costs, and whether that can be told."""
    control, ratio = _ratio(all_runs[CONTROL], all_runs[NOBODY]), _ratio(runs, all_runs[NOBODY])
    tells = 1 / NEAR <= control <= NEAR
    return {"ratio": ratio, "most": MOST, "kept": ratio <= MOST if tells else None}


def _tables(result: Result) -> Sequence[Table]:
    verdict = result["somebody"]
    words = {True: "kept", False: "not kept", None: f"cannot tell (control {result['control']:.3f})"}
    rows = [
        ["gateway, delivery and worker", f"{verdict['ratio']:.3f}", f"{result['control']:.3f}", words[verdict["kept"]]]
    ]
    return [
        results.load_table(f"{result['rate']:,.0f}/s", result["cases"]),
        results.cpu_table(f"{result['rate']:,.0f}/s", result["cases"]),
        Table(
            title="CPU time while somebody looks", columns=("", "to nobody", "control", f"at most {MOST}"), rows=rows
        ),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("watching-cpu", "CPU time of a webhook while somebody looks", result["cases"])]


SCENARIO = Scenario(
    name="watching", what="a live stream that somebody looks at", run=run, tables=_tables, charts=_charts
)
