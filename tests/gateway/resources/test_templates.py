"""Templates over REST: fields of subscriptions, and previews."""

import json
from typing import Any

import httpx
import pytest

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import ids
from tests.gateway.fakes import NOW, Services

PREVIEW = "/api/v1/templates/preview"
SLACK = {"preset": "slack"}
EVENT = {"event_type": "order.created", "payload": {"order": 42}}


async def test_a_template_is_shown_and_its_secrets_are_not(client: httpx.AsyncClient, services: Services) -> None:
    body = {"target_url": "https://example.com/", "template": SLACK, "template_secrets": {"key": "hunter2"}}
    made = await client.post("/api/v1/subscriptions", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["template"] == {"preset": "slack", "source": None, "content_type": None}
    assert made.json()["template_secret_names"] == ["key"]
    assert "hunter2" not in made.text
    asked = services.requests[-1].spec
    assert (asked.template, dict(asked.template_secrets.values)) == (pb.Template(preset="slack"), {"key": "hunter2"})
    path = f"/api/v1/subscriptions/{made.json()['id']}"
    await client.patch(path, json={"template": None, "template_secrets": None})
    asked = services.requests[-1]
    assert list(asked.update_mask.paths) == ["template", "template_secrets"]
    assert (asked.spec.HasField("template"), asked.spec.HasField("template_secrets")) == (False, True)


async def test_a_preview_asks_with_the_event_and_shows_the_output(
    client: httpx.AsyncClient, services: Services
) -> None:
    services.rendered = pb.PreviewTemplateResponse(body=b"{}", content_type="text/plain", secret_names=["key"])
    answer = await client.post(PREVIEW, json={"template": SLACK, "event": EVENT, "template_secrets": {"key": "v"}})
    assert answer.json() == {
        "body": "{}",
        "content_type": "text/plain",
        "headers": {},
        "error": None,
        "line": None,
        "secret_names": ["key"],
    }
    asked = services.requests[-1]
    assert (asked.event.event_type, json.loads(asked.event.payload)) == ("order.created", {"order": 42})
    assert (asked.template.preset, dict(asked.template_secrets)) == ("slack", {"key": "v"})
    services.rendered = pb.PreviewTemplateResponse(error="no", line=3)
    failed = (await client.post(PREVIEW, json={"template": SLACK, "event": EVENT})).json()
    assert (failed["body"], failed["error"], failed["line"]) == (None, "no", 3)


async def test_a_preview_of_a_stored_event_reads_it_as_its_caller_may(
    client: httpx.AsyncClient, services: Services
) -> None:
    name = str(ids.new())
    services.event = ingest_pb2.Event(
        id=name, event_type="a", content_type="text/plain", payload=b"x", created_at=NOW, tags={"order": "42"}
    )
    assert (await client.post(PREVIEW, json={"template": SLACK, "event_id": name})).status_code == 200
    asked = services.requests[-1].event
    assert (asked.id, asked.payload, asked.time, dict(asked.tags)) == (name, b"x", NOW, {"order": "42"})
    services.event.payload_withheld = True
    refused = await client.post(PREVIEW, json={"template": SLACK, "event_id": name})
    assert (refused.status_code, refused.json()["reason"]) == (403, "CAPABILITY_MISSING")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"template": SLACK}, "event"),
        ({"template": SLACK, "event": EVENT, "event_id": str(ids.new())}, "event"),
        ({"template": SLACK, "event": {"payload": {}, "content_type": "text/plain"}}, "event.payload"),
        ({"template": {"source": ""}, "event": EVENT}, "template.source"),
        ({"template": {"preset": "slack", "other": 1}, "event": EVENT}, "template.other"),
        ({"template": SLACK, "event": EVENT, "template_secrets": {"a": ""}}, "template_secrets.a"),
    ],
)
async def test_a_preview_that_cannot_be_made_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(PREVIEW, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
