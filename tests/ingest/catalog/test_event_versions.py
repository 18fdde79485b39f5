"""The versions of events, and what subscriptions are pinned to."""

import hashlib
import hmac
import uuid
from typing import Any

import pytest

from protos.webhook.v1 import catalog_pb2 as pb
from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1.subscriptions_pb2 import SUBSCRIPTION_KIND_SYSTEM, VERIFICATION_GITHUB
from services.domain.event_versions import NUMBER
from services.platform import errors
from tests.ingest.catalog.conftest import ORDER, Catalog
from tests.ingest.conftest import CALL_SECONDS, Ingest, fields, refused

TYPE = "order.created"
NEXT: dict[str, Any] = {"properties": {"order": {"type": "object"}}, "required": ["order"]}
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
OLD, NEW = b'{"id": "a"}', b'{"order": {}}'


async def listed(ingest: Ingest, **wanted: Any) -> dict[str, int]:
    request = ingest_pb2.ListEventsRequest(tenant_id=ingest.tenant_id, filter=ingest_pb2.EventFilter(**wanted))
    found = (await ingest.events.ListEvents(request, timeout=CALL_SECONDS)).events
    return {event.id: event.event_version for event in found}


async def test_an_event_has_the_current_version_or_the_one_that_it_states(catalog: Catalog) -> None:
    made = await catalog.create(TYPE, ORDER, validation=pb.VALIDATION_ENFORCE)
    await catalog.add(made.id, NEXT)
    await catalog.add(made.id, ORDER, status=pb.EVENT_TYPE_STATUS_DRAFT)
    ingest = catalog.ingest

    accepted = [
        await ingest.send(event_type=TYPE, payload=NEW),
        await ingest.send(event_type=TYPE, payload=OLD, event_version=1),
        await ingest.send(event_type="other", payload=OLD, event_version=7),
        await ingest.send(event_type="other", payload=OLD),
    ]
    found = [(await ingest.event(one.event_id)).event_version for one in accepted]
    assert found == [2, 1, 7, 0]
    assert await listed(ingest) == {one.event_id: number for one, number in zip(accepted, found, strict=True)}

    error = await refused(ingest.send(event_type=TYPE, payload=NEW, event_version=1))
    assert (error.reason, fields(error)) == (errors.ErrorReason.PAYLOAD_INVALID, ["payload/id"])
    for version in (3, 4):
        error = await refused(ingest.send(event_type=TYPE, payload=OLD, event_version=version))
        assert fields(error) == ["event_version"]
        assert "must be a version of order.created that is not a draft: 1, 2" in str(error)


async def test_a_version_that_is_not_valid_is_refused(ingest: Ingest) -> None:
    made = await ingest.create()
    for wrong in (-1, int(NUMBER.most) + 1):
        assert fields(await refused(ingest.send(event_type=TYPE, event_version=wrong))) == ["event_version"]
    assert fields(await refused(ingest.send(made.id, event_version=1))) == ["event_version"]


async def test_an_idempotency_key_belongs_to_the_version_that_was_stated(ingest: Ingest) -> None:
    given: dict[str, Any] = {"event_type": "versions.keyed", "idempotency_key": "k"}
    first = await ingest.send(**given, event_version=1)
    assert (await ingest.send(**given, event_version=1)).event_id == first.event_id
    error = await refused(ingest.send(**given, event_version=2))
    assert error.reason is errors.ErrorReason.IDEMPOTENCY_KEY_REUSED


async def test_a_repeat_is_one_though_the_catalog_has_another_version_by_then(catalog: Catalog) -> None:
    made = await catalog.create(TYPE)
    first = await catalog.ingest.send(event_type=TYPE, idempotency_key="k")
    await catalog.add(made.id, NEXT)
    again = await catalog.ingest.send(event_type=TYPE, idempotency_key="k")
    assert (again.event_id, again.replayed) == (first.event_id, True)


async def test_a_scheduled_event_keeps_its_version(ingest: Ingest) -> None:
    accepted = await ingest.send(event_type="versions.later", event_version=2, delay_seconds=3600)
    assert (await ingest.event(accepted.event_id)).event_version == 2
    assert (await listed(ingest, scheduled=True))[accepted.event_id] == 2


async def test_a_version_in_the_url_of_a_provider_is_that_of_what_has_a_type(ingest: Ingest) -> None:
    made = await ingest.create(verification=VERIFICATION_GITHUB, secret_key=SECRET, event_types=[])

    async def send(**headers: str) -> int:
        signature = f"sha256={hmac.new(SECRET.encode(), OLD, hashlib.sha256).hexdigest()}"
        named = {"x-github-delivery": str(uuid.uuid4()), **headers}
        given: dict[str, Any] = {
            "hub_signature": ingest_pb2.HubSignature(signature=signature),
            "verification": ingest_pb2.ProviderHeaders(
                headers=[ingest_pb2.ProviderHeader(name=name, value=value) for name, value in named.items()]
            ),
        }
        accepted = await ingest.send(made.id, payload=OLD, event_version=2, **given)
        return (await ingest.event(accepted.event_id)).event_version

    assert await send(**{"x-github-event": "push"}) == 2
    assert await send() == 0


async def test_pins_of_a_subscription_are_kept_replaced_and_removed(ingest: Ingest) -> None:
    made = await ingest.create(event_versions={"invoice.*": 2, "invoice.paid": 1})
    assert dict((await ingest.get(made.id)).spec.event_versions) == {"invoice.*": 2, "invoice.paid": 1}
    changed = await ingest.update(made.id, event_versions={"order.*": 3})
    assert dict(changed.spec.event_versions) == {"order.*": 3}
    assert not (await ingest.update(made.id)).spec.event_versions


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"event_versions": {"order.*": 0}}, "event_versions.order.*"),
        ({"event_versions": {"a b": 1}}, "event_versions"),
        ({"event_versions": {"a": 1}, "kind": SUBSCRIPTION_KIND_SYSTEM}, "event_versions"),
        ({"event_versions": {"a": 1}, "relay_headers": True, "verification": VERIFICATION_GITHUB}, "relay_headers"),
    ],
)
async def test_pins_that_cannot_be_kept_are_refused(ingest: Ingest, given: dict[str, Any], field: str) -> None:
    assert fields(await refused(ingest.create(**given))) == [field]


async def test_a_down_conversion_is_checked_kept_and_changed(catalog: Catalog) -> None:
    made = await catalog.create(TYPE)
    source = '{"id": "{{ event.data.order.id }}"}'
    added = await catalog.add(made.id, NEXT, down_conversion=source)
    assert (await catalog.version(made.id, 2)).spec.down_conversion == added.spec.down_conversion == source
    changed = await catalog.update_version(made.id, 2, down_conversion="{}")
    assert (changed.spec.down_conversion, changed.spec.schema) == ("{}", added.spec.schema)

    wrong = ("{{ event.data", "{{ secrets.key }}", "x" * (16 << 10) + "y", "{% include 'x' %}")
    for one in wrong:
        assert fields(await refused(catalog.add(made.id, NEXT, down_conversion=one))) == ["down_conversion"]
        assert fields(await refused(catalog.update_version(made.id, 2, down_conversion=one))) == ["down_conversion"]
    assert fields(await refused(catalog.create("order.first", down_conversion="{}"))) == ["down_conversion"]
    assert fields(await refused(catalog.update_version(made.id, 1, down_conversion="{}"))) == ["down_conversion"]
