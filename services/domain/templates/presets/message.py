"""What presets for people say of an event: a title, a sentence, a few facts, and the payload as text."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from services.domain.templates.event import Event
from services.domain.templates.template import Rendered

JSON = "application/json"
UNTYPED = "event"
_SENTENCES: Mapping[str, str] = {
    "subscription.failing": "The endpoint {host} is failing. Deliveries to it wait.",
    "subscription.recovered": "The endpoint {host} works again. What waited is sent.",
    "subscription.disabled": "The subscription of {host} was disabled. Deliveries to it wait.",
    "delivery.exhausted": "{deliveries} deliveries to {host} failed for good.",
}
_MARK = "…"


class Message(NamedTuple):
    """What is said of an event, not cut and not escaped."""

    title: str
    # Empty unless there is something to say in words.
    sentence: str
    facts: list[tuple[str, str]]
    # The data of the event.
    body: str


def of(event: Event) -> Message:
    """Return what to say of an event. The service's own events are put into words."""
    data = event.data
    facts = [("Event", event.id), ("Time", event.time)]
    sentence = ""
    known = _operational(event, data)
    if known is not None:
        sentence = _SENTENCES[event.type].format(host=known.get("target_host"), deliveries=known.get("deliveries"))
        named = (("Reason", "reason"), ("Last error", "last_error"), ("Subscription", "subscription_id"))
        facts = [(label, str(known[name])) for label, name in named if known.get(name)] + facts
    shown = [(label, value) for label, value in facts if line(value)]
    return Message(line(event.type) or UNTYPED, line(sentence), shown, _text(data))


def _operational(event: Event, data: Any) -> Mapping[str, Any] | None:
    """Return the data of an event of the service's own; None for any other."""
    if event.type not in _SENTENCES or not isinstance(data, dict) or data.get("type") != event.type:
        return None
    inner = data.get("data")
    return inner if isinstance(inner, dict) and inner.get("target_host") and inner.get("subscription_id") else None


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    return json.dumps(data, indent=2, ensure_ascii=False, default=str)


def cut(text: str, most: int) -> str:
    """Return the beginning of a text in at most so many characters."""
    return text if len(text) <= most else text[: most - len(_MARK)] + _MARK


def cut_units(text: str, most: int) -> str:
    """Return the beginning of a text in at most so many code units of UTF-16, in which JavaScript counts."""
    if len(text.encode("utf-16-le", "replace")) // 2 <= most:
        return text
    kept = text.encode("utf-16-le", "replace")[: 2 * (most - len(_MARK))]
    return kept.decode("utf-16-le", "ignore") + _MARK


def cut_bytes(text: str, most: int) -> str:
    """Return the beginning of a text in at most so many bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= most:
        return text
    return encoded[: most - len(_MARK.encode())].decode(errors="ignore") + _MARK


def line(text: str) -> str:
    """Return a text on one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def printable(text: str) -> str:
    """Return a text of any lines without other control characters."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def rendered(document: Any, content_type: str = JSON) -> Rendered:
    """Return a document as it is sent."""
    return Rendered(body=msgspec.json.encode(document), content_type=content_type)
