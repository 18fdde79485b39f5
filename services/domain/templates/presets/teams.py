"""Microsoft Teams: an Adaptive Card for a workflow that is started by a webhook request (learn.microsoft.com)."""

from collections.abc import Mapping

from services.domain.templates.event import Event
from services.domain.templates.presets import message
from services.domain.templates.template import Rendered

# A message has at most 28 KB.
MESSAGE_BYTES = 28_000
# In JSON a byte may take six.
_BODY_BYTES, _FACT_BYTES, _TITLE_BYTES = 3000, 150, 150
VERSION = "1.4"


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return a card. Texts of an event are text runs, in which Teams reads no Markdown."""
    said = message.of(event)
    card: list[dict[str, object]] = [_text(said.title, _TITLE_BYTES, size="large", weight="bolder")]
    if said.sentence:
        card.append(_text(said.sentence, _TITLE_BYTES * 4))
    card += [_text(f"{label}: {value}", _FACT_BYTES, isSubtle=True) for label, value in said.facts]
    body = message.cut_bytes(message.printable(said.body).strip(), _BODY_BYTES)
    if body:
        card.append({"type": "RichTextBlock", "inlines": [_run(body, fontType="monospace")]})
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "body": card,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return message.rendered({"type": "message", "attachments": [attachment]})


def _text(text: str, most_bytes: int, **look: object) -> dict[str, object]:
    return {"type": "RichTextBlock", "inlines": [_run(message.cut_bytes(message.line(text), most_bytes), **look)]}


def _run(text: str, **look: object) -> dict[str, object]:
    return {"type": "TextRun", "text": text, **look}
