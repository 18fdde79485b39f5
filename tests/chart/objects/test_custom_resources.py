"""Custom resources: their projects' schemas accept everything that the chart creates; a plain cluster gets none."""

import copy
import functools
import operator

import jsonschema  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.chart import rendering
from tests.chart.objects import custom_resources
from tests.chart.rendering import Object

KINDS = {"Certificate", "HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
# A misspelled field within a resource of each kind: at the top of its spec, and deep in it.
PLACES: dict[str, list[tuple[str | int, ...]]] = {
    "Certificate": [(), ("issuerRef",), ("privateKey",)],
    "PodMonitor": [(), ("selector",), ("podMetricsEndpoints", 0), ("podMetricsEndpoints", 0, "relabelings", 0)],
    "PrometheusRule": [(), ("groups", 0), ("groups", 0, "rules", 0)],
    "ScaledObject": [(), ("triggers", 0), ("fallback",), ("advanced", "horizontalPodAutoscalerConfig", "behavior")],
    "ServiceMonitor": [(), ("selector", "matchExpressions", 0), ("endpoints", 0)],
}


@pytest.mark.parametrize("scenario", rendering.SCENARIOS)
def test_their_schemas_take_every_field(scenario: str) -> None:
    for found in custom_resources.of(rendering.scenario(scenario)):
        if found["apiVersion"] not in custom_resources.UNCHECKED:
            custom_resources.check(found)


def test_scenario_with_everything_enabled_has_one_resource_of_each_kind() -> None:
    kinds = [found["kind"] for found in custom_resources.of(rendering.scenario("everything"))]
    assert sorted(kinds) == sorted(KINDS)


@pytest.mark.parametrize("kind", PLACES)
def test_a_misspelled_field_would_be_found(kind: str) -> None:
    (found,) = rendering.of_kind(rendering.scenario("everything"), kind)
    for path in PLACES[kind]:
        wrong: Object = copy.deepcopy(found)
        functools.reduce(operator.getitem, path, wrong["spec"])["nonsense"] = 3
        with pytest.raises(jsonschema.ValidationError, match="nonsense"):
            custom_resources.check(wrong)


def test_a_plain_cluster_gets_none() -> None:
    assert custom_resources.of(rendering.rendered(rendering.STORES)) == []
