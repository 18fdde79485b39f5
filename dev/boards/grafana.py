"""Describe a board in a few lines, and generate Grafana's JSON.

A board has rows, and a row has lines of panels. The panels of a line share its width evenly, so that nothing overlaps
and no gap is left. Every panel describes what it means and what to do about it, and has units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

JsonObject = dict[str, Any]

# Names from Grafana's panel schema.
COUNT = "short"
PER_SECOND = "suffix:/s"
SECONDS = "s"
SHARE = "percentunit"
BYTES = "bytes"
BYTES_PER_SECOND = "Bps"

TAG = "webhook-service"
COLUMNS = 24
# The schema version that Grafana 10 writes; later versions can read it.
SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Letters of a panel's queries, in order.
REF_IDS = "ABCDEFGH"


@dataclass(frozen=True)
class Query:
    """A PromQL expression, the name of its series, and their color if it has a meaning."""

    expr: str
    # Labels in double braces: "{{reason}}".
    legend: str = ""
    color: str | None = None


@dataclass(frozen=True)
class Panel:
    """What all panels have. `shown` is one expression, one query, or several.

    `thresholds` are pairs of a color and the value from which it applies.
    """

    title: str
    text: str
    shown: str | Query | Sequence[Query]
    unit: str = COUNT
    _: KW_ONLY
    thresholds: Sequence[tuple[str, float]] = ()
    # Ends of the axis, or of the color scale, if the data does not determine them.
    min: float | None = 0
    max: float | None = None

    height = 8

    @property
    def queries(self) -> Sequence[Query]:
        """Return what it shows, as queries."""
        shown = Query(self.shown) if isinstance(self.shown, str) else self.shown
        return [shown] if isinstance(shown, Query) else shown

    def defaults(self) -> JsonObject:
        """Return what applies to all its series."""
        steps = [{"color": "green", "value": None}, *({"color": c, "value": v} for c, v in self.thresholds)]
        ends = {name: end for name, end in (("min", self.min), ("max", self.max)) if end is not None}
        return {"unit": self.unit, "noValue": "-", "thresholds": {"mode": "absolute", "steps": steps}, **ends}

    def targets(self) -> list[JsonObject]:
        """Return its queries as Grafana sends them."""
        return [
            {
                "refId": ref_id,
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": True,
            }
            for ref_id, query in zip(REF_IDS, self.queries, strict=False)
        ]

    def body(self) -> JsonObject:
        """Return what is specific to this kind of panel."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stat(Panel):
    """One current number, in the color of its threshold."""

    height = 4

    def body(self) -> JsonObject:
        """Show a number over the whole panel, with its history in the background."""
        return {
            "type": "stat",
            "fieldConfig": {"defaults": {"color": {"mode": "thresholds"}, **self.defaults()}, "overrides": []},
            "options": {
                "colorMode": "value" if self.thresholds else "none",
                "graphMode": "area",
                "justifyMode": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "textMode": "value",
            },
        }


@dataclass(frozen=True)
class Lines(Panel):
    """Series over time. Stacked if their sum means something. Thresholds are drawn as lines."""

    _: KW_ONLY
    stacked: bool = False

    def body(self) -> JsonObject:
        """Draw thin lines without points, and a legend if there can be more than one."""
        custom = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if self.stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
        }
        overrides = [
            {
                "matcher": {"id": "byName", "options": query.legend},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": query.color}}],
            }
            for query in self.queries
            if query.color
        ]
        many = len(self.queries) > 1 or "{{" in self.queries[0].legend
        return {
            "type": "timeseries",
            "fieldConfig": {
                "defaults": {"color": {"mode": "palette-classic"}, "custom": custom, **self.defaults()},
                "overrides": overrides,
            },
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": many, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        }


@dataclass(frozen=True)
class Table(Panel):
    """Current rows: the labels of the series, and a column for each query. The first query determines the order.

    `columns` are the labels to show, each with its heading; `units` are those of the queries, in their order.
    """

    _: KW_ONLY
    columns: Mapping[str, str]
    units: Sequence[str] = field(default=())

    def targets(self) -> list[JsonObject]:
        """Return instant queries in table format."""
        return [{**target, "range": False, "instant": True, "format": "table"} for target in super().targets()]

    def body(self) -> JsonObject:
        """Show a table without paging: its content is bounded."""
        one = len(self.queries) == 1
        values = {"Value" if one else f"Value #{ref_id}": q for ref_id, q in zip(REF_IDS, self.queries, strict=False)}
        return {
            "type": "table",
            "fieldConfig": {
                "defaults": {"color": {"mode": "thresholds"}, **self.defaults()},
                "overrides": [
                    {
                        "matcher": {"id": "byName", "options": query.legend},
                        "properties": [{"id": "unit", "value": unit}],
                    }
                    for query, unit in zip(self.queries, self.units, strict=True)
                ],
            },
            "options": {
                "cellHeight": "sm",
                "footer": {"show": False},
                "showHeader": True,
                "sortBy": [{"displayName": self.queries[0].legend, "desc": True}],
            },
            "transformations": [
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "indexByName": {name: index for index, name in enumerate([*self.columns, *values])},
                        "renameByName": {**self.columns, **{name: query.legend for name, query in values.items()}},
                    },
                },
            ],
        }


@dataclass(frozen=True)
class Row:
    """Lines of panels under a heading."""

    title: str
    lines: Sequence[Sequence[Panel]]


def row(title: str, *lines: Sequence[Panel]) -> Row:
    """Return a row of these lines."""
    return Row(title, lines)


@dataclass(frozen=True)
class Board:
    """A dashboard. Its uid is part of its address, and never changes."""

    name: str
    title: str
    text: str
    rows: Sequence[Row]

    @property
    def uid(self) -> str:
        """Return its uid, which does not depend on the title."""
        return f"webhook-{self.name}"


def document(board: Board) -> JsonObject:
    """Return the board as Grafana's JSON. Panels are numbered in reading order."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [_links()],
        "templating": {"list": _variables()},
        "panels": _panels(board),
    }


def _panels(board: Board) -> list[JsonObject]:
    found: list[JsonObject] = []
    top = 0
    for row in board.rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "gridPos": place,
                "collapsed": False,
                "panels": [],
            }
        )
        top += 1
        for line in row.lines:
            width, rest = divmod(COLUMNS, len(line))
            heights = {panel.height for panel in line}
            if rest or len(heights) > 1:
                raise ValueError(f"{board.name}, {row.title}: {len(line)} panels of heights {heights} fill no line")
            height = heights.pop()
            for index, panel in enumerate(line):
                place = {"x": index * width, "y": top, "w": width, "h": height}
                found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
            top += height
    return found


def _panel(panel: Panel) -> JsonObject:
    return {
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "targets": panel.targets(),
        **panel.body(),
    }


def _links() -> JsonObject:
    """Return links to the other boards, for the same time and release."""
    return {
        "type": "dashboards",
        "title": "Webhook boards",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _variables() -> list[JsonObject]:
    datasource = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0}
    return [
        {**datasource, "refresh": 1, "multi": False, "includeAll": False},
        _labels("namespace", "Namespace", "webhook_build_info"),
        _labels("release", "Release", 'webhook_build_info{namespace="$namespace"}'),
    ]


def _labels(label: str, title: str, series: str) -> JsonObject:
    """Return a variable with a label's values, queried again when the time range changes."""
    query = f"label_values({series}, {label})"
    return {
        "type": "query",
        "name": label,
        "label": title,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
    }
