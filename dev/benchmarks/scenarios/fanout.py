"""`fanout`: one event to 10 and to 100 subscriptions. Every figure is per delivery, not per event.

The load is a burst: enough events for BURST_PER_SECOND deliveries in every second of the load, sent as fast as they
are accepted. `burst_per_second` is the rate of all deliveries from the first request to the last delivery.
"""

from collections.abc import Sequence

import msgspec

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario

COUNTS = (10, 100)
BURST_PER_SECOND = 5_000
# An event creates many rows, so send few at a time.
CONNECTIONS = 8
HEADLINE = "to 10"
_EVENTS = "/api/v1/events"


def run(bench: Bench) -> Result:
    """Use a separate event type for each number of subscriptions."""
    runs = []
    with rig.running(bench, "fanout") as ready:
        for count in COUNTS:
            ready.stack.subscribe(ready.targets(count), [_event_type(count)])
        ready.warm_up(ready.webhook_paths())
        for _ in range(bench.options.runs):
            for count in COUNTS:
                load = msgspec.structs.replace(
                    ready.closed([_EVENTS]),
                    event_type=_event_type(count),
                    connections=CONNECTIONS,
                    requests=max(1, int(bench.options.seconds * BURST_PER_SECOND / count)),
                )
                runs.append(ready.measure(f"to {count}", load, fan_out=count))
    found = results.of_loads(runs)
    headline = found["cases"][HEADLINE]
    return {
        "deliveries_per_second": headline["burst_per_second"],
        "cpu_ms_per_delivery": headline["cpu_ms_per_webhook"],
        "lost": sum(run.lost for run in runs),
        "duplicates": sum(run.duplicates for run in runs),
        **found,
    }


def _event_type(count: int) -> str:
    return f"benchmark.fan_out_{count}"


def _tables(result: Result) -> Sequence[Table]:
    rows = [
        [case, f"{found['burst_per_second']:,.0f}", f"{found['cpu_ms_per_webhook']['stack']:.3f}", str(found["lost"])]
        for case, found in result["cases"].items()
    ]
    table = Table(title="fan-out", columns=("case", "deliveries/s", "CPU ms each", "lost"), rows=rows)
    return [table, results.cpu_table("fan-out", result["cases"])]


def _charts(result: Result) -> Sequence[Chart]:
    cases = result["cases"]
    return [
        results.cpu_chart("fanout-cpu", "CPU time of a delivery of a fan-out, by process", cases),
        results.rate_chart(
            "fanout-rates", "Deliveries a second of a fan-out", cases, {"burst_per_second": "deliveries"}
        ),
    ]


SCENARIO = Scenario(name="fanout", what="one event to many subscriptions", run=run, tables=_tables, charts=_charts)
