"""The events of the load: what is in them, who wants them, and what arrives of them.

Of those that go to all subscriptions of their type, some subscriptions have a filter that is true of every second one,
and some a template.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from dev.chaos.evidence import Evidence

FILLING_BYTES = 200
# Size of a payload that a worker reads within its byte budget.
LARGE_BYTES = 100_000
FAN_OUT_TYPE = "chaos.fan_out"
# Every tenth event goes to all subscriptions of its type.
FAN_OUT_EVERY = 10
# Some go to so many that their deliveries are created after the answer.
LARGE_FAN_OUT_TYPE = "chaos.large_fan_out"
LARGE_FAN_OUT_EVERY = 150
# What a subscription with a filter wants, and what one with a template sends.
LOTS = 10
FILTER = f"event.data.lot in {list(range(0, LOTS, 2))}"
_TEMPLATE = (
    '{"key": {{ event.data.key }}, "made": "lot {{ event.data.lot }} of {{ event.type }}", '
    '"event": {{ event.id }}, "delivery": {{ delivery.id }}}'
)
TEMPLATE: Mapping[str, str] = {"source": _TEMPLATE, "content_type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Want:
    """A subscription to a type that fans out."""

    filtered: bool = False
    templated: bool = False

    @property
    def fields(self) -> Mapping[str, object]:
        """Return its fields in the API."""
        return {**({"filter": FILTER} if self.filtered else {}), **({"template": TEMPLATE} if self.templated else {})}


_PLAIN, _FILTERED = Want(), Want(filtered=True)
_TEMPLATED, _BOTH = Want(templated=True), Want(filtered=True, templated=True)
# The subscriptions to each type. Filters leave two of the one and 110 of the other on average, and always more of that
# than are created before the response.
WANTS: Mapping[str, Sequence[Want]] = {
    FAN_OUT_TYPE: (_PLAIN, _FILTERED, _BOTH),
    LARGE_FAN_OUT_TYPE: (*[_PLAIN] * 95, *[_TEMPLATED] * 10, *[_FILTERED] * 5, *[_BOTH] * 5),
}


class Form(StrEnum):
    """What a request carried of its event."""

    PAYLOAD = "payload"
    RENDERED = "rendered"
    OTHER = "other"


def key_of(number: int) -> str:
    """Return the idempotency key of an event, which is in its payload, too."""
    return f"chaos-{number}"


def payload_of(number: int, filling_bytes: int) -> dict[str, object]:
    """Return the payload of an event."""
    return {"key": key_of(number), "lot": _lot(number), "filling": "x" * filling_bytes}


def type_of(number: int) -> str:
    """Return the type of an event that goes to all subscriptions of its type."""
    return LARGE_FAN_OUT_TYPE if number % LARGE_FAN_OUT_EVERY == 1 else FAN_OUT_TYPE


def is_chosen(key: str) -> bool:
    """Return whether the filter is true of an event."""
    return _lot(_number(key)) % 2 == 0


def wanting(number: int) -> int:
    """Return how many subscriptions want an event that goes to all of its type."""
    chosen = is_chosen(key_of(number))
    return sum(chosen or not want.filtered for want in WANTS[type_of(number)])


class _Body(msgspec.Struct):
    key: str


_BODIES = msgspec.json.Decoder(_Body)


def read(body: bytes, event_id: str, delivery_id: str) -> dict[str, Any]:
    """Return the key and the form of what arrived: exactly the payload, exactly what the template makes, or neither."""
    key = ""
    try:
        key = _BODIES.decode(body).key
        number = _number(key)
    except (msgspec.MsgspecError, ValueError):
        return {"key": key, "form": Form.OTHER}
    rendered = (
        f'{{"key": "{key}", "made": "lot {_lot(number)} of {type_of(number)}", '
        f'"event": "{event_id}", "delivery": "{delivery_id}"}}'
    )
    if body == rendered.encode():
        return {"key": key, "form": Form.RENDERED}
    filling_bytes = LARGE_BYTES if len(body) > LARGE_BYTES else FILLING_BYTES
    is_payload = body == msgspec.json.encode(payload_of(number, filling_bytes))
    return {"key": key, "form": Form.PAYLOAD if is_payload else Form.OTHER}


def misrouted(evidence: Evidence) -> Iterator[str]:
    """Name deliveries whose filter is false, and events with several deliveries to a subscription."""
    pairs: Counter[tuple[UUID, UUID]] = Counter()
    for delivery in evidence.deliveries:
        key = evidence.event_keys[delivery.event_id]
        pairs[delivery.event_id, delivery.subscription_id] += 1
        if delivery.subscription_id in evidence.filtered and not is_chosen(key):
            yield f"{delivery.id}: the filter of its subscription is false of {key}"
    for (event_id, subscription_id), count in pairs.items():
        if count > 1:
            yield f"{evidence.event_keys[event_id]}: {count} deliveries to subscription {subscription_id}"


def misrendered(evidence: Evidence) -> Iterator[str]:
    """Name requests that carried something else than the template makes of their event, or than its payload."""
    subscriptions = {delivery.id: delivery.subscription_id for delivery in evidence.deliveries}
    for request in evidence.requests:
        expected = Form.RENDERED if subscriptions.get(request.delivery_id) in evidence.templated else Form.PAYLOAD
        if request.form != expected:
            yield f"{request.delivery_id}: carried {request.form} of {request.key}, expected {expected}"


def _number(key: str) -> int:
    return int(key.rpartition("-")[2])


def _lot(number: int) -> int:
    return number // FAN_OUT_EVERY % LOTS
