"""Slack: a message for an incoming webhook (docs.slack.dev, "Sending messages using incoming webhooks", Block Kit)."""

from collections.abc import Mapping

from services.domain.templates.event import Event
from services.domain.templates.presets import message
from services.domain.templates.template import Rendered

# Of a header's plain text, of a section's text, and of an element of a context.
HEADER_CHARACTERS, SECTION_CHARACTERS, ELEMENT_CHARACTERS = 150, 3000, 2000
# Before it is escaped, which makes five characters of one at most.
_BODY_CHARACTERS, _FACT_CHARACTERS, _SENTENCE_CHARACTERS = 500, 80, 300
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return a message with a header, the payload, and where it comes from. `text` is what notifications show."""
    said = message.of(event)
    title = message.line(said.title)
    sentence = message.cut_units(message.line(said.sentence), _SENTENCE_CHARACTERS)
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.cut_units(title, HEADER_CHARACTERS)}}
    ]
    if sentence:
        blocks.append({"type": "section", "text": _markdown(_escaped(sentence))})
    body = _code(said.body)
    if body:
        blocks.append({"type": "section", "text": _markdown(body)})
    facts = [f"{label}: {message.cut_units(message.line(value), _FACT_CHARACTERS)}" for label, value in said.facts]
    blocks.append({"type": "context", "elements": [_markdown(_escaped(fact)) for fact in facts]})
    return message.rendered({"text": _escaped(sentence or title), "blocks": blocks})


def _markdown(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _code(body: str) -> str:
    """Return a payload as a block of code, which no backticks of its own end."""
    text = message.printable(body).replace("```", "'''").strip()
    return f"```{_escaped(message.cut_units(text, _BODY_CHARACTERS))}```" if text else ""
