"""The events of the load: dev/chaos/events.py, with the service's own filters and templates."""

import asyncio
from uuid import UUID

import msgspec

from dev.chaos import events
from dev.chaos.events import Form
from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import OnError
from services.domain.templates.event import Event
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Template
from services.platform import ids

DELIVERY_ID = UUID(int=2)
FAN_OUTS = range(1, 301, events.FAN_OUT_EVERY)


def test_filter_is_true_of_the_events_that_are_chosen() -> None:
    filter_ = expression.compiled(events.FILTER)
    found = {number: _passes(number, filter_) for number in FAN_OUTS}
    assert found == {number: events.is_chosen(events.key_of(number)) for number in FAN_OUTS}
    assert sum(found.values()) == len(FAN_OUTS) // 2
    # Of both types, some.
    assert {(events.type_of(number), events.wanting(number)) for number in FAN_OUTS} == {
        (events.FAN_OUT_TYPE, 1),
        (events.FAN_OUT_TYPE, 3),
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


def test_what_is_not_of_the_load_is_neither() -> None:
    assert events.read(b"?", "", "") == {"key": "", "form": Form.OTHER}
    assert events.read(b'{"key": "other"}', "", "") == {"key": "other", "form": Form.OTHER}


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
