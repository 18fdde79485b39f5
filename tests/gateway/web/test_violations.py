"""What a request with many faults, or large ones, is answered: a bounded problem of the client's, whatever it sent."""

import json
from typing import Any

import httpx
import pytest

from services.platform import errors, ids
from tests.gateway.fakes import Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
EVENTS = "/api/v1/events"
URL = "https://example.com/"
# Of a problem with 20 fields at fault, each as long as can be.
MAX_PROBLEM_BYTES = 32 << 10


def bounded(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text[:500]
    assert len(answer.content) < MAX_PROBLEM_BYTES
    document: dict[str, Any] = answer.json()
    assert len(document.get("errors", [])) <= errors.MAX_VIOLATIONS
    assert all(len(found["field"]) <= errors.MAX_NAME_LENGTH for found in document.get("errors", []))
    return document


@pytest.mark.parametrize(
    ("path", "body", "many"),
    [(SUBSCRIPTIONS, {"target_url": URL}, 10_000), (EVENTS, {"event_type": "a", "payload": 1}, 600)],
)
async def test_twenty_unknown_fields_are_listed_and_the_others_counted(
    client: httpx.AsyncClient, path: str, body: dict[str, object], many: int
) -> None:
    document = bounded(await client.post(path, json=body | {f"unknown-{number}": 1 for number in range(many)}))
    assert [found["field"] for found in document["errors"]] == [f"unknown-{number}" for number in range(20)]
    assert document["detail"].endswith(f"; and {many - 20} more")


async def test_a_long_name_is_cut(client: httpx.AsyncClient) -> None:
    for path, length in ((SUBSCRIPTIONS, 200_000), (EVENTS, 10_000)):
        document = bounded(await client.post(path, json={"x" * length: 1}))
        assert "x" * 99 + "…" in [found["field"] for found in document["errors"]]
    bounded(await client.post(SUBSCRIPTIONS, json={"x" * 1_000_000: 1}), 413)
    bounded(await client.post(EVENTS, json={"x" * 1_000_000: 1}), 413)


async def test_long_and_many_parameters_are_a_bounded_problem(client: httpx.AsyncClient) -> None:
    document = bounded(await client.get(f"{SUBSCRIPTIONS}?{'x' * 8000}=1"))
    assert document["errors"][0]["field"] == "x" * 99 + "…"
    document = bounded(await client.get(SUBSCRIPTIONS + "?" + "&".join(f"p{number}=1" for number in range(900))))
    assert document["detail"].endswith("; and 880 more")
    bounded(await client.get(f"{SUBSCRIPTIONS}?{'x' * 60_000}=1"), 414)


async def test_many_wrong_event_types_are_a_bounded_problem(client: httpx.AsyncClient, services: Services) -> None:
    bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL, "event_types": ["a b"] * 10_000}))
    bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL, "event_types": [1] * 10_000}))
    assert services.requests == []


async def test_a_service_that_finds_very_many_faults_is_the_clients_error(
    client: httpx.AsyncClient, services: Services
) -> None:
    wrong = [errors.Violation(field=f"event_types.{n}", description="☃" * 5000) for n in range(10_000)]
    services.failure = errors.InvalidArgument.of(*wrong)
    document = bounded(await client.post(SUBSCRIPTIONS, json={"target_url": URL}))
    assert document["errors"][0]["field"] == "event_types.0"
    assert document["detail"].endswith("; and 9980 more")


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "meant"),
    [
        ("POST", SUBSCRIPTIONS, {"url": URL}, "url", "target_url"),
        ("POST", SUBSCRIPTIONS, {"targetUrl": URL}, "targetUrl", "target_url"),
        ("POST", SUBSCRIPTIONS, {"target_url": URL, "event_type": []}, "event_type", "event_types"),
        ("PUT", f"{SUBSCRIPTIONS}/{ids.new()}", {"target_url": URL, "secret": "x"}, "secret", "secret_key"),
        ("POST", SUBSCRIPTIONS, {"retry_policy": {"baseSecond": 1}}, "retry_policy.baseSecond", "base_seconds"),
        ("POST", EVENTS, {"eventType": "a", "payload": 1}, "eventType", "event_type"),
        ("POST", EVENTS, {"type": "a", "payload": 1}, "type", "event_type"),
        ("GET", f"{SUBSCRIPTIONS}?curser=x", None, "curser", "cursor"),
        ("POST", SUBSCRIPTIONS, {"target_url": URL, "color": "red"}, "color", None),
    ],
)
async def test_a_field_that_is_nearly_right_is_answered_with_the_right_one(
    client: httpx.AsyncClient, method: str, path: str, body: object, field: str, meant: str | None
) -> None:
    content = None if body is None else json.dumps(body)
    document = bounded(await client.request(method, path, content=content))
    messages = {found["field"]: found["message"] for found in document["errors"]}
    assert messages[field] == "is not a known field" + (f"; did you mean {meant}?" if meant else "")
