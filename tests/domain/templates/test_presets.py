"""Presets: what their providers document, whatever an event says. `make acceptance-shape` has the full counts."""

import itertools
import json
from typing import Any

import jsonschema_rs
import pytest
from cloudevents.core.bindings import http

from dev.shape import documents, templates
from services.domain import cloudevents
from services.domain.templates import presets
from services.domain.templates.template import TemplateFailed
from tests.domain.templates.test_sources import event

FAILING = {
    "type": "subscription.failing",
    "timestamp": "2026-03-14T15:09:26.535Z",
    "data": {
        "subscription_id": "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61",
        "target_host": "shop.example",
        "reason": "10 failures in a row",
        "last_error": "the receiver responded with <500>",
    },
}
SECRETS = {"routing_key": "r" * 32}
SAMPLE = 40


@pytest.mark.parametrize("name", presets.PRESETS)
def test_random_events_make_documents_that_the_provider_documents(name: str) -> None:
    schema = jsonschema_rs.validator_for(documents.SCHEMAS[name], validate_formats=True)
    for random_event in itertools.islice(documents.events(seed=7), SAMPLE):
        assert templates.wrong_with(name, schema, presets.render(name, random_event, SECRETS)) == ""


@pytest.mark.parametrize("name", ["slack", "teams", "discord", "google-chat"])
def test_a_message_says_in_words_which_endpoint_fails(name: str) -> None:
    made = presets.render(name, event(FAILING, type="subscription.failing"), {}).body.decode()
    assert "The endpoint shop.example is failing" in made.replace("\\\\", "")
    assert "10 failures in a row" in made


def test_what_senders_write_is_no_markup() -> None:
    hostile = event({"message": "<!channel> @everyone ``` [click](http://evil.example)"})
    slack = json.loads(presets.render("slack", hostile, {}).body)
    assert "<!channel>" not in json.dumps(slack)
    assert slack["blocks"][1]["text"]["text"].count("```") == 2
    discord = json.loads(presets.render("discord", hostile, {}).body)
    assert discord["allowed_mentions"] == {"parse": []}
    assert discord["embeds"][0]["description"].count("```") == 2
    teams = json.loads(presets.render("teams", hostile, {}).body)
    assert {block["type"] for block in teams["attachments"][0]["content"]["body"]} == {"RichTextBlock"}
    assert "<!channel>" not in presets.render("google-chat", hostile, {}).body.decode()


def test_pagerduty_resolves_the_alert_of_an_endpoint_that_works_again() -> None:
    failing = json.loads(presets.render("pagerduty", event(FAILING, type="subscription.failing"), SECRETS).body)
    recovered = FAILING | {"type": "subscription.recovered"}
    resolved = json.loads(presets.render("pagerduty", event(recovered, type="subscription.recovered"), SECRETS).body)
    assert (failing["event_action"], resolved["event_action"]) == ("trigger", "resolve")
    assert failing["dedup_key"] == resolved["dedup_key"] == f"endpoint:{FAILING['data']['subscription_id']}"  # type: ignore[index]
    assert failing["payload"]["severity"] == "error"
    own = json.loads(presets.render("pagerduty", event({"severity": "critical"}), SECRETS).body)
    assert (own["payload"]["severity"], own["dedup_key"]) == ("critical", event().id)
    with pytest.raises(TemplateFailed, match=r"requires template_secrets\.routing_key"):
        presets.render("pagerduty", event(), {})


@pytest.mark.parametrize(
    ("payload", "content_type", "expected"),
    [
        (b'{"n":  1.10}', "application/json", b'"data":{"n":  1.10}'),
        (b"text", "text/plain", b'"data":"text"'),
        (b"\xff", "text/plain", b'"data_base64":"/w=="'),
        (b"{", "application/json", b'"data_base64":"ew=="'),
        (b"\x89PNG", "image/png", b'"data_base64":"iVBORw=="'),
    ],
)
def test_a_cloudevent_has_the_data_as_it_is(payload: bytes, content_type: str, expected: bytes) -> None:
    made = presets.render("cloudevents", event(payload, content_type=content_type, tenant_id="acme"), {})
    assert made.content_type == "application/cloudevents+json; charset=utf-8"
    assert expected in made.body
    found = json.loads(made.body)
    assert (found["id"], found["source"], found["type"]) == (event().id, "/tenants/acme", "order.created")


CAME = {"id": "A-1", "source": "https://example.com/o rders", "subject": "Grüße", "flag": True, "number": 7}


@pytest.mark.parametrize("cloudevent", [{}, CAME], ids=["any event", "a CloudEvent"])
def test_both_modes_are_read_by_the_official_sdk_as_the_same_event(cloudevent: dict[str, Any]) -> None:
    of = event(tenant_id="acme/é", cloudevent=cloudevent, event_version=2)
    made = {mode: presets.render(mode, of, {}) for mode in ("cloudevents", "cloudevents-binary")}
    messages = {
        mode: http.HTTPMessage({**one.headers, "content-type": one.content_type}, one.body)
        for mode, one in made.items()
    }
    structured = http.from_structured_event(messages["cloudevents"])
    binary = http.from_binary_event(messages["cloudevents-binary"])
    expected = cloudevent or {"id": of.id, "source": "/tenants/acme%2F%C3%A9"}
    for found in (structured, binary):
        attributes = found.get_attributes()
        texts = {name: cloudevents.text(attributes[name]) for name in expected}
        assert texts == {name: cloudevents.text(value) for name, value in expected.items()}
        assert (attributes["type"], attributes["datacontenttype"]) == (of.type, of.content_type)
        assert found.get_data() == json.loads(of.payload)
    assert (structured.get_attributes()["eventversion"], binary.get_attributes()["eventversion"]) == (2, "2")
    assert structured.get_attributes().get("flag") == cloudevent.get("flag")
    assert made["cloudevents-binary"].body == of.payload
    assert ("ce-time" in made["cloudevents-binary"].headers) == (not cloudevent)


def test_an_event_without_a_type_is_sent_with_one() -> None:
    binary = presets.render("cloudevents-binary", event(type=""), {})
    assert binary.headers["ce-type"] == json.loads(presets.render("cloudevents", event(type=""), {}).body)["type"]


def test_a_preset_of_a_later_version_fails_the_attempt() -> None:
    with pytest.raises(TemplateFailed, match="the preset later is not known"):
        presets.render("later", event(), {})
