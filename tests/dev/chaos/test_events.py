"""The events of the load: dev/chaos/events.py, with the service's own filters and templates."""

import asyncio
from uuid import UUID

import msgspec

from dev.chaos import catalog, events
from dev.chaos.events import Form
from services.domain.catalog.schemas import Schema
from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import OnError
from services.domain.templates.event import Event
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Template
from services.platform import ids

DELIVERY_ID = UUID(int=2)
FAN_OUTS = range(1, 301, events.FAN_OUT_EVERY)
# An event of the newer version.
NEWER = 101


def test_filter_is_true_of_the_events_that_are_chosen() -> None:
    filter_ = expression.compiled(events.FILTER)
    found = {number: _passes(number, filter_) for number in FAN_OUTS}
    assert found == {number: events.is_chosen(events.key_of(number)) for number in FAN_OUTS}
    assert sum(found.values()) == len(FAN_OUTS) // 2
    # Of both types, some.
    assert {(events.type_of(number), events.wanting(number)) for number in FAN_OUTS} == {
        (events.FAN_OUT_TYPE, 2),
        (events.FAN_OUT_TYPE, 4),
        (events.LARGE_FAN_OUT_TYPE, 105),
        (events.LARGE_FAN_OUT_TYPE, 115),
    }


def test_template_makes_what_is_expected_of_an_event_and_only_that_is_its_rendering() -> None:
    async def run() -> None:
        renderer = Renderer()
        try:
            for number in (1, 151):
                event_id = ids.new()
                payload = msgspec.json.encode(events.payload_of(number, events.FILLING_BYTES))
                made = await renderer.render(Template(**events.TEMPLATE), _event(number, event_id, payload), secrets={})
                assert _form(made.body, event_id) == Form.RENDERED
                assert _form(made.body, ids.new()) == Form.OTHER
                assert _form(payload, event_id) == Form.PAYLOAD
                assert _form(payload + b" ", event_id) == Form.OTHER
        finally:
            await renderer.close()

    asyncio.run(run())


def test_conversion_makes_what_is_expected_of_an_event_and_that_is_valid_by_the_older_version() -> None:
    async def run() -> None:
        renderer = Renderer()
        try:
            for change in (0, 17):
                down = Template(source=catalog.conversion(change), content_type="application/json")
                payload = msgspec.json.encode(events.payload_of(NEWER, events.FILLING_BYTES))
                made = await renderer.render(down, _event(NEWER, ids.new(), payload), secrets={})
                assert _form(made.body, ids.new()) == Form.CONVERTED
                assert _form(made.body + b"}", ids.new()) == Form.OTHER
                assert _fits(made.body) == (True, False)
                assert _fits(payload) == (False, True)
        finally:
            await renderer.close()
        assert _fits(msgspec.json.encode(events.payload_of(1, events.FILLING_BYTES))) == (True, False)

    asyncio.run(run())


def test_events_of_both_types_have_both_versions_and_fit_these() -> None:
    found = {(events.type_of(number), events.version_of(number)) for number in range(1, 601, events.FAN_OUT_EVERY)}
    assert found == {(name, version) for name in events.WANTS for version in catalog.SCHEMAS}
    assert events.version_of(2) is None
    for schema in catalog.SCHEMAS.values():
        Schema(msgspec.json.encode(schema))  # the service takes it


def test_what_is_not_of_the_load_is_neither() -> None:
    for body, key in ((b"?", ""), (b'{"key": "other"}', "other")):
        found = events.read(body, "", "", "1")
        assert (found["key"], found["form"], found["fits"]) == (key, Form.OTHER, False)


def _passes(number: int, filter_: expression.Expression) -> bool:
    evaluation = Evaluation(
        event_id=ids.new(),
        event_type=events.type_of(number),
        content_type="application/json",
        content_encoding=None,
        tags={},
        payload=msgspec.json.encode(events.payload_of(number, events.FILLING_BYTES)),
    )
    return evaluation.passes(DELIVERY_ID, filter_, OnError.SKIP)


def _form(body: bytes, event_id: UUID) -> str:
    return str(events.read(body, str(event_id), str(DELIVERY_ID))["form"])


def _fits(body: bytes) -> tuple[bool, bool]:
    return catalog.fits(catalog.OLD, body), catalog.fits(catalog.NEW, body)


def _event(number: int, event_id: UUID, payload: bytes) -> Event:
    return Event(
        id=str(event_id),
        type=events.type_of(number),
        time="",
        content_type="application/json",
        payload=payload,
        tags={},
        tenant_id="default",
        subscription_id="",
        delivery_id=str(DELIVERY_ID),
        cloudevent={},
    )
