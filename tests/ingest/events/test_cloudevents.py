"""CloudEvents as they are stored: their attributes, and their source and id as the idempotency key."""

from typing import Any

import pytest

from protos.webhook.v1 import ingest_pb2
from services.domain import cloudevents
from services.platform import errors
from tests.ingest.conftest import Ingest, fields, refused

Value = ingest_pb2.CloudEventValue


def values(**attributes: Any) -> dict[str, Value]:
    """Return attributes as messages have them."""
    kinds = {bool: "boolean", int: "integer", str: "text"}
    found: dict[str, Any] = {name: {kinds[type(value)]: value} for name, value in attributes.items()}
    return {name: Value(**value) for name, value in found.items()}


async def send(ingest: Ingest, *, identifier: str = "1", source: str, **more: Any) -> ingest_pb2.Accepted:
    """Send a CloudEvent."""
    given: dict[str, Any] = {"event_type": "order.created", "payload": b'{"order": 42}'} | more
    attributes = values(id=identifier, source=source, **given.pop("attributes", {}))
    return await ingest.send(cloudevent=attributes, **given)


async def test_attributes_are_kept_and_shown_with_their_types(ingest: Ingest) -> None:
    more = {"subject": "Grüße", "flag": False, "number": -1, "x": ""}
    accepted = await send(ingest, source="/kept", attributes=more)
    event = await ingest.event(accepted.event_id)
    assert dict(event.cloudevent) == values(id="1", source="/kept", **more)
    assert (event.event_type, event.payload) == ("order.created", b'{"order": 42}')
    plain = await ingest.send(event_type="order.created")
    assert not (await ingest.event(plain.event_id)).cloudevent


async def test_source_and_id_are_the_idempotency_key(ingest: Ingest) -> None:
    first = await send(ingest, source="/key")
    again = await send(ingest, source="/key", attributes={"time": "2026-03-14T15:09:26Z"})
    assert (again.event_id, again.replayed) == (first.event_id, True)
    others = [await send(ingest, source="/key", identifier="2"), await send(ingest, source="/key2")]
    assert len({first.event_id, *(other.event_id for other in others)}) == 3
    error = await refused(send(ingest, source="/key", payload=b'{"order": 43}'))
    assert error.reason == errors.ErrorReason.IDEMPOTENCY_KEY_REUSED
    # An Idempotency-Key of the same text is another one.
    plain = await ingest.send(event_type="order.created", payload=b'{"order": 42}', idempotency_key="/key 1")
    assert not plain.replayed
    found = await ingest.events.ListEvents(
        ingest_pb2.ListEventsRequest(
            tenant_id=ingest.tenant_id, filter=ingest_pb2.EventFilter(idempotency_key=["/key 2"])
        )
    )
    assert [event.id for event in found.events] == [others[0].event_id]


async def test_the_same_source_and_id_of_another_tenant_is_another_event(ingest: Ingest) -> None:
    other = await ingest.of("other-source")
    first, second = await send(ingest, source="/shared"), await send(other, source="/shared")
    assert (first.event_id != second.event_id, second.replayed) == (True, False)


def test_every_source_and_id_makes_a_key_of_its_own() -> None:
    pairs = [
        ("/a", "1"),
        ("/a", "1 "),
        ("/a1", ""),
        ("/ü", "1"),
        ("/u", "ü"),
        ("/" + "a" * 300, "1"),
        ("/a", "x" * 300),
    ]
    assert len({cloudevents.key(*pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"cloudevent": values(id="1")}, ["cloudevent.source"]),
        ({"cloudevent": values(id="1", source="/", x="a\nb")}, ["cloudevent.x"]),
        ({"cloudevent": values(id="1", source="/", X="a")}, ["cloudevent.X"]),
        ({"cloudevent": values(id="1", source="/", type="a")}, ["cloudevent.type"]),
        ({"cloudevent": values(id="1", source="/", eventversion=2)}, ["cloudevent.eventversion"]),
        ({"cloudevent": {"id": Value(), **values(source="/")}}, ["cloudevent.id"]),
        ({"cloudevent": values(id="1", source="/"), "idempotency_key": "k"}, ["idempotency_key"]),
    ],
)
async def test_wrong_attributes_are_refused_by_field(ingest: Ingest, item: dict[str, Any], expected: list[str]) -> None:
    assert fields(await refused(ingest.send(event_type="a", **item))) == expected


async def test_a_cloudevent_goes_to_all_subscriptions_and_not_to_one(ingest: Ingest) -> None:
    made = await ingest.create()
    sent = ingest.send(made.id, event_type="a", cloudevent=values(id="1", source="/one"))
    assert fields(await refused(sent)) == ["cloudevent"]
