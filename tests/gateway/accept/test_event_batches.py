"""Batches of events: each event has its own result, in order, and what of a request is refused as a whole."""

from typing import Any

import httpx
import pytest

from dev.harness.api import TLS
from protos.webhook.v1 import ingest_pb2
from services.gateway.accept import envelope, routes
from services.platform import errors
from services.platform.http import json_text
from tests.gateway.conftest import MAX_PAYLOAD_BYTES, gateway
from tests.gateway.fakes import Services, accept

BATCH = "/api/v1/events/batch"
EXACT = '{"b":1,  "a" : 1.0e0, "\u00e9": "\\u00e9\U0001f600"}'.encode()
EVENT = {"event_type": "a", "payload": 1}


async def send(client: httpx.AsyncClient, *events: Any, **headers: str) -> list[Any]:
    """Return the results of a batch."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.post(BATCH, json={"events": events}, headers=named)
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(events)
    return results


async def test_each_event_is_stored_exactly_and_answered_in_order(
    client: httpx.AsyncClient, services: Services
) -> None:
    first = b'{"payload": %b, "event_type": "order.created"}' % EXACT
    second = b'{"event_type": "order.paid", "idempotency_key": "k", "payload": "\\ud83d"}'
    answer = await client.post(BATCH, content=b'{"events": [%b , %b]}' % (first, second))
    assert answer.status_code == 200
    items = {item.event_type: item for item in services.items}
    created, paid = items["order.created"], items["order.paid"]
    assert answer.json() == {
        "results": [{"event_id": created.event_id, "deliveries": 1}, {"event_id": paid.event_id, "deliveries": 1}]
    }
    assert (created.payload, created.content_type, created.idempotency_key) == (EXACT, "application/json", "")
    assert (paid.payload, paid.idempotency_key, paid.tenant_id) == (b'"\\ud83d"', "k", "default")
    assert [item.WhichOneof("target") for item in (created, paid)] == ["fan_out"] * 2


async def test_an_event_that_is_too_large_is_refused_before_it_is_read(
    client: httpx.AsyncClient, services: Services
) -> None:
    members = {f"m{number}": 1 for number in range(MAX_PAYLOAD_BYTES // 4)}
    (result,) = await send(client, members)
    assert (result["error"]["status"], result["error"]["errors"][0]["field"]) == (413, "payload")
    assert not services.items


async def test_a_refused_event_has_a_problem_and_the_others_are_stored(
    client: httpx.AsyncClient, services: Services
) -> None:
    def result(item: ingest_pb2.IngestItem) -> ingest_pb2.IngestResult:
        if item.event_type != "busy":
            return accept(item)
        reason = errors.ErrorReason.TENANT_OVERLOADED
        refused = ingest_pb2.ItemError(code=errors.Code.RESOURCE_EXHAUSTED, reason=reason, message="too many wait")
        return ingest_pb2.IngestResult(error=refused)

    services.result = result
    large = {"event_type": "a", "payload": "x" * MAX_PAYLOAD_BYTES}
    wrong: list[Any] = [{"event_type": "a b", "payload": 1, "more": 2}, {"event_type": "busy", "payload": 1}, large, 7]
    results = await send(client, EVENT, *wrong, EVENT, X_Request_Id="r-1")
    assert [result.get("deliveries") for result in results] == [1, None, None, None, None, 1]
    problems = [result["error"] for result in results[1:5]]
    assert [(problem["status"], problem["reason"]) for problem in problems] == [
        (422, "INVALID_ARGUMENT"),
        (429, "TENANT_OVERLOADED"),
        (413, "PAYLOAD_TOO_LARGE"),
        (422, "INVALID_ARGUMENT"),
    ]
    assert [[found["field"] for found in problem.get("errors", ())] for problem in problems] == [
        ["more"],
        [],
        ["payload"],
        ["event"],
    ]
    assert {problem["request_id"] for problem in problems} == {"r-1"}
    assert [item.event_type for item in services.items].count("a") == 2


@pytest.mark.parametrize(
    ("event", "status", "field"),
    [
        ({"event_type": "a"}, 422, "payload"),
        ({"payload": 1}, 422, "event_type"),
        ({"event_type": 1, "payload": 1}, 422, "event_type"),
        ({"event_type": "", "payload": 1}, 422, "event_type"),
        (EVENT | {"idempotency_key": ""}, 422, "idempotency_key"),
        (EVENT | {"idempotency_key": "\u00e9"}, 422, "idempotency_key"),
        (EVENT | {"idempotency_key": "k" * 256}, 422, "idempotency_key"),
        (EVENT | {"idempotency_key": 1}, 422, "idempotency_key"),
        (None, 422, "event"),
        ([], 422, "event"),
    ],
    ids=str,
)
async def test_a_wrong_event_names_its_field(
    client: httpx.AsyncClient, services: Services, event: object, status: int, field: str
) -> None:
    wrong, fine = await send(client, event, EVENT | {"idempotency_key": None})
    assert (wrong["error"]["status"], wrong["error"]["errors"][0]["field"]) == (status, field)
    assert fine["deliveries"] == 1
    assert [item.idempotency_key for item in services.items] == [""]


async def test_an_event_with_a_key_twice_is_malformed_and_the_others_are_stored(client: httpx.AsyncClient) -> None:
    twice = b'{"event_type": "a", "payload": 1, "payload": 1}'
    answer = await client.post(BATCH, content=b'{"events": [%b, {"event_type": "a", "payload": 1}]}' % twice)
    wrong, fine = answer.json()["results"]
    assert (wrong["error"]["status"], wrong["error"]["reason"]) == (400, "MALFORMED_BODY")
    assert fine["deliveries"] == 1


async def test_each_event_without_a_key_gets_one_of_the_batch(client: httpx.AsyncClient, services: Services) -> None:
    key = "b" * 250
    await send(client, EVENT, EVENT | {"event_type": "b", "idempotency_key": "own"}, EVENT, Idempotency_Key=key)
    assert sorted(item.idempotency_key for item in services.items) == [f"{key}:0", f"{key}:2", "own"]


async def test_replayed_and_expanding_events_are_marked(client: httpx.AsyncClient, services: Services) -> None:
    stored = "019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5"

    def result(item: ingest_pb2.IngestItem) -> ingest_pb2.IngestResult:
        old, many = item.event_type == "old", item.event_type == "many"
        event_id = stored if old else item.event_id
        return ingest_pb2.IngestResult(
            accepted=ingest_pb2.Accepted(event_id=event_id, deliveries=0 if many else 2, replayed=old, expanding=many)
        )

    services.result = result
    old, many = {"event_type": "old", "payload": 1}, {"event_type": "many", "payload": 1}
    replayed, expanding, new = await send(client, old, many, EVENT)
    assert replayed == {"event_id": stored, "deliveries": 2, "replayed": True}
    assert expanding.keys() == {"event_id", "expanding"}
    assert new.keys() == {"event_id", "deliveries"}
    for batch, marked in (([old, old], "true"), ([old, EVENT], None)):
        answer = await client.post(BATCH, json={"events": batch})
        assert answer.headers.get("idempotent-replayed") == marked


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"nope", 400, None),
        (b'{"events": [{"event_type": "a", "payload": 01}]}', 400, None),
        (b'{"events": [1], "events": [1]}', 400, None),
        (b'{"events": [1, 2], "events": [1]}', 400, None),
        (b'{"events": [], "events": [1]}', 400, None),
        (b'{"events": [%b]}' % (b"[" * 100_000 + b"]" * 100_000), 400, None),
        (b"[]", 422, "body"),
        (b"{}", 422, "events"),
        (b'{"events": []}', 422, "events"),
        (b'{"events": null}', 422, "events"),
        (b'{"events": {"event_type": "a", "payload": 1}}', 422, "events"),
        (b'{"events": [1], "event": 1}', 422, "event"),
        (b'{"events": [%b]}' % b",".join([b"1"] * (envelope.MAX_EVENTS + 1)), 422, "events"),
        (b'{"events": [1]}'.ljust(routes.MAX_BATCH_BYTES + 1), 413, "body"),
        (b'{"events": [1], "more": 1}'.ljust(envelope.MAX_EXPLAINED_BYTES + 1), 422, "body"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    client: httpx.AsyncClient, services: Services, body: bytes, status: int, field: str | None
) -> None:
    answer = await client.post(BATCH, content=body)
    assert answer.status_code == status
    assert [found["field"] for found in answer.json().get("errors", ())] == ([] if field is None else [field])
    assert services.items == []


async def test_a_batch_at_its_bounds_is_accepted(services: Services) -> None:
    one = b'{"event_type": "a", "payload": 1}'
    body = b'{"events": [%b]}' % b",".join([one] * envelope.MAX_EVENTS)
    # It takes a busy machine longer than a gateway of other tests waits.
    async with (
        gateway(services.port, accept_timeout_seconds=60.0) as url,
        httpx.AsyncClient(base_url=url, timeout=60, verify=TLS) as client,
    ):
        answer = await client.post(BATCH, content=body.ljust(routes.MAX_BATCH_BYTES))
    assert answer.status_code == 200
    made = [result["event_id"] for result in answer.json()["results"]]
    assert len(set(made)) == envelope.MAX_EVENTS
    assert made == sorted(made), "ids are in the order of the events"
    assert {item.event_id for item in services.items} == set(made)


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"Content-Type": "text/plain"}, 415, "Content-Type"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"Idempotency-Key": "k" * 251}, 422, "Idempotency-Key"),
    ],
    ids=str,
)
async def test_a_wrong_header_refuses_the_batch(
    client: httpx.AsyncClient, services: Services, headers: dict[str, str], status: int, field: str
) -> None:
    answer = await client.post(BATCH, content=b'{"events": [{"event_type": "a", "payload": 1}]}', headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
    assert services.items == []


async def test_a_bug_is_the_result_of_its_event_alone(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = json_text.members

    def broken(text: bytes, values: Any) -> dict[str, bytes]:
        if b"broken" in text:
            raise ZeroDivisionError
        return members(text, values)

    monkeypatch.setattr(json_text, "members", broken)
    wrong, fine = await send(client, {"event_type": "broken", "payload": 1}, EVENT)
    assert (wrong["error"]["status"], wrong["error"]["reason"]) == (500, "INTERNAL")
    assert wrong["error"]["instance"].startswith("urn:uuid:")
    assert fine["deliveries"] == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_the_path_of_batches_is_no_event(client: httpx.AsyncClient, services: Services, method: str) -> None:
    answer = await client.request(method, BATCH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert services.requests == []


async def test_events_of_a_batch_have_tags_of_their_own(client: httpx.AsyncClient, services: Services) -> None:
    await send(client, EVENT | {"tags": {"order": "1"}}, EVENT | {"event_type": "b", "tags": None}, EVENT)
    assert sorted((item.event_type, dict(item.tags)) for item in services.items if item.tags) == [("a", {"order": "1"})]
    assert len(services.items) == 3
