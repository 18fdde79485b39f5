"""The output of scenarios: JSON, tables, plots."""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import figures
from dev.benchmarks.measuring.figures import Figures

WIDTH, HEIGHT = 900, 420
# Nine colors that most people with color blindness can also tell apart (after Paul Tol's "muted").
COLORS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A bar chart: for each category a group of bars, or with `stacked` one bar of pieces."""

    # The name of the file.
    name: str
    title: str
    unit: str
    categories: Sequence[str]
    # A value for each category.
    series: Mapping[str, Sequence[float]]
    stacked: bool = False


def charts_available() -> bool:
    """Return whether pygal is installed; only the extra `bench` contains it."""
    return importlib.util.find_spec("pygal") is not None


def draw_charts(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write each chart to folder/NAME.svg; return the files."""
    import pygal
    from pygal.style import DefaultStyle

    folder.mkdir(parents=True, exist_ok=True)
    # Use no fonts or scripts from other servers: the files are shown in READMEs and offline.
    style = DefaultStyle(
        font_family="sans-serif",
        background="white",
        plot_background="white",
        colors=COLORS,
        opacity="1",
        value_font_size=11,
        guide_stroke_color="#ddd",
        major_guide_stroke_color="#bbb",
    )
    paths = []
    for chart in charts:
        kind = pygal.StackedBar if chart.stacked else pygal.Bar
        drawn = kind(
            title=chart.title,
            y_title=chart.unit,
            width=WIDTH,
            height=HEIGHT,
            style=style,
            js=[],
            legend_at_bottom=len(chart.series) > 1,
            legend_at_bottom_columns=min(len(chart.series), 5),
            show_legend=len(chart.series) > 1,
            print_values=not chart.stacked,
            value_formatter=lambda value: f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}",  # noqa: PLR2004
        )
        drawn.x_labels = list(chart.categories)
        for name, values in chart.series.items():
            drawn.add(name, list(values))
        path = folder / f"{chart.name}.svg"
        path.write_bytes(drawn.render())
        paths.append(path)
    return paths


Result = dict[str, Any]
HEADLINE_KEYS = ("delivered_per_second", "accepted_per_second", "recorded_per_second", "cpu_ms_per_webhook")
LOAD_COLUMNS = (
    "case",
    "accepted/s",
    "delivered/s",
    "recorded/s",
    "CPU ms",
    "accept p50",
    "p99 ms",
    "end to end p50",
    "p95",
    "p99 ms",
    "late p99",
    "samples",
    "lost",
    "dup.",
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something to measure. `tables` and `charts` show the results of `run`."""

    name: str
    what: str
    run: Callable[[Bench], Result]
    tables: Callable[[Result], Sequence[Table]]
    charts: Callable[[Result], Sequence[Chart]]


def of_loads(runs: Sequence[Figures]) -> Result:
    """Return the medians of each case, with the percentiles of all its requests, and every run."""
    cases = dict.fromkeys(run.case for run in runs)
    return {
        "cases": {case: figures.summary([run for run in runs if run.case == case]) for case in cases},
        "runs": figures.plain(runs),
    }


def headlined(runs: Sequence[Figures], headline: str, keys: Iterable[str] = HEADLINE_KEYS) -> Result:
    """Return `of_loads` with the figures of one case, and the losses and duplicates of all runs.

    A median would hide losses and duplicates.
    """
    found = of_loads(runs)
    return {
        **{key: found["cases"][headline][key] for key in keys},
        "lost": sum(run.lost for run in runs),
        "duplicates": sum(run.duplicates for run in runs),
        **found,
    }


def load_table(title: str, cases: Mapping[str, Any]) -> Table:
    """Return a row for each case."""
    return Table(title=title, columns=LOAD_COLUMNS, rows=[_load_row(case, found) for case, found in cases.items()])


def cpu_table(title: str, cases: Mapping[str, Any]) -> Table:
    """Return CPU milliseconds per webhook: a row for each process, a column for each case."""
    rows = [
        [name, *(number(found["cpu_ms_per_webhook"].get(name), 3) for found in cases.values())]
        for name in [*_processes(cases), "stack"]
    ]
    return Table(title=f"{title}: CPU ms per webhook", columns=("process", *cases), rows=rows)


def cpu_chart(name: str, title: str, cases: Mapping[str, Any]) -> Chart:
    """Return CPU milliseconds per webhook: a bar for each case, with a piece for each process."""
    series = {
        process: [found["cpu_ms_per_webhook"].get(process, 0.0) for found in cases.values()]
        for process in _processes(cases)
    }
    categories = list(cases)
    return Chart(name=name, title=title, unit="CPU ms per webhook", categories=categories, series=series, stacked=True)


def rate_chart(name: str, title: str, cases: Mapping[str, Any], rates: Mapping[str, str]) -> Chart:
    """Return a group of bars for each case; `rates` are labels by key."""
    series = {label: [found[key] for found in cases.values()] for key, label in rates.items()}
    return Chart(name=name, title=title, unit="per second", categories=list(cases), series=series)


def number(value: float | None, digits: int = 1) -> str:
    """Return a cell of a table; a dash for what was not measured or is of too few samples."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _processes(cases: Mapping[str, Any]) -> list[str]:
    """Return the names of all processes, in order of arrival, the ends of the load last."""
    names = dict.fromkeys(name for found in cases.values() for name in found["cpu_ms_per_webhook"])
    return [*(name for name in names if name not in (*figures.ENDS, "stack")), *figures.ENDS]


def _load_row(case: str, found: Mapping[str, Any]) -> list[str]:
    rates = [f"{found[f'{key}_per_second']:,.0f}" for key in ("accepted", "delivered", "recorded")]
    times = (
        "accept_p50_ms",
        "accept_p99_ms",
        "end_to_end_p50_ms",
        "end_to_end_p95_ms",
        "end_to_end_p99_ms",
        "late_p99_ms",
    )
    return [
        case,
        *rates,
        f"{found['cpu_ms_per_webhook']['stack']:.3f}",
        *(number(found[key]) for key in times),
        f"{found['samples']:,}",
        str(found["lost"]),
        str(found["duplicates"]),
    ]
