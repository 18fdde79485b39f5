"""Every process exports the metrics that docs/reference/metrics.md lists for it."""

from collections.abc import Mapping

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from dev.harness.receiver import Receiver
from dev.harness.stack import ROLES, Stack
from dev.harness.waiting import wait_until
from services.domain.states import AttemptOutcome
from tests.docs.test_docs import ROOT, code_names, roles, table_rows

# Labeled series that appear with traffic, by role: name, and labels of a sample that one round of it creates.
AFTER_TRAFFIC: Mapping[str, list[tuple[str, dict[str, str]]]] = {
    "gateway": [
        ("webhook_http_events_accepted_total", {"kind": "webhook"}),
        ("webhook_http_events_rejected_total", {"reason": "NOT_FOUND"}),
        (
            "webhook_http_requests_total",
            {"method": "POST", "route": "/api/v1/webhooks/ingest/{subscription_id}", "status": "202"},
        ),
        ("webhook_http_request_duration_seconds_count", {"route": "/api/v1/subscriptions"}),
    ],
    "ingest": [
        ("webhook_events_rejected_total", {"reason": "NOT_FOUND"}),
        ("webhook_subscription_cache_total", {"level": "process", "result": "hit"}),
        ("webhook_subscription_cache_total", {"level": "process", "result": "miss"}),
        ("webhook_subscription_cache_invalidations_total", {"scope": "all"}),
        ("webhook_doorbells_rung_total", {"result": "rung"}),
        ("webhook_store_up", {"store": "redis"}),
        ("webhook_rpc_requests_total", {"method": "/webhook.v1.IngestService/BatchIngest", "code": "OK"}),
        ("webhook_postgres_connections", {"state": "idle"}),
    ],
    "delivery": [
        ("webhook_held_deliveries", {"reason": "subscription_deleted"}),
        ("webhook_store_up", {"store": "redis"}),
        ("webhook_rpc_duration_seconds_count", {"method": "/webhook.v1.DeliveryService/GetDelivery"}),
        ("webhook_postgres_connections", {"state": "used"}),
    ],
    "worker": [
        ("webhook_attempts_total", {"outcome": "success"}),
        ("webhook_attempts_total", {"outcome": "http_5xx"}),
        ("webhook_deliveries_ended_total", {"status": "delivered"}),
        ("webhook_worker_ids_total", {"source": "doorbell"}),
    ],
    "analytics": [
        ("webhook_rpc_requests_total", {"method": "/webhook.v1.AnalyticsService/GetStats", "code": "OK"}),
    ],
}
# Counters that one round of traffic moves.
MOVED: Mapping[str, list[str]] = {
    "gateway": ["webhook_accept_duration_seconds_count", "webhook_ingest_batch_items_count"],
    "ingest": [
        "webhook_events_accepted_total",
        "webhook_events_filtered_total",
        "webhook_deliveries_created_total",
        "webhook_ingest_commit_events_count",
        "webhook_deliveries_rung_total",
    ],
    "delivery": ["webhook_dispatched_deliveries_total", "webhook_dispatcher_turn_duration_seconds_count"],
    "worker": [
        "webhook_worker_slots",
        "webhook_worker_claims_total",
        "webhook_attempt_duration_seconds_count",
        "webhook_end_to_end_duration_seconds_count",
    ],
    "analytics": [
        "webhook_rollup_duration_seconds_count",
        "webhook_rollup_last_success_timestamp_seconds",
        "webhook_retention_last_success_timestamp_seconds",
    ],
}


def scrape(url: str) -> dict[str, Metric]:
    """Return the metrics of a process by the names that the page uses."""
    answer = httpx.get(f"{url}/metrics", timeout=60)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {family.name + ("_total" if family.type == "counter" else ""): family for family in families}


def metrics_of(stack: Stack, role: str) -> dict[str, Metric]:
    """Return the metrics of a role, from its metrics port."""
    return scrape(f"http://127.0.0.1:{stack.ports['metrics'][role]}")


def values(found: Mapping[str, Metric], name: str, labels: Mapping[str, str]) -> list[float]:
    """Return the values of the samples with this name and these labels."""
    samples = [sample for family in found.values() for sample in family.samples if sample.name == name]
    return [sample.value for sample in samples if labels.items() <= sample.labels.items()]


@pytest.fixture(scope="module")
def documented() -> list[tuple[str, str, list[str], set[str]]]:
    """Return name, type, labels, and processes of every metric of the page."""
    return [
        (code_names(name)[0], kind, code_names(labels), roles(processes))
        for name, kind, labels, _, processes in table_rows(ROOT / "docs/reference/metrics.md")
    ]


@pytest.mark.parametrize("role", ROLES)
def test_a_process_serves_what_is_documented_for_it(
    stack: Stack, role: str, documented: list[tuple[str, str, list[str], set[str]]]
) -> None:
    found = metrics_of(stack, role)
    for name, kind, labels, processes in documented:
        if role in processes:
            assert found[name].type == kind
            # A labeled metric appears with its first value.
            assert found[name].samples or labels, f"{name} has no value"
            for sample in found[name].samples:
                assert set(sample.labels) - {"le"} <= set(labels)


def test_attempt_outcomes_all_have_a_series_from_the_start(stack: Stack) -> None:
    """A rate misses the first value of a series that appears with it, and a share needs both series."""
    kinds = {
        kind
        for name, *_ in table_rows(ROOT / "docs/reference/deliveries.md")
        for kind in code_names(name)
        if kind in set(AttemptOutcome)
    }
    assert kinds == set(AttemptOutcome) - {AttemptOutcome.SUCCESS}
    found = metrics_of(stack, "worker")
    for kind in AttemptOutcome:
        assert len(values(found, "webhook_attempts_total", {"outcome": kind})) == 1, kind


def test_the_gateway_serves_its_metrics_on_its_own_port_too(stack: Stack) -> None:
    assert scrape(stack.base_url).keys() >= {"webhook_http_requests_total", "webhook_build_info"}


async def test_traffic_changes_the_metrics_of_every_process(stack: Stack, receiver: Receiver) -> None:
    receiver.script(500)
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as client:
        created = await client.post(
            "/api/v1/subscriptions/", json={"target_url": receiver.url(), "event_types": ["metrics"]}
        )
        subscription = created.json()["id"]
        path = f"/api/v1/webhooks/ingest/{subscription}"
        accepted = await client.post(path, json={"payload": {}}, headers={"X-Event-Type": "metrics"})
        await client.post(path, json={"payload": {}}, headers={"X-Event-Type": "other"})
        await client.post("/api/v1/webhooks/ingest/019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61", json={"payload": {}})
        await client.get("/api/v1/stats")
        await receiver.wait_for(2)

        async def delivered() -> bool:
            answer = await client.get(f"/api/v1/webhooks/deliveries/{accepted.json()['delivery_id']}")
            return bool(answer.json()["status"] == "delivered")

        await wait_until(delivered)

    def missing(role: str) -> list[str]:
        """Return what a role does not show yet: some of it is counted after the response."""
        found = metrics_of(stack, role)
        return [
            *(f"{name} with {labels}" for name, labels in AFTER_TRAFFIC[role] if not values(found, name, labels)),
            *(name for name in MOVED[role] if not sum(values(found, name, {}))),
        ]

    for role in ROLES:
        await wait_until(lambda: not missing(role), what=f"{missing(role)} of {role}")  # noqa: B023 - called before the next one


@pytest.mark.parametrize("role", ROLES)
def test_labels_contain_no_id_and_no_url(stack: Stack, role: str) -> None:
    for family in metrics_of(stack, role).values():
        if role == "analytics" and family.name.startswith("webhook_top_subscription_"):
            assert len(family.samples) <= 10
            continue
        for sample in family.samples:
            for value in sample.labels.values():
                assert "://" not in value
                assert value.count("-") < 4
