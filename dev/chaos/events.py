"""The events of the load: what is in them, who wants them, and what arrives of them.

Of those that go to all subscriptions of their type, some subscriptions have a filter that is true of every second one,
some a template, and some are pinned to an older version of their type, of which there are two (catalog.py).
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from dev.chaos import catalog
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
    pinned: bool = False

    @property
    def fields(self) -> Mapping[str, object]:
        """Return its fields in the API."""
        return {
            **({"filter": FILTER} if self.filtered else {}),
            **({"template": TEMPLATE} if self.templated else {}),
            **({"event_versions": {"chaos.*": catalog.OLD}} if self.pinned else {}),
        }


_PLAIN, _FILTERED, _PINNED = Want(), Want(filtered=True), Want(pinned=True)
_TEMPLATED, _BOTH = Want(templated=True), Want(filtered=True, templated=True)
# The subscriptions to each type. Filters leave three of the one and 110 of the other on average, and always more of
# that than are created before the response.
WANTS: Mapping[str, Sequence[Want]] = {
    FAN_OUT_TYPE: (_PLAIN, _FILTERED, _BOTH, _PINNED),
    LARGE_FAN_OUT_TYPE: (*[_PLAIN] * 85, *[_PINNED] * 10, *[_TEMPLATED] * 10, *[_FILTERED] * 5, *[_BOTH] * 5),
}


class Form(StrEnum):
    """What a request carried of its event."""

    PAYLOAD = "payload"
    CONVERTED = "converted"
    RENDERED = "rendered"
    OTHER = "other"


def key_of(number: int) -> str:
    """Return the idempotency key of an event, which is in its payload, too."""
    return f"chaos-{number}"


def payload_of(number: int, filling_bytes: int) -> dict[str, object]:
    """Return the payload of an event, as its version has it."""
    filling = "x" * filling_bytes
    content = {"content": {"filling": filling}} if version_of(number) == catalog.NEW else {"filling": filling}
    return {"key": key_of(number), "lot": _lot(number), **content}


def version_of(number: int) -> int | None:
    """Return the version of an event that goes to all subscriptions of its type; None for any other."""
    if number % FAN_OUT_EVERY != 1:
        return None
    return catalog.NEW if number // FAN_OUT_EVERY // LOTS % 2 else catalog.OLD


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


def read(body: bytes, event_id: str, delivery_id: str, version: str | None = None) -> dict[str, Any]:
    """Return the key of what arrived, its `version` as the header says, whether it fits that, and its form and digest.

    The form is exactly the payload, exactly what the template or the conversion makes, or neither.
    """
    key, form = _form(body, event_id, delivery_id)
    fits = version is None or catalog.fits(int(version), body)
    return {"key": key, "form": form, "version": version, "fits": fits, "digest": hashlib.sha256(body).digest()}


def _form(body: bytes, event_id: str, delivery_id: str) -> tuple[str, Form]:
    key = ""
    try:
        key = _BODIES.decode(body).key
        number = _number(key)
    except (msgspec.MsgspecError, ValueError):
        return key, Form.OTHER
    rendered = (
        f'{{"key": "{key}", "made": "lot {_lot(number)} of {type_of(number)}", '
        f'"event": "{event_id}", "delivery": "{delivery_id}"}}'
    )
    if body == rendered.encode():
        return key, Form.RENDERED
    if version_of(number) == catalog.NEW and catalog.is_converted(body, key, _lot(number), "x" * FILLING_BYTES):
        return key, Form.CONVERTED
    filling_bytes = LARGE_BYTES if len(body) > LARGE_BYTES else FILLING_BYTES
    is_payload = body == msgspec.json.encode(payload_of(number, filling_bytes))
    return key, Form.PAYLOAD if is_payload else Form.OTHER


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
    by_delivery = {delivery.id: delivery for delivery in evidence.deliveries}
    for request in evidence.requests:
        delivery, expected = by_delivery.get(request.delivery_id), Form.PAYLOAD
        if delivery is not None and delivery.subscription_id in evidence.templated:
            expected = Form.RENDERED
        elif delivery is not None and delivery.subscription_id in evidence.pinned:
            is_new = version_of(_number(evidence.event_keys[delivery.event_id])) == catalog.NEW
            expected = Form.CONVERTED if is_new else Form.PAYLOAD
        if request.form != expected:
            yield f"{request.delivery_id}: carried {request.form} of {request.key}, expected {expected}"


def misversioned(evidence: Evidence) -> Iterator[str]:
    """Name requests that pinned receivers got in another version, that do not fit it, or with other bytes than before.

    What an event is converted to is the same for all of them and for each attempt, although the conversion changes all
    the time.
    """
    by_delivery = {delivery.id: delivery for delivery in evidence.deliveries}
    first: dict[UUID, bytes] = {}
    for request in evidence.requests:
        delivery = by_delivery.get(request.delivery_id)
        if delivery is None or delivery.subscription_id not in evidence.pinned:
            continue
        if request.version != str(catalog.OLD):
            yield f"{request.delivery_id}: version {request.version} of {request.key} at a pinned receiver"
        if not request.fits:
            yield f"{request.delivery_id}: {request.key} does not fit version {request.version}"
        if first.setdefault(delivery.event_id, request.digest) != request.digest:
            yield f"{request.delivery_id}: other bytes of {request.key} than before"


def _number(key: str) -> int:
    return int(key.rpartition("-")[2])


def _lot(number: int) -> int:
    return number // FAN_OUT_EVERY % LOTS
