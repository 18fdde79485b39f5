"""Grafana's dashboards: their format, their ConfigMaps, and every query over a stack under traffic."""

import functools
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dev.boards import files as board_files
from dev.boards import grafana
from dev.harness import stack as stacks
from dev.harness.waiting import wait_until
from tests.chart import rendering
from tests.chart.monitoring import prometheus, traffic

FILES = sorted((rendering.CHART / "files/dashboards").glob("*.json"))
NAMES = ["overview", "services", "stores", "subscriptions"]
# The slowest metrics, and the last ones that the traffic produces: all other panels have data by then.
LAST_TO_COME = (
    "webhook_top_subscription_failing_seconds",
    "webhook_top_subscription_failed_attempts",
    "rate(webhook_postgres_wal_bytes_total[10s]) > 0",
    "rate(webhook_redis_commands_total[10s]) > 0",
)
SETTLE_TIMEOUT_SECONDS = 60.0
# Labels added by scraping, by build information, and by histograms.
SCRAPED = frozenset({"namespace", "release", "component", "pod", "version", "le"})
# The rows of the metrics page, by name.
DOCUMENTED = {
    line.split("`")[1]: line
    for line in (rendering.ROOT / "docs/reference/metrics.md").read_text().splitlines()
    if line.startswith("| `")
}

Object = dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> Object:
    found: Object = json.loads(request.param.read_text())
    return found


def panels(board: Object) -> list[Object]:
    """Return all panels except the headings of rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def code_names(text: str) -> set[str]:
    """Return the texts in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


# -- the format --


def test_dashboards_have_one_file_each() -> None:
    assert [path.stem for path in FILES] == NAMES == sorted(board.name for board in board_files.BOARDS)


def test_uids_and_titles_are_their_own() -> None:
    found = [json.loads(path.read_text()) for path in FILES]
    assert [board["uid"] for board in found] == [f"webhook-{name}" for name in NAMES]
    assert len({board["title"] for board in found}) == len(NAMES)


def test_grafana_finds_what_it_needs(board: Object) -> None:
    assert board["schemaVersion"] >= 36
    assert "id" not in board, "an id is one Grafana's alone"
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace", "release"]
    ids = [panel["id"] for panel in board["panels"]]
    assert ids == list(range(1, len(ids) + 1))
    for panel in panels(board):
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        ref_ids = [target["refId"] for target in panel["targets"]]
        assert ref_ids
        assert ref_ids == sorted(set(ref_ids))
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_panels_have_a_description_and_a_unit(board: Object) -> None:
    for panel in panels(board):
        assert len(panel["description"]) > 25, panel["title"]
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))


def test_panels_fill_their_lines_and_overlap_nowhere(board: Object) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert not taken & cells, panel["title"]
        taken |= cells
    bottom = max(row for _, row in taken) + 1
    assert taken == set(itertools.product(range(grafana.COLUMNS), range(bottom)))


def test_queries_select_a_single_release(board: Object) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            selectors = re.findall(r"\b(?:webhook|process)_\w+(\{[^}]*\})?", target["expr"])
            assert selectors, target["expr"]
            for selector in selectors:
                assert 'namespace="$namespace", release="$release"' in selector, target["expr"]


def test_queries_use_only_documented_metrics_labels_and_values(board: Object) -> None:
    """A typo within `or vector(0)`, or after `by`, would always show 0 and never be noticed."""
    for panel in panels(board):
        for target in panel["targets"]:
            labels = set(SCRAPED)
            for metric, matchers in re.findall(r"\b((?:webhook|process)_\w+)\{([^}]*)\}", target["expr"]):
                row = DOCUMENTED.get(re.sub("_(bucket|sum|count)$", "", metric), "")
                assert row or metric.startswith("process_"), f"{metric} is in docs/reference/metrics.md by no such name"
                labels |= code_names(row.split(" | ")[2]) if row else set()
                for label, value in re.findall(r'(\w+)[=!~]+"([^"$]+)"', matchers):
                    assert label in labels, target["expr"]
                    assert label in SCRAPED or set(value.split("|")) <= code_names(row), target["expr"]
            for grouped in re.findall(r"\bby \(([^)]+)\)", target["expr"]):
                assert set(grouped.split(", ")) <= labels, target["expr"]


def test_series_have_names_that_their_labels_fill(board: Object) -> None:
    for panel in panels(board):
        if panel["type"] == "timeseries":
            for target in panel["targets"]:
                grouped = set(re.findall(r"\bby \(([^)]*)\)", target["expr"]))
                labels = {label for labels in grouped for label in re.split(r",\s*", labels)} - {"le"}
                assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]
                assert target["legendFormat"] != "__auto", panel["title"]


def test_a_line_that_is_not_full_is_refused() -> None:
    line = [grafana.Stat("One", "One.", "up")] * 5
    row = grafana.row("Row", line)
    with pytest.raises(ValueError, match="5 panels"):
        grafana.document(grafana.Board("b", "B", "B.", [row]))


# -- the ConfigMaps --


def config_maps(values: Object) -> list[Object]:
    """The boards of a rendered chart."""
    found = rendering.of_kind(rendering.rendered(rendering.STORES | {"monitoring": values}), "ConfigMap")
    return [each for each in found if "-board-" in each["metadata"]["name"]]


def test_dashboards_are_created_only_if_enabled() -> None:
    assert config_maps({}) == []
    assert len(config_maps({"dashboards": {"enabled": True}})) == len(NAMES)


def test_a_config_map_holds_its_file_and_what_the_sidecar_looks_for() -> None:
    for found, path in zip(config_maps({"dashboards": {"enabled": True}}), FILES, strict=True):
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert found["metadata"]["namespace"] == rendering.NAMESPACE
        assert {name: json.loads(text) for name, text in found["data"].items()} == {
            f"webhook-{path.name}": json.loads(path.read_text())
        }


def test_folder_labels_and_namespace_can_be_set() -> None:
    values = {
        "enabled": True,
        "namespace": "monitoring",
        "labels": {"boards": "yes"},
        "annotations": {"grafana_folder": "Webhooks"},
    }
    for found in config_maps({"dashboards": values}):
        assert found["metadata"]["namespace"] == "monitoring"
        assert found["metadata"]["labels"]["boards"] == "yes"
        assert found["metadata"]["annotations"] == {"grafana_folder": "Webhooks"}


def test_kubectl_apply_can_hold_each_of_them() -> None:
    """A copy is kept in an annotation, and all annotations together are limited to 256 KiB."""
    for found in config_maps({"dashboards": {"enabled": True}}):
        assert len(json.dumps(found)) < 200_000


# -- every query, over a stack under traffic --


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path, for sockets, which the user that Postgres runs as can open."""
    made = Path(tempfile.mkdtemp(prefix="boards-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[stacks.Stack]:
    with stacks.running(folder / "stack", environment=traffic.ENVIRONMENT) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def scraped(stack: stacks.Stack, folder: Path) -> AsyncIterator[prometheus.Prometheus]:
    """A Prometheus that has scraped all kinds of traffic and their later effects."""
    with prometheus.scraping(prometheus.pods(stack), folder / "prometheus", up=len(stacks.ROLES)) as server:
        async with traffic.flowing(stack):
            for expr in LAST_TO_COME:
                await wait_until(functools.partial(server.values, expr), what=expr)
            yield server


def filled(expr: str) -> str:
    """Return an expression as Grafana would send it."""
    variables = {
        "$namespace": prometheus.NAMESPACE,
        "$release": prometheus.RELEASE,
        "$__rate_interval": "10s",
        "$__range": "1m",
    }
    for name, value in variables.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"an unknown variable in {expr}"
    return expr


def problem(server: prometheus.Prometheus, target: Object) -> str | None:
    """Return what is wrong with a panel's query; None if it shows something."""
    expr = filled(target["expr"])
    try:
        shown = server.now(expr) if target.get("instant") else server.values(expr)
    except prometheus.QueryError as error:
        return f"{error}: {expr}"
    return None if shown else f"nothing: {expr}"


# The stack has no relay, so that only their syntax is checked here, and their names above.
OF_RELAYS = "webhook_outbox_"


async def test_queries_return_data(scraped: prometheus.Prometheus) -> None:
    problems = [
        f"{path.stem}, {panel['title']}, {target['refId']}: {found}"
        for path in FILES
        for panel in panels(json.loads(path.read_text()))
        for target in panel["targets"]
        if (found := problem(scraped, target)) and not (OF_RELAYS in target["expr"] and found.startswith("nothing"))
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("expr", "what"),
    [
        ('max (webhook_queue_depths{namespace="$namespace", release="$release"})', "nothing"),
        ('max (webhook_queue_depth{namespace="$namespace", release="other"})', "nothing"),
        ('sum (rate(webhook_queue_depth{namespace="$namespace"}))', "expected type range vector"),
    ],
)
async def test_a_misspelled_query_is_found(scraped: prometheus.Prometheus, expr: str, what: str) -> None:
    assert what in (problem(scraped, {"expr": expr}) or "")


async def test_the_choices_of_namespace_and_release_are_found(scraped: prometheus.Prometheus) -> None:
    for path in FILES:
        found = {}
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
                found[variable["name"]] = {labels[label] for labels in scraped.series(filled(series))}
        assert found == {"namespace": {prometheus.NAMESPACE}, "release": {prometheus.RELEASE}}


async def test_the_worst_subscriptions_are_those_that_fail(scraped: prometheus.Prometheus) -> None:
    failing = scraped.now("webhook_top_subscription_failing_seconds")
    assert len({labels["subscription"] for labels, _ in failing}) == 2
    for labels, failed in scraped.now("webhook_top_subscription_failed_attempts"):
        (attempts,) = (
            value
            for other, value in scraped.now("webhook_top_subscription_attempts")
            if other["subscription"] == labels["subscription"]
        )
        assert 0 < failed <= attempts


async def test_a_first_event_of_its_kind_is_an_increase(scraped: prometheus.Prometheus) -> None:
    """Rare counters begin at 0: one disabled subscription is shown as one."""
    found = scraped.now('sum(increase(webhook_subscriptions_disabled_total{reason="gone"}[5m]))')
    assert [round(value) for _, value in found] == [1]
