"""Templates of subscriptions: what is stored and shown, what is refused, and previews."""

import json
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import limits
from services.domain.templates.template import MAX_SOURCE_BYTES
from tests.ingest.conftest import Ingest, fields, refused

SLACK = pb.Template(preset="slack")
SOURCE = pb.Template(source='{"a": "{{ event.data.a }}", "k": "{{ secrets.key }}"}', content_type="application/json")
KEY = pb.TemplateSecrets(values={"key": "hunter2-key"})


async def test_a_template_is_stored_shown_replaced_and_removed(ingest: Ingest) -> None:
    made = await ingest.create(template=SOURCE, template_secrets=KEY)
    assert made.spec.template == SOURCE
    assert not made.spec.HasField("template_secrets")
    assert list(made.status.template_secret_names) == ["key"]
    kept = await ingest.get(made.id)
    assert (kept.spec, kept.status.template_secret_names) == (made.spec, made.status.template_secret_names)
    sealed = await ingest.pool.fetchval(
        "SELECT sealed_template_secrets FROM subscriptions WHERE id = $1::text::uuid", made.id
    )
    assert b"hunter2" not in sealed
    patch = ingest.change(made.id, update_mask=FieldMask(paths=["template"]), template=SLACK)
    patched = (await ingest.subscriptions.UpdateSubscription(patch)).subscription
    assert (patched.spec.template, list(patched.status.template_secret_names)) == (SLACK, ["key"])
    removed = await ingest.update(made.id)
    assert (removed.spec.HasField("template"), list(removed.status.template_secret_names)) == (False, ["key"])
    gone = await ingest.update(made.id, template_secrets=pb.TemplateSecrets())
    assert list(gone.status.template_secret_names) == []


@pytest.mark.parametrize(
    ("template", "field"),
    [
        (pb.Template(), "template"),
        (pb.Template(preset="irc"), "template.preset"),
        (pb.Template(preset="slack", source="a"), "template.source"),
        (pb.Template(preset="slack", content_type="a/b"), "template.content_type"),
        (pb.Template(source="a"), "template.content_type"),
        (pb.Template(source="a", content_type="a\nb"), "template.content_type"),
        (pb.Template(source="a" * (MAX_SOURCE_BYTES + 1), content_type="a/b"), "template.source"),
        (pb.Template(source="é" * (MAX_SOURCE_BYTES // 2 + 1), content_type="a/b"), "template.source"),
        (pb.Template(source="a\x00", content_type="a/b"), "template.source"),
        (pb.Template(source="{{ a", content_type="a/b"), "template.source"),
        (pb.Template(source="{{ 'x' * 10000000000 }}", content_type="a/b"), None),  # known when it is rendered
        (pb.Template(source="{{ secrets.b }}", content_type="a/b"), "template_secrets.b"),
        (pb.Template(preset="pagerduty"), "template_secrets.routing_key"),
    ],
)
async def test_a_template_that_cannot_be_used_is_refused(
    ingest: Ingest, template: pb.Template, field: str | None
) -> None:
    if field is None:
        await ingest.create(template=template)
        return
    assert fields(await refused(ingest.create(template=template, template_secrets=KEY))) == [field]
    made = await ingest.create(template_secrets=KEY)
    assert fields(await refused(ingest.update(made.id, template=template))) == [field]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({str(number): "a" for number in range(limits.MAX_TEMPLATE_SECRETS + 1)}, "template_secrets"),
        ({"A": "a"}, "template_secrets"),
        ({"a": ""}, "template_secrets.a"),
        ({"a": "b" * 257}, "template_secrets.a"),
        ({"a": " b"}, "template_secrets.a"),
    ],
)
async def test_a_secret_of_a_template_that_cannot_be_used_is_refused(
    ingest: Ingest, values: dict[str, str], field: str
) -> None:
    assert fields(await refused(ingest.create(template_secrets=pb.TemplateSecrets(values=values)))) == [field]


async def test_a_needed_secret_is_not_removed_and_a_template_relays_no_headers(ingest: Ingest) -> None:
    key = pb.TemplateSecrets(values={"routing_key": "k" * 32})
    made = await ingest.create(template=pb.Template(preset="pagerduty"), template_secrets=key)
    patch = ingest.change(made.id, update_mask=FieldMask(paths=["template_secrets"]))
    assert fields(await refused(ingest.subscriptions.UpdateSubscription(patch))) == ["template_secrets.routing_key"]
    relaying: dict[str, Any] = {"verification": pb.VERIFICATION_GITHUB, "relay_headers": True}
    assert fields(await refused(ingest.create(template=SLACK, **relaying))) == ["relay_headers"]


async def test_the_audit_log_names_a_template_and_its_secrets_without_their_texts(ingest: Ingest) -> None:
    made = await ingest.create(template=SOURCE, template_secrets=KEY)
    await ingest.update(made.id, template=SLACK, template_secrets=KEY)
    rows = await ingest.pool.fetch("SELECT changes FROM audit_entries WHERE resource_id = $1 ORDER BY id", made.id)
    created, updated = (json.loads(row["changes"]) for row in rows)
    assert {"template", "template_secrets"} <= {change["field"] for change in created}
    assert {change["field"] for change in updated} == {"template", "template_secrets"}
    assert "event.data" not in str(rows)
    assert "hunter2" not in str(rows)


# -- previews --


def preview(ingest: Ingest, **given: Any) -> pb.PreviewTemplateRequest:
    event = given.pop("event", pb.TemplateEvent(event_type="order.created", payload=b'{"a": "x\\"y"}'))
    return pb.PreviewTemplateRequest(tenant_id=ingest.tenant_id, event=event, **given)


async def test_a_preview_shows_what_would_be_sent_and_no_stored_secret(ingest: Ingest) -> None:
    made = await ingest.create(template=SOURCE, template_secrets=KEY)
    stored = await ingest.subscriptions.PreviewTemplate(preview(ingest, subscription_id=made.id))
    assert (stored.body, stored.content_type, list(stored.secret_names)) == (
        b'{"a": "x\\"y", "k": "***"}',
        "application/json",
        ["key"],
    )
    given = await ingest.subscriptions.PreviewTemplate(
        preview(ingest, template=SOURCE, template_secrets={"key": "mine"})
    )
    assert json.loads(given.body)["k"] == "mine"
    slack = await ingest.subscriptions.PreviewTemplate(preview(ingest, template=SLACK))
    assert json.loads(slack.body)["text"] == "order.created"
    pager = await ingest.subscriptions.PreviewTemplate(preview(ingest, template=pb.Template(preset="pagerduty")))
    assert json.loads(pager.body)["routing_key"] == "***"


async def test_a_preview_says_why_a_template_fails(ingest: Ingest) -> None:
    broken = pb.Template(source='\n{"a": {{ event.data.a | nope }}}', content_type="application/json")
    failed = await ingest.subscriptions.PreviewTemplate(preview(ingest, template=broken))
    assert (failed.error, failed.line, failed.body) == ("filter nope is unknown", 2, b"")
    no_json = pb.Template(source="{{ event.data.a | safe }}", content_type="application/json")
    failed = await ingest.subscriptions.PreviewTemplate(preview(ingest, template=no_json))
    assert failed.error == "the output is not JSON: invalid character, on line 1 of the output near 'x\"y'"
    assert not failed.HasField("line")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "template"),
        ({"template": pb.Template(preset="irc")}, "template.preset"),
        ({"template": SLACK, "event": pb.TemplateEvent(event_type="a b")}, "event.event_type"),
        ({"template": SLACK, "event": pb.TemplateEvent(content_type="a\nb")}, "event.content_type"),
        ({"template": SLACK, "event": pb.TemplateEvent(payload=b"x" * ((1 << 20) + 1))}, "event.payload"),
        ({"template": SLACK, "event": pb.TemplateEvent(id="a")}, "event.id"),
        ({"template": SLACK, "event": pb.TemplateEvent(tags={"a": ""})}, "event.tags.a"),
        ({"template": SLACK, "event": pb.TemplateEvent(content_encoding="br")}, "event.content_encoding"),
        ({"template": SLACK, "template_secrets": {"A": "b"}}, "template_secrets"),
    ],
)
async def test_a_preview_of_what_cannot_be_is_refused(ingest: Ingest, given: dict[str, Any], field: str) -> None:
    assert fields(await refused(ingest.subscriptions.PreviewTemplate(preview(ingest, **given)))) == [field]
    other = await ingest.of("another-of-templates")
    made = await ingest.create(template=SLACK)
    foreign = await refused(other.subscriptions.PreviewTemplate(preview(other, subscription_id=made.id)))
    assert foreign.reason == "NOT_FOUND"
