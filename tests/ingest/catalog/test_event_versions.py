"""The versions of events, and what subscriptions are pinned to."""

from typing import Any

import pytest

from protos.webhook.v1 import catalog_pb2 as pb
from protos.webhook.v1.subscriptions_pb2 import SUBSCRIPTION_KIND_SYSTEM, VERIFICATION_GITHUB
from services.domain.event_versions import NUMBER
from services.platform import errors
from tests.ingest.catalog.conftest import ORDER, Catalog
from tests.ingest.conftest import Ingest, fields, refused

TYPE = "order.created"
NEXT: dict[str, Any] = {"properties": {"order": {"type": "object"}}, "required": ["order"]}
OLD, NEW = b'{"id": "a"}', b'{"order": {}}'


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
