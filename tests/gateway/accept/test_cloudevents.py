"""CloudEvents as the gateway takes them: in every content mode, as their SDK writes them, and as nobody should."""

import base64
import contextlib
import json
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from protos.webhook.v1 import ingest_pb2
from services.domain import cloudevents, events
from services.gateway.accept.cloudevents import formats
from services.platform import errors, ids
from tests.gateway.conftest import MAX_PAYLOAD_BYTES
from tests.gateway.fakes import TOKEN, Services

PATH = "/api/v1/cloudevents"
EVENT = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.created", "data": {"order": 42}}
HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/orders", "ce-type": "order.created"}
# What a String of CloudEvents may have.
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=20)


def attributes_of(item: ingest_pb2.IngestItem) -> dict[str, Any]:
    """Return the attributes that ingest gets."""
    return {name: getattr(value, str(value.WhichOneof("value"))) for name, value in item.cloudevent.items()}


async def structured(client: httpx.AsyncClient, event: Any, **headers: str) -> httpx.Response:
    """Send a CloudEvent, or bytes in place of one, in structured mode."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return await client.post(PATH, content=body, headers={"Content-Type": formats.STRUCTURED, **headers})


async def batch(client: httpx.AsyncClient, *events: Any) -> httpx.Response:
    """Send a batch."""
    return await client.post(PATH, content=json.dumps(events).encode(), headers={"Content-Type": formats.BATCH})


def fields(answer: httpx.Response) -> list[str]:
    """Return the fields at fault."""
    return [found["field"] for found in answer.json().get("errors", ())]


@pytest.mark.parametrize("write", [http.to_binary_event, http.to_structured_event], ids=["binary", "structured"])
async def test_events_of_the_official_sdk_are_taken_in_both_modes(
    client: httpx.AsyncClient, services: Services, write: Any
) -> None:
    attributes = {
        "id": "id with “quotes”, 100%",
        "source": "https://example.com/orders?a=b%20c",
        "type": "com.example.order.created",
        "subject": "Grüße 🎉",
        "datacontenttype": "application/json; charset=utf-8",
        "comexampleextension": "value",
    }
    message = write(CloudEvent(dict(attributes), {"order": 42}))
    answer = await client.post(PATH, content=message.body, headers=message.headers)
    assert (answer.status_code, answer.json()["deliveries"]) == (202, 1), answer.text
    (item,) = services.items
    assert (item.event_type, item.content_type) == (attributes["type"], attributes["datacontenttype"])
    assert json.loads(item.payload) == {"order": 42}
    assert item.HasField("fan_out")
    kept = {name: value for name, value in attributes.items() if name not in {"type", "datacontenttype"}}
    assert {**attributes_of(item), "time": None} == {**kept, "time": None}


async def test_a_batch_is_answered_event_by_event(client: httpx.AsyncClient, services: Services) -> None:
    wrong = EVENT | {"specversion": "0.3"}
    answer = await batch(client, EVENT, wrong, EVENT | {"id": "2", "data": "text", "datacontenttype": "text/plain"}, 7)
    assert answer.status_code == 200
    stored, refused, plain, no_event = answer.json()["results"]
    assert (stored["deliveries"], plain["deliveries"]) == (1, 1)
    assert [found["error"]["errors"][0]["field"] for found in (refused, no_event)] == ["specversion", "body"]
    assert sorted((item.payload, item.content_type) for item in services.items) == [
        (b"text", "text/plain"),
        (b'{"order": 42}', "application/json"),
    ]
    assert (await batch(client)).json() == {"results": []}


async def test_the_exact_bytes_of_data_are_kept(client: httpx.AsyncClient, services: Services) -> None:
    data = b'{ "b":1.50,\n"a":"\\u00e9", "big": 12345678901234567890123 }'
    body = json.dumps(EVENT).encode().replace(b'{"order": 42}', data)
    assert (await structured(client, body)).status_code == 202
    assert (await client.post(PATH, content=data, headers=HEADERS)).status_code == 202
    encoded = {**EVENT, "datacontenttype": "image/png", "data_base64": base64.b64encode(b"\x89PNG\0").decode()}
    del encoded["data"]
    assert (await structured(client, encoded)).status_code == 202
    nothing = {name: value for name, value in EVENT.items() if name != "data"}
    assert (await structured(client, nothing)).status_code == 202
    assert [item.payload for item in services.items] == [data, data, b"\x89PNG\0", b""]


async def test_attributes_keep_their_types_and_null_ones_are_left_out(
    client: httpx.AsyncClient, services: Services
) -> None:
    answer = await structured(client, EVENT | {"flag": True, "number": -2147483648, "text": "1", "subject": None})
    assert answer.status_code == 202
    assert attributes_of(services.items[0]) == {
        "id": "1",
        "source": "/orders",
        "flag": True,
        "number": -2147483648,
        "text": "1",
    }


async def test_the_version_of_the_type_is_an_attribute_of_its_own(
    client: httpx.AsyncClient, services: Services
) -> None:
    assert (await structured(client, EVENT | {"eventversion": 2})).status_code == 202
    assert (await structured(client, EVENT | {"eventversion": "3"})).status_code == 202
    assert (await structured(client, EVENT | {"eventversion": None})).status_code == 202
    await batch(client, EVENT | {"eventversion": 4})
    answer = await client.post(PATH, content=b"{}", headers=HEADERS | {"ce-eventversion": "5"})
    assert answer.status_code == 202
    assert [item.event_version for item in services.items] == [2, 3, 0, 4, 5]
    assert all(set(item.cloudevent) == {"id", "source"} for item in services.items)
    answer = await client.post(PATH, content=b"{}", headers=HEADERS | {"ce-eventversion": "new"})
    assert (answer.status_code, fields(answer)) == (422, ["ce-eventversion"])


async def test_the_version_of_the_type_may_be_in_a_header_of_the_service(
    client: httpx.AsyncClient, services: Services
) -> None:
    stated = {"X-Webhook-Event-Version": "5"}
    for attribute in ({}, {"ce-eventversion": "5"}):
        answer = await client.post(PATH, content=b"{}", headers=HEADERS | stated | attribute)
        assert (answer.status_code, services.items[-1].event_version) == (202, 5)
    structured_mode = {"Content-Type": "application/cloudevents+json"}
    answer = await client.post(PATH, json=EVENT, headers=structured_mode | stated)
    assert (answer.status_code, services.items[-1].event_version) == (202, 5)
    batched = {"Content-Type": "application/cloudevents-batch+json"}
    for refused in (
        await client.post(PATH, json=EVENT | {"eventversion": 4}, headers=structured_mode | stated),
        await client.post(PATH, content=b"{}", headers=HEADERS | {"X-Webhook-Event-Version": "new"}),
        await client.post(PATH, json=[EVENT], headers=batched | stated),
    ):
        assert (refused.status_code, fields(refused)) == (422, ["X-Webhook-Event-Version"])


@given(st.dictionaries(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), TEXTS, max_size=5))
def test_every_value_survives_a_header(extensions: dict[str, str]) -> None:
    named = {name: value for name, value in extensions.items() if name not in cloudevents.COLUMNS}
    kept = {"id": "1", "source": "/s"} | {f"x{name}": value for name, value in named.items()}
    sent = dict(cloudevents.headers(kept, "t"))
    assert all(value.isascii() and value.isprintable() and " " not in value for value in sent.values())
    pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
    assert formats.binary(pairs, None, b"{}").attributes == kept
    read = http.from_binary_event(http.HTTPMessage(sent, b"{}")).get_attributes()
    assert {name: read[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b'"a \\"b\\" c"', 'a "b" c'),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"100%", "100%"),
        (b"%2541", "%41"),
    ],
)
def test_values_are_unquoted_and_decoded_once(value: bytes, read: str) -> None:
    assert cloudevents.from_header(value) == read


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no attributes": ({"data": 1}, ["specversion", "type", "id", "source"]),
    "another version": (EVENT | {"specversion": "0.3"}, ["specversion"]),
    "a number for a version": (EVENT | {"specversion": 1.0}, ["specversion"]),
    "no type": (EVENT | {"type": ""}, ["type"]),
    "a type with a space": (EVENT | {"type": "a b"}, ["type"]),
    "an empty id": (EVENT | {"id": ""}, ["id"]),
    "a number for an id": (EVENT | {"id": 1}, ["id"]),
    "a source with a space": (EVENT | {"source": "/a b"}, ["source"]),
    "a time without a zone": (EVENT | {"time": "2026-03-14T15:09:26"}, ["time"]),
    "a time that never is": (EVENT | {"time": "2026-02-30T15:09:26Z"}, ["time"]),
    "a relative schema": (EVENT | {"dataschema": "/schema"}, ["dataschema"]),
    "a version that is no number": (EVENT | {"eventversion": "1.0"}, ["eventversion"]),
    "a version that is true": (EVENT | {"eventversion": True}, ["eventversion"]),
    "a version below 1": (EVENT | {"eventversion": 0}, ["eventversion"]),
    "a name in capitals": (EVENT | {"Name": "x"}, ["Name"]),
    "a name with a hyphen": (EVENT | {"a-b": "x"}, ["a-b"]),
    "an empty name": (EVENT | {"": "x"}, [""]),
    "a huge name": (EVENT | {"x" * 20_000: "x"}, ["x" * 64]),
    "a huge value": (EVENT | {"x": "x" * 1025}, ["x"]),
    "many attributes": (EVENT | {f"x{n}": 1 for n in range(45)}, ["attributes"]),
    "large attributes": (EVENT | {f"x{n}": "x" * 1000 for n in range(5)}, ["attributes"]),
    "an object": (EVENT | {"x": {}}, ["x"]),
    "a fraction": (EVENT | {"x": 1.5}, ["x"]),
    "a huge number": (EVENT | {"x": 1 << 31}, ["x"]),
    "a number of 30 digits": (EVENT | {"x": 10**30}, ["x"]),
    "a line break": (EVENT | {"x": "a\r\nb: c"}, ["x"]),
    "NUL": (EVENT | {"x": "a\0"}, ["x"]),
    "no character": (EVENT | {"x": "\ufffe"}, ["x"]),
    "data in both forms": (EVENT | {"data_base64": "AA=="}, ["data_base64"]),
    "no base64": ({**EVENT, "data": None, "data_base64": "?"}, ["data_base64"]),
    "data that is no text": (EVENT | {"datacontenttype": "text/plain"}, ["data"]),
    "a content type with a line break": (EVENT | {"datacontenttype": "text/plain\r\nX: y"}, ["datacontenttype"]),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_event_is_refused_by_field_alone_and_in_a_batch(
    client: httpx.AsyncClient, services: Services, name: str
) -> None:
    event, expected = WRONG[name]
    answer = await structured(client, event)
    assert (answer.status_code, fields(answer)) == (422, expected), answer.text
    bad, good = (await batch(client, event, EVENT)).json()["results"]
    assert ([found["field"] for found in bad["error"]["errors"]], good["deliveries"]) == (expected, 1)
    assert len(services.items) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"specversion": "1.0", "id": "1", "id": "2", "source": "/", "type": "a"}', 400),
        (b'{"specversion": "1.0", "id": "1", "source": "/", "type": "a", "data": 1, "data": 2}', 400),
        (b'{"specversion": "1.0", "id": "\xff", "source": "/", "type": "a"}', 400),
        (b'{"id":' * 5000, 400),
        (b"{" + b",".join(b'"x%d":1' % n for n in range(1000)) + b"}", 422),
    ],
)
async def test_hostile_json_is_refused(client: httpx.AsyncClient, services: Services, body: bytes, status: int) -> None:
    assert (await structured(client, body)).status_code == status
    assert services.items == []


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({}, 415, "Content-Type"),
        ({"Content-Type": "application/json"}, 415, "Content-Type"),
        ({"Content-Type": "application/cloudevents+xml", **HEADERS}, 415, "Content-Type"),
        ({"Content-Encoding": "gzip", **HEADERS}, 415, "Content-Encoding"),
        ({"Idempotency-Key": "k", **HEADERS}, 422, "Idempotency-Key"),
        ({"X-Webhook-Tags": "a=b", "Content-Type": formats.BATCH}, 422, "X-Webhook-Tags"),
        (HEADERS | {"ce-specversion": "2.0"}, 422, "ce-specversion"),
        (HEADERS | {"ce-type": "%00"}, 422, "ce-type"),
        (HEADERS | {"ce-x": "%ff%fe"}, 422, "ce-x"),
        (HEADERS | {"ce-x": "a%0d%0ab"}, 422, "ce-x"),
        (HEADERS | {"ce-x_y": "1"}, 422, "ce-x_y"),
        (HEADERS | {"ce-": "1"}, 422, "ce-"),
        (HEADERS | {"ce-" + "x" * 5000: "1"}, 422, "ce-" + "x" * 64),
        (HEADERS | {"ce-datacontenttype": "text/plain"}, 422, "ce-datacontenttype"),
        (HEADERS | {"ce-time": "yesterday"}, 422, "ce-time"),
        ({"ce-id": "1"}, 422, "ce-specversion"),
    ],
)
async def test_hostile_headers_are_refused_by_name(
    client: httpx.AsyncClient, services: Services, headers: dict[str, str], status: int, field: str
) -> None:
    answer = await client.post(PATH, content=b"[]", headers=headers)
    assert (answer.status_code, fields(answer)[0]) == (status, field), answer.text
    assert services.items == []


async def test_a_repeated_attribute_is_refused(client: httpx.AsyncClient, services: Services) -> None:
    for again in ("ce-id", "ce-source"):
        answer = await client.post(PATH, content=b"{}", headers=[*HEADERS.items(), (again, "2")])
        assert (answer.status_code, fields(answer)) == (400, [again])
    assert services.items == []


async def test_binary_data_that_is_not_the_json_that_it_says_is_refused(
    client: httpx.AsyncClient, services: Services
) -> None:
    declared = HEADERS | {"Content-Type": "application/json"}
    assert (await client.post(PATH, content=b"{", headers=declared)).status_code == 400
    assert (await client.post(PATH, content=b"{", headers=HEADERS)).status_code == 202
    assert [(item.content_type, item.payload) for item in services.items] == [("application/octet-stream", b"{")]


async def test_payloads_up_to_the_bound_are_taken_in_every_form(client: httpx.AsyncClient, services: Services) -> None:
    for size, status in ((MAX_PAYLOAD_BYTES, 202), (MAX_PAYLOAD_BYTES + 1, 413)):
        data = b"x" * size
        encoded = {**EVENT, "datacontenttype": "a/b", "data_base64": base64.b64encode(data).decode()}
        del encoded["data"]
        for answer in (
            await structured(client, encoded),
            await client.post(PATH, content=data, headers=HEADERS | {"Content-Type": "a/b"}),
        ):
            assert answer.status_code == status
    assert len(services.items) == 2
    huge = EVENT | {"data": "x" * (MAX_PAYLOAD_BYTES * 2)}
    too_large, fine = (await batch(client, huge, EVENT)).json()["results"]
    assert (too_large["error"]["status"], fine["deliveries"]) == (413, 1)


async def test_tags_come_with_a_single_event(client: httpx.AsyncClient, services: Services) -> None:
    assert (await structured(client, EVENT, **{"X-Webhook-Tags": "order=42"})).status_code == 202
    assert dict(services.items[0].tags) == {"order": "42"}


# The handshake.


async def test_a_handshake_is_granted_to_the_origin_that_asks(client: httpx.AsyncClient, services: Services) -> None:
    asked = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}
    answer = await client.options(PATH, headers=asked)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["webhook-allowed-origin"] == "eventemitter.example.com"
    assert (answer.headers["webhook-allowed-rate"], answer.headers["allow"]) == ("*", "POST")
    assert services.requests == []


async def test_a_handshake_at_an_ingest_url_needs_its_token(client: httpx.AsyncClient, services: Services) -> None:
    asked = {"WebHook-Request-Origin": "eventemitter.example.com"}
    path = f"/api/v1/webhooks/ingest/{ids.new()}"
    granted = await client.options(f"{path}/{TOKEN}", headers=asked)
    assert (granted.status_code, granted.headers["webhook-allowed-origin"]) == (200, "eventemitter.example.com")
    assert (await client.options(f"{path}/{TOKEN}")).status_code == 405  # no handshake
    for wrong in (f"{path}/whi_other", f"/api/v1/webhooks/ingest/x/{TOKEN}"):
        refused = await client.options(wrong, headers=asked)
        assert "webhook-allowed-origin" not in refused.headers
        assert refused.status_code in {404, 422}, wrong
    assert services.items == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_requests_than_post_and_handshakes_are_not_supported(
    client: httpx.AsyncClient, method: str
) -> None:
    answer = await client.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


# Any bytes.


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(body: bytes) -> None:
    for read in (formats.structured, formats.batch, lambda body: formats.binary([(b"ce-id", body)], None, b"")):
        with contextlib.suppress(errors.WebhookError):
            read(body)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
NAMES = st.one_of(
    st.sampled_from([*EVENT, "data_base64", "datacontenttype", "time", "traceparent"]), st.text(max_size=4)
)


@given(st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=2))))
def test_any_object_is_an_event_that_ingest_takes_or_refused(event: dict[str, Any]) -> None:
    try:
        found = formats.structured(json.dumps(EVENT | event).encode())
    except errors.WebhookError:
        pass
    else:
        assert cloudevents.violations(found.attributes) == []
        assert events.is_valid_text(cloudevents.key(str(found.attributes["source"]), str(found.attributes["id"])))


async def test_accepted_cloudevents_are_counted_as_such(client: httpx.AsyncClient) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("webhook_http_events_accepted_total", {"kind": "cloudevent"}) or 0.0

    before = counted()
    await structured(client, EVENT)
    await batch(client, EVENT, EVENT)
    assert counted() == before + 3
