"""The OpenAPI document describes what there is, with every error."""

import json
from typing import Any

import pytest

from services.gateway import app, problems

METHODS = {"get", "put", "post", "delete", "patch"}
OPERATIONAL = {"healthz", "readyz", "metrics"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return app.described().openapi()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    return {operation["operationId"]: operation | {"path": path, "method": method} for path, method, operation in found}


def test_the_operations_are_those_of_the_api(operations: dict[str, dict[str, Any]]) -> None:
    assert {f"{found['method'].upper()} {found['path']} {name}" for name, found in operations.items()} == {
        "POST /api/v1/subscriptions create_subscription",
        "GET /api/v1/subscriptions list_subscriptions",
        "GET /api/v1/subscriptions/{subscription_id} get_subscription",
        "PUT /api/v1/subscriptions/{subscription_id} replace_subscription",
        "DELETE /api/v1/subscriptions/{subscription_id} delete_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/disable disable_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/enable enable_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/pause pause_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/resume resume_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/rotate-secret rotate_subscription_secret",
        "POST /api/v1/subscriptions/{subscription_id}/ingest-token create_ingest_token",
        "DELETE /api/v1/subscriptions/{subscription_id}/ingest-token delete_ingest_token",
        "GET /api/v1/subscriptions/{subscription_id}/deliveries list_subscription_deliveries",
        "GET /api/v1/subscriptions/{subscription_id}/stats get_subscription_stats",
        "POST /api/v1/webhooks/ingest/{subscription_id} ingest_webhook",
        "POST /api/v1/webhooks/ingest/{subscription_id}/{token} ingest_webhook_with_token",
        "GET /api/v1/webhooks/deliveries/{delivery_id} get_delivery",
        "POST /api/v1/webhooks/deliveries/{delivery_id}/retry retry_delivery",
        "POST /api/v1/webhooks/deliveries/{delivery_id}/cancel cancel_delivery",
        "POST /api/v1/events publish_event",
        "GET /api/v1/events/{event_id} get_event",
        "GET /api/v1/events/{event_id}/deliveries list_event_deliveries",
        "GET /api/v1/stats get_stats",
        "GET /healthz healthz",
        "GET /readyz readyz",
        "GET /metrics metrics",
    }


def test_every_operation_is_described_with_a_tag_that_is(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags


def expected_statuses(operation: dict[str, Any]) -> set[str]:
    """What a request can be answered with, by what the operation takes and does."""
    expected = {"422", "429", "500", "503", "default"}
    if "requestBody" in operation:
        expected |= {"400", "408", "413", "415"}
    if "{" in operation["path"]:
        expected.add("404")
    if operation["path"].endswith(("/retry", "/cancel", "/enable", "/pause", "/resume", "/rotate-secret")):
        expected.add("409")
    if operation["path"].endswith("/retry"):
        expected.add("410")
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "X-Hub-Signature-256" in parameters:
        expected.add("401")
    if "Idempotency-Key" in parameters:
        expected.add("409")
    return expected


def test_every_operation_documents_every_status_it_can_answer(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        if name in OPERATIONAL:
            continue
        successes = {status for status in operation["responses"] if status.startswith("2")}
        assert len(successes) == 1, name
        assert set(operation["responses"]) - successes == expected_statuses(operation), name


def test_every_post_that_makes_an_object_takes_an_idempotency_key(operations: dict[str, dict[str, Any]]) -> None:
    takers = {
        name
        for name, operation in operations.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }
    assert takers == {"ingest_webhook", "ingest_webhook_with_token", "publish_event", "create_subscription"}


def test_every_error_is_a_problem_document_with_an_example(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if status.startswith("2") or name in OPERATIONAL:
                continue
            media = response["content"][problems.MEDIA_TYPE]
            assert media["schema"] == {"$ref": "#/components/schemas/Problem"}, (name, status)
            assert status == "default" or media["example"]["status"] == int(status)
            assert ("Retry-After" in response.get("headers", {})) == (status in {"429", "503"})


def test_every_request_body_has_an_example(document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> None:
    for operation in operations.values():
        if body := operation.get("requestBody"):
            media = body["content"]["application/json"]
            schema = media["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            assert {"example", "examples"} & {*media, *schema}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(target := node.get("$ref"), str):
                assert target.removeprefix("#/components/schemas/") in schemas
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    assert "HTTPValidationError" not in schemas


def test_a_secret_is_in_no_answer_but_those_that_make_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    holding = {name for name, schema in schemas.items() if "secret_key" in schema.get("properties", {})}
    assert holding == {"SubscriptionBody", "RotationBody", "CreatedSubscription", "Rotated"}
    create, rotate = "/api/v1/subscriptions", "/api/v1/subscriptions/{subscription_id}/rotate-secret"
    for name, path, status in (("CreatedSubscription", create, "201"), ("Rotated", rotate, "200")):
        content = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert json.dumps(document["paths"]).count(f'schemas/{name}"') == 1
