"""Google Chat: a card for an incoming webhook (developers.google.com/workspace/chat, "Card message", `cardsV2`)."""

from collections.abc import Mapping

from services.domain.templates.event import Event
from services.domain.templates.presets import message
from services.domain.templates.template import Rendered

# A message has at most 32,000 bytes.
MESSAGE_BYTES = 32_000
# Escaping may make five or six bytes of one, and JSON as many of some.
_BODY_BYTES, _FACT_BYTES, _TITLE_BYTES = 3000, 200, 200
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return a card, and a text for notifications. Texts are escaped: Google Chat reads some HTML in them."""
    said = message.of(event)
    title = message.cut_bytes(message.line(said.title), _TITLE_BYTES)
    sentence = message.cut_bytes(message.line(said.sentence), _TITLE_BYTES)
    widgets: list[dict[str, object]] = []
    if sentence:
        widgets.append({"textParagraph": {"text": _escaped(sentence)}})
    widgets += [
        {"decoratedText": {"topLabel": label, "text": _escaped(message.cut_bytes(message.line(value), _FACT_BYTES))}}
        for label, value in said.facts
    ]
    body = message.cut_bytes(message.printable(said.body).strip(), _BODY_BYTES)
    if body:
        widgets.append({"textParagraph": {"text": _escaped(body)}})
    card = {"header": {"title": title, "subtitle": event.time}, "sections": [{"widgets": widgets}]}
    document = {"fallbackText": sentence or title, "cardsV2": [{"cardId": event.id, "card": card}]}
    return message.rendered(document, "application/json; charset=UTF-8")


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
