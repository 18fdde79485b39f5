"""The OpenAPI document describes all operations, with every error."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services import gateway
from services.domain.notices import operational_facts
from services.gateway import app
from services.gateway.web import problems
from services.gateway.web.routing import JsonRoute, RoleRoute, least_role

METHODS = {"get", "put", "post", "delete", "patch"}
OPERATIONAL = {"livez", "healthz", "readyz", "metrics"}
# Operations without an API key: public ones, and those with another proof.
# Schemas of responses that have an example as a whole.
EXEMPLIFIED = {
    *("Problem", "FieldError", "WebhookAccepted", "EventAccepted", "BatchedEventAccepted", "Handshake", "Event"),
    "CloudEvent",
    *("OperationalEvent", "OperationalEventData", "Health", "Liveness"),
}
OPEN = OPERATIONAL | {"ingest_webhook_with_token"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return app.described(with_operations=True).openapi()


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
        "PATCH /api/v1/subscriptions/{subscription_id} update_subscription",
        "DELETE /api/v1/subscriptions/{subscription_id} delete_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/disable disable_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/enable enable_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/pause pause_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/resume resume_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/verify verify_subscription",
        "POST /api/v1/subscriptions/{subscription_id}/test test_subscription",
        "POST /api/v1/subscriptions/test test_new_subscription",
        "POST /api/v1/templates/preview preview_template",
        "POST /api/v1/subscriptions/{subscription_id}/pull pull_deliveries",
        "POST /api/v1/subscriptions/{subscription_id}/pull/results report_pull_results",
        "POST /api/v1/subscriptions/{subscription_id}/rotate-secret rotate_subscription_secret",
        "GET /api/v1/subscriptions/{subscription_id}/public-keys list_public_keys",
        "POST /api/v1/subscriptions/{subscription_id}/ingest-token create_ingest_token",
        "DELETE /api/v1/subscriptions/{subscription_id}/ingest-token delete_ingest_token",
        "GET /api/v1/subscriptions/{subscription_id}/deliveries list_subscription_deliveries",
        "GET /api/v1/subscriptions/{subscription_id}/stats get_subscription_stats",
        "POST /api/v1/webhooks/ingest/{subscription_id} ingest_webhook",
        "POST /api/v1/webhooks/ingest/{subscription_id}/{token} ingest_webhook_with_token",
        "GET /api/v1/deliveries list_deliveries",
        "GET /api/v1/stream stream",
        "GET /api/v1/deliveries/summary get_delivery_summary",
        "GET /api/v1/deliveries/{delivery_id} get_delivery",
        "POST /api/v1/deliveries/{delivery_id}/retry retry_delivery",
        "POST /api/v1/deliveries/{delivery_id}/cancel cancel_delivery",
        "GET /api/v1/webhooks/deliveries/{delivery_id} get_webhook_delivery",
        "POST /api/v1/webhooks/deliveries/{delivery_id}/retry retry_webhook_delivery",
        "POST /api/v1/webhooks/deliveries/{delivery_id}/cancel cancel_webhook_delivery",
        "POST /api/v1/event-types create_event_type",
        "GET /api/v1/event-types list_event_types",
        "GET /api/v1/event-types/{event_type_id} get_event_type",
        "GET /api/v1/catalog export_catalog",
        "POST /api/v1/catalog/import import_catalog",
        "PATCH /api/v1/event-types/{event_type_id} update_event_type",
        "DELETE /api/v1/event-types/{event_type_id} delete_event_type",
        "POST /api/v1/event-types/{event_type_id}/versions create_event_type_version",
        "GET /api/v1/event-types/{event_type_id}/versions list_event_type_versions",
        "POST /api/v1/event-types/{event_type_id}/versions/check check_event_type_version",
        "GET /api/v1/event-types/{event_type_id}/versions/{number} get_event_type_version",
        "PATCH /api/v1/event-types/{event_type_id}/versions/{number} update_event_type_version",
        "POST /api/v1/events publish_event",
        "POST /api/v1/events/batch publish_events",
        "POST /api/v1/cloudevents publish_cloudevents",
        "GET /api/v1/events list_events",
        "GET /api/v1/events/{event_id} get_event",
        "GET /api/v1/events/{event_id}/deliveries list_event_deliveries",
        "GET /api/v1/events/{event_id}/routing list_event_routes",
        "POST /api/v1/events/{event_id}/cancel cancel_event",
        "POST /api/v1/filters/check check_filter",
        "POST /api/v1/jobs create_job",
        "GET /api/v1/jobs list_jobs",
        "GET /api/v1/jobs/{job_id} get_job",
        "POST /api/v1/jobs/{job_id}/pause pause_job",
        "POST /api/v1/jobs/{job_id}/resume resume_job",
        "POST /api/v1/jobs/{job_id}/cancel cancel_job",
        "POST /api/v1/subscriptions/{subscription_id}/recover recover_subscription",
        "GET /api/v1/stats get_stats",
        "GET /api/v1/stats/series get_stats_series",
        "GET /api/v1/stats/refusals get_refusals",
        "POST /api/v1/portal-links create_portal_link",
        "DELETE /api/v1/portal-links/{link_id} revoke_portal_link",
        "POST /api/v1/admin/tenants create_tenant",
        "GET /api/v1/admin/tenants list_tenants",
        "GET /api/v1/admin/tenants/{tenant_id} get_tenant",
        "PATCH /api/v1/admin/tenants/{tenant_id} update_tenant",
        "DELETE /api/v1/admin/tenants/{tenant_id} delete_tenant",
        "POST /api/v1/admin/api-keys create_api_key",
        "GET /api/v1/admin/api-keys list_api_keys",
        "DELETE /api/v1/admin/api-keys/{key_id} revoke_api_key",
        "GET /api/v1/admin/sessions list_sessions",
        "DELETE /api/v1/admin/sessions/{session_id} revoke_session",
        "GET /api/v1/admin/audit list_audit_entries",
        "GET /api/v1/system get_system",
        "GET /livez livez",
        "GET /healthz healthz",
        "GET /readyz readyz",
        "GET /metrics metrics",
    }


def test_document_describes_only_livez_of_the_operations_pages_outside_of_development() -> None:
    paths = app.described().openapi()["paths"]
    assert {path for path in paths if not path.startswith("/api/")} == {"/livez"}


def test_operations_have_a_description_and_a_described_tag(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags


def test_a_conflict_is_exemplified_by_a_reason_that_its_description_names(
    operations: dict[str, dict[str, Any]],
) -> None:
    keyed = [
        operation
        for name, operation in operations.items()
        if name != "publish_events"  # it returns the conflicts of its events
        and "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", ())}
    ]
    assert keyed
    for operation in keyed:
        conflict = operation["responses"]["409"]
        assert conflict["content"]["application/problem+json"]["example"]["reason"] in conflict["description"]


def expected_statuses(operation: dict[str, Any]) -> set[str]:
    """Return the possible statuses of an operation, by its parameters and what it does."""
    expected = {"401", "403", "422", "429", "500", "503", "default"}
    if "requestBody" in operation:
        expected |= {"400", "408", "413", "415"}
    if "{" in operation["path"]:
        expected.add("404")
    if operation["path"].endswith(("/retry", "/cancel", "/enable", "/pause", "/resume", "/verify", "/rotate-secret")):
        expected.add("409")
    # For subscriptions of its filter, and for events.
    if operation["operationId"] in {"create_job", "check_filter", "preview_template"}:
        expected.add("404")
    if operation["operationId"] in {
        "publish_cloudevents",  # whose source and id are an idempotency key
        "create_tenant",
        "delete_tenant",
        "replace_subscription",
        "update_subscription",
        "create_job",
        "recover_subscription",
        "test_subscription",
        "pull_deliveries",
        "report_pull_results",
        "update_event_type_version",
    }:
        expected.add("409")
    if operation["path"].endswith("/retry") or operation["operationId"] in {
        "get_event",
        "check_filter",
        "preview_template",
    }:
        expected.add("410")
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "Idempotency-Key" in parameters and operation["operationId"] != "publish_events":
        expected.add("409")
    if "subscription_id" in parameters:
        expected.add("404")
    if "If-Match" in parameters:
        expected.add("412")
    return expected


def test_operations_document_every_status_that_they_can_return(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        if name in OPERATIONAL:
            continue
        successes = {status for status in operation["responses"] if status.startswith("2")}
        # A webhook may be a handshake, a job only previewed, and CloudEvents a batch.
        two = name.startswith("ingest_webhook") or name in {"create_job", "publish_cloudevents"}
        assert successes == {"200", "202"} if two else len(successes) == 1, name
        assert set(operation["responses"]) - successes == expected_statuses(operation), name


def test_post_operations_that_create_an_object_accept_an_idempotency_key(operations: dict[str, dict[str, Any]]) -> None:
    takers = {
        name
        for name, operation in operations.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }
    assert takers == {
        *("ingest_webhook", "ingest_webhook_with_token", "publish_event", "publish_events"),
        *("create_subscription", "create_ingest_token", "rotate_subscription_secret"),
        *("create_job", "recover_subscription", "create_tenant", "create_api_key"),
        *("create_event_type", "create_event_type_version"),
    }


def test_operations_document_their_least_role_unless_they_take_no_key(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    for name, operation in operations.items():
        if name in OPEN:
            assert operation["security"] == []
            assert least_role(name) is None
        else:
            assert operation["security"] == [{"bearerAuth": []}]
            assert operation["description"].endswith(f"Requires a key with role `{least_role(name)}`.")
    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"


def test_routes_of_the_api_all_check_the_role(operations: dict[str, dict[str, Any]]) -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(gateway.__path__, "services.gateway.")
        if not found.name.endswith("__main__")
    ]
    routes = [route for module in modules if hasattr(module, "router") for route in module.router.routes]
    plain_asgi = {
        "ingest_webhook",
        "publish_event",
        "publish_events",
        "publish_cloudevents",
    }  # which check the role themselves
    assert {route.operation_id for route in routes} == set(operations) - OPEN - plain_asgi
    for route in routes:
        assert isinstance(route, RoleRoute), route
        # A body is bounded, and decoded strictly.
        assert isinstance(route, JsonRoute) or route.body_field is None, route


def test_errors_are_problem_documents_with_an_example(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if status.startswith("2") or name in OPERATIONAL:
                continue
            media = response["content"][problems.MEDIA_TYPE]
            assert media["schema"] == {"$ref": "#/components/schemas/Problem"}, (name, status)
            assert status == "default" or media["example"]["status"] == int(status)
            again = status in {"429", "503"} or "IDEMPOTENCY_KEY_IN_USE" in response["description"]
            assert ("Retry-After" in response.get("headers", {})) == again, (name, status)


def test_request_bodies_have_an_example(document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> None:
    for operation in operations.values():
        if body := operation.get("requestBody"):
            media = body["content"]["application/json"]
            schema = media["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            assert {"example", "examples"} & {*media, *schema}


def test_references_lead_to_existing_schemas(document: dict[str, Any]) -> None:
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
    assert holding == {"SubscriptionBody", "SubscriptionPatch", "RotationBody", "CreatedSubscription", "Rotated"}
    create, rotate = "/api/v1/subscriptions", "/api/v1/subscriptions/{subscription_id}/rotate-secret"
    for name, path, status in (("CreatedSubscription", create, "201"), ("Rotated", rotate, "200")):
        content = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert json.dumps(document["paths"]).count(f'schemas/{name}"') == 1


def test_a_key_is_in_the_answer_that_makes_it_alone(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {name for name, schema in schemas.items() if "key" in schema.get("properties", {})} == {"CreatedApiKey"}


def test_a_newcomer_finds_first_what_is_needed_first(document: dict[str, Any]) -> None:
    tags = [
        "subscriptions",
        "webhooks",
        "events",
        "catalog",
        "deliveries",
        "jobs",
        "statistics",
        "portal",
        "admin",
        "operations",
        "received",
    ]
    assert [tag["name"] for tag in document["tags"]] == tags


def test_swagger_fills_in_no_parameter_that_belongs_to_one_request(operations: dict[str, dict[str, Any]]) -> None:
    """Clients use the `example` of a parameter as its value: all would send the same idempotency key."""
    for name, operation in operations.items():
        for parameter in operation.get("parameters", ()):
            assert "example" not in parameter, (name, parameter["name"])


def schemas_in(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield everything in the document that may be a schema, with its path; no examples."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            if key not in {"example", "examples", "default"}:
                yield from schemas_in(value, f"{path}/{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from schemas_in(value, f"{path}/{place}")


def test_objects_and_enums_are_named_schemas_as_generators_need_them(document: dict[str, Any]) -> None:
    named = {f"/components/schemas/{name}" for name in document["components"]["schemas"]}
    inline = {
        path
        for path, schema in schemas_in(document)
        if path not in named
        and (
            ("properties" in schema and not path.endswith("/properties"))
            or (isinstance(schema.get("enum"), list) and len(schema["enum"]) > 1)
        )
    }
    assert inline == set()


def test_schemas_have_a_type_or_say_that_they_may_be_anything(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("type") in {"object", "string"}, name
        for field, value in schema.get("properties", {}).items():
            said = {"type", "$ref", "anyOf", "const", "enum", "allOf"} & {*value}
            assert said or field in {"payload", "data", "before", "after", "example"}, (name, field)
            assert "default" not in value, f"{name}.{field}: generators would take it for required"


def test_formats_stand_beside_the_type_that_has_them(document: dict[str, Any]) -> None:
    assert [path for path, schema in schemas_in(document) if {"anyOf", "format"} <= {*schema}] == []


def test_requests_require_only_what_is_refused_without(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = {
        name: set(schema["required"])
        for name, schema in schemas.items()
        if name.endswith("Body") and "required" in schema
    }
    assert bodies == {
        "ClientCertificateBody": {"certificate", "private_key"},
        "EventBody": {"event_type", "payload"},
        "FilterCheckBody": {"filter"},
        "EventBatchBody": {"events"},
        "EventTypeBody": {"name", "schema"},
        "EventTypeVersionBody": {"schema"},
        "EventTypeCheckBody": {"schema"},
        "CatalogImportBody": {"document"},
        "RecoverBody": {"from"},
        "TenantBody": {"id"},
        "ApiKeyBody": {"name", "role"},
        "PortalLinkBody": {"capabilities"},
        "PullResultsBody": {"results"},
    }
    assert not {name for name, schema in schemas.items() if name.endswith("Patch") and schema.get("required")}
    queried = {
        (operation["operationId"], parameter["name"])
        for item in document["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", ())
        if parameter.get("required") and parameter["in"] != "path"
    }
    assert queried == {("get_delivery_summary", "group_by"), ("stream", "topic")}


def test_fields_of_responses_have_an_example_unless_their_type_has_one(document: dict[str, Any]) -> None:
    """What is a time, an enum, an object, or a flag explains itself."""
    for name, schema in document["components"]["schemas"].items():
        if schema.get("type") != "object" or name.endswith(("Body", "Patch", "Filter")) or "examples" in schema:
            continue
        for field, value in schema["properties"].items():
            types = [one.get("type") for one in value.get("anyOf", [value])]
            if "string" in types and not value.get("format"):
                formats = [one.get("format") for one in value.get("anyOf", [])]
                assert "examples" in value or any(formats) or "enum" in value or name in EXEMPLIFIED, (name, field)


def test_the_license_is_named(document: dict[str, Any]) -> None:
    assert document["info"]["license"] == {"name": "Apache License 2.0", "identifier": "Apache-2.0"}


def test_receivers_find_the_headers_of_deliveries_in_the_document(document: dict[str, Any]) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/deliveries.md").read_text()
    table = page.partition("## The request")[2].partition("## ")[0].replace("`", "")
    described = {
        name for row in re.findall(r"^\| ([A-Za-z0-9, -]+) \|", table, re.MULTILINE) for name in row.split(", ")
    }
    of_http = {"header", "Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "User-Agent"}
    for webhook in document["webhooks"].values():
        named = {parameter["name"] for parameter in webhook["post"]["parameters"]}
        assert {name for name in named if not name.startswith("ce-")} == described - of_http
    delivery, cloudevent = (document["webhooks"][name]["post"] for name in ("delivery", "cloudevent"))
    assert {"ce-id", "ce-source", "ce-type"} <= {parameter["name"] for parameter in delivery["parameters"]}
    assert list(cloudevent["requestBody"]["content"]) == ["application/cloudevents+json"]
    types = document["components"]["schemas"]["OperationalEventType"]["enum"]
    assert {*types, "delivery.exhausted"} == {*operational_facts.EventType}
