"""What an Ingress and routes expose, and where they lead."""

from typing import Any

import pytest

from services.gateway.console import published
from services.gateway.console.pages import ASSETS_PATH, PAGES
from services.gateway.resources.portal_links import PATH
from tests.chart import rendering


def test_a_route_and_an_ingress_lead_to_the_gateway() -> None:
    service = rendering.named(rendering.scenario("gitops"), "Service", "-gateway")
    for route in rendering.of_kind(rendering.scenario("gitops"), "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            (backend,) = rule["backendRefs"]
            assert backend == {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    (ingress,) = rendering.of_kind(rendering.scenario("production"), "Ingress")
    assert ingress["spec"]["tls"] == [{"secretName": "webhooks-example-com-tls", "hosts": ["webhooks.example.com"]}]
    service = rendering.named(rendering.scenario("production"), "Service", "-gateway")
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}


PUBLIC = [
    ("/api", "Prefix"),
    ("/docs", "Prefix"),
    ("/swagger", "Prefix"),
    ("/openapi.json", "Exact"),
    ("/livez", "Exact"),
]


CONSOLE = [("/", "Exact"), ("/console", "Prefix"), *((f"/{page}", "Prefix") for page in PAGES)]
ROUTED = {
    "ingress": {"enabled": True, "hosts": ["a.example"], "tlsSecret": "certificate"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["a.example"]},
}


def exposed(objects: list[rendering.Object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the paths of each host, as the Ingress has them and as the HTTPRoutes have them."""
    (ingress,) = rendering.of_kind(objects, "Ingress")
    by_ingress = {
        rule["host"]: [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
        for rule in ingress["spec"]["rules"]
    }
    assert ingress["spec"]["tls"] == [{"secretName": "certificate", "hosts": list(by_ingress)}]
    by_route: dict[str, Any] = {}
    for route in rendering.of_kind(objects, "HTTPRoute"):
        (host,) = route["spec"]["hostnames"]
        rules = route["spec"]["rules"]
        assert all(len(rule["matches"]) <= 8 for rule in rules)
        by_route[host] = [
            (match["path"]["value"], match["path"]["type"].removeprefix("Path"))
            for rule in rules
            for match in rule["matches"]
        ]
    return by_ingress, by_route


PORTAL = [(PATH, "Prefix"), (published.PATH, "Prefix"), (ASSETS_PATH, "Prefix")]


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"portal": {"enabled": True}}, {"a.example": [*PUBLIC, *PORTAL]}),
        (
            {"portal": {"enabled": True, "hosts": ["c.example"]}, "console": {"enabled": True, "hosts": ["b.example"]}},
            {"a.example": PUBLIC, "b.example": [*PUBLIC, *CONSOLE], "c.example": [*PUBLIC, *PORTAL]},
        ),
    ],
)
def test_portal_links_are_exposed_only_where_they_are_wanted(values: dict[str, Any], paths: dict[str, Any]) -> None:
    assert exposed(rendering.rendered(rendering.STORES | ROUTED | values)) == (paths, paths)


@pytest.mark.parametrize(
    ("console", "paths"),
    [
        ({"enabled": False, "hosts": ["b.example"]}, {"a.example": PUBLIC}),
        ({"enabled": True}, {"a.example": [*PUBLIC, *CONSOLE]}),
        ({"enabled": True, "hosts": ["b.example"]}, {"a.example": PUBLIC, "b.example": [*PUBLIC, *CONSOLE]}),
    ],
)
def test_the_console_is_exposed_only_where_it_is_wanted(console: dict[str, Any], paths: dict[str, Any]) -> None:
    objects = rendering.rendered(rendering.STORES | ROUTED | {"console": console})
    assert exposed(objects) == (paths, paths)


@pytest.mark.parametrize(
    ("values", "paths"), [({}, PUBLIC), ({"publicPaths": [{"path": "/", "type": "Prefix"}]}, [("/", "Prefix")])]
)
def test_ingress_and_http_route_expose_only_public_paths(values: dict[str, Any], paths: list[tuple[str, str]]) -> None:
    values = rendering.STORES | values
    values["ingress"] = {"enabled": True, "hosts": ["a.example"]}
    values["httpRoute"] = {"enabled": True, "parentRefs": [{"name": "public"}]}
    objects = rendering.rendered(values)
    (ingress,) = rendering.of_kind(objects, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == paths
    (route,) = rendering.of_kind(objects, "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    matches = [(match["path"]["value"], match["path"]["type"].removeprefix("Path")) for match in rule["matches"]]
    assert matches == paths
