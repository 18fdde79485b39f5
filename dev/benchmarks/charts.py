"""Plots as SVG files."""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 900, 420
# Nine that can be told apart, also by most who see colours differently (after Paul Tol's "muted").
COLORS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bars: a group, or with `stacked` one bar of pieces, for each category."""

    # Of the file.
    name: str
    title: str
    unit: str
    categories: Sequence[str]
    # A value for each category.
    series: Mapping[str, Sequence[float]]
    stacked: bool = False


def available() -> bool:
    """Whether pygal is installed: it is in the extra `bench` alone."""
    return importlib.util.find_spec("pygal") is not None


def draw(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Writes each chart to folder/NAME.svg; answers the files."""
    import pygal
    from pygal.style import DefaultStyle

    folder.mkdir(parents=True, exist_ok=True)
    # No fonts and no scripts from other servers: the files are shown in READMEs and offline.
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
