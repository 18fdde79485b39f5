"""What scenarios make of their runs: JSON, tables, plots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dev.benchmarks import figures
from dev.benchmarks.bench import Bench
from dev.benchmarks.charts import Chart
from dev.benchmarks.figures import Figures
from dev.benchmarks.screen import Table

Result = dict[str, Any]
PROCESSES = (*figures.STACK, "generator", "receiver")
LOAD_COLUMNS = (
    "case",
    "accepted/s",
    "delivered/s",
    "recorded/s",
    "CPU ms",
    "x floor",
    "accept p50",
    "p99 ms",
    "end to end p50",
    "p95",
    "p99 ms",
    "lost",
    "dup.",
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something to measure. `tables` and `charts` show what `run` answered."""

    name: str
    what: str
    run: Callable[[Bench], Result]
    tables: Callable[[Result], Sequence[Table]]
    charts: Callable[[Result], Sequence[Chart]]


def of_loads(runs: Sequence[Figures]) -> Result:
    """The medians of each case, in the order in which they came, and every run."""
    cases = dict.fromkeys(run.case for run in runs)
    return {
        "cases": {case: figures.medians([run for run in runs if run.case == case]) for case in cases},
        "runs": figures.plain(runs),
    }


def load_table(title: str, cases: Mapping[str, Any]) -> Table:
    """A row for each case."""
    return Table(title=title, columns=LOAD_COLUMNS, rows=[_load_row(case, found) for case, found in cases.items()])


def cpu_table(title: str, cases: Mapping[str, Any]) -> Table:
    """CPU milliseconds per webhook: a row for each process, a column for each case."""
    names = [*PROCESSES, "stack"]
    rows = [[name, *(f"{found['cpu_ms_per_webhook'][name]:.3f}" for found in cases.values())] for name in names]
    return Table(title=f"{title}: CPU ms per webhook", columns=("process", *cases), rows=rows)


def cpu_chart(name: str, title: str, cases: Mapping[str, Any]) -> Chart:
    """CPU milliseconds per webhook: a bar for each case, of a piece for each process."""
    series = {process: [found["cpu_ms_per_webhook"][process] for found in cases.values()] for process in PROCESSES}
    return Chart(name=name, title=title, unit="CPU ms per webhook", categories=list(cases), series=series, stacked=True)


def rate_chart(name: str, title: str, cases: Mapping[str, Any], rates: Mapping[str, str]) -> Chart:
    """Rates: a group of bars for each case; `rates` are labels by key."""
    series = {label: [found[key] for found in cases.values()] for key, label in rates.items()}
    return Chart(name=name, title=title, unit="per second", categories=list(cases), series=series)


def _load_row(case: str, found: Mapping[str, Any]) -> list[str]:
    rates = [f"{found[f'{key}_per_second']:,.0f}" for key in ("accepted", "delivered", "recorded")]
    times = ("accept_p50_ms", "accept_p99_ms", "end_to_end_p50_ms", "end_to_end_p95_ms", "end_to_end_p99_ms")
    return [
        case,
        *rates,
        f"{found['cpu_ms_per_webhook']['stack']:.3f}",
        f"{found['ratio_to_floor']:.1f}",
        *(f"{found[key]:,.1f}" for key in times),
        str(found["lost"]),
        str(found["duplicates"]),
    ]
