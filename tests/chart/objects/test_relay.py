"""The relay: off by default, and with its own Deployment in every layout."""

from typing import Any

import kubernetes_validate  # type: ignore[import-not-found,import-untyped,unused-ignore]
import pytest

from tests.chart import rendering
from tests.chart.objects import custom_resources
from tests.chart.rendering import STORES, Object

RELAY: dict[str, Any] = {"enabled": True, "existingSecret": "shop-outbox"}


def relayed(layout: str = "five", **more: Any) -> list[Object]:
    return rendering.rendered({**STORES, "layout": layout, "relay": RELAY | more})


def references(objects: list[Object]) -> dict[str, tuple[str, str]]:
    """Return the keys of Secrets that the relay gets, by variable."""
    (container,) = rendering.named(objects, "Deployment", "-relay")["spec"]["template"]["spec"]["containers"]
    found = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    return {name: (each["name"], each["key"]) for name, each in found.items()}


def test_there_is_no_relay_by_default() -> None:
    for found in rendering.rendered(STORES):
        assert not found["metadata"]["name"].endswith("-relay"), found["kind"]


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_a_relay_has_what_other_deployments_have(layout: str) -> None:
    objects = relayed(layout)
    kinds = {found["kind"] for found in objects if found["metadata"]["name"].endswith("-relay")}
    assert kinds == {"ConfigMap", "Deployment", "PodDisruptionBudget", "ServiceAccount"}
    for found in objects:
        if not custom_resources.is_custom(found):
            kubernetes_validate.validate(found, "1.33", strict=True)
    pod = rendering.named(objects, "Deployment", "-relay")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["relay"]
    # It waits for nothing: neither for the schema, which is not its own, nor before it stops.
    assert "initContainers" not in pod
    assert pod["terminationGracePeriodSeconds"] == 30
    # The others are as they are without it.
    others = [found for found in objects if not found["metadata"]["name"].endswith("-relay")]
    plain = rendering.rendered({**STORES, "layout": layout})
    deployments = ([found for found in each if found["kind"] == "Deployment"] for each in (others, plain))
    assert next(deployments) == next(deployments)


def test_a_relay_gets_its_url_and_one_key() -> None:
    by_service_key = references(relayed())
    assert by_service_key["OUTBOX_DATABASE_URL"] == ("shop-outbox", "url")
    assert by_service_key.keys() == {"OUTBOX_DATABASE_URL", "INGEST_SERVICE_KEY"}
    by_api_key = references(relayed(apiKeyKey="api-key", urlKey="dsn"))
    assert by_api_key == {
        "OUTBOX_DATABASE_URL": ("shop-outbox", "dsn"),
        "OUTBOX_API_KEY": ("shop-outbox", "api-key"),
    }


def test_settings_of_the_outbox_reach_the_relay_alone() -> None:
    objects = rendering.rendered({**STORES, "relay": RELAY, "settings": {"OUTBOX_SCHEMA": "hooks"}})
    having = [
        found["metadata"]["name"]
        for found in rendering.of_kind(objects, "ConfigMap")
        if "OUTBOX_SCHEMA" in found["data"]
    ]
    assert having == ["demo-webhook-service-relay"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"relay": {"enabled": True}}, "relay.existingSecret: required when relay.enabled"),
        (
            {"relay": RELAY, "networkPolicy": {"enabled": True}},
            "networkPolicy.outbox.peers: required when relay.enabled",
        ),
        ({"relay": RELAY | {"replicas": 0}}, "relay.replicas: 0 would stop"),
        ({"relay": RELAY, "settings": {"OUTBOX_API_KEY": "whk_x"}}, "OUTBOX_API_KEY"),
    ],
)
def test_a_relay_that_would_not_work_is_refused(values: Object, why: str) -> None:
    assert why in rendering.refused(STORES | values)
