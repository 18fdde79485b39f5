"""Discord: a message for a webhook (discord.com/developers/docs, "Execute Webhook", "Embed Limits")."""

from collections.abc import Mapping

from services.domain.templates.event import Event
from services.domain.templates.presets import message
from services.domain.templates.template import Rendered

# Of an embed; all of them together have at most 6,000 characters.
TITLE_CHARACTERS, DESCRIPTION_CHARACTERS, FIELD_CHARACTERS = 256, 4096, 1024
_BODY_CHARACTERS, _SENTENCE_CHARACTERS, _FACT_CHARACTERS = 3000, 500, 300
# Letters by which Markdown and mentions begin.
_ESCAPES = str.maketrans({letter: f"\\{letter}" for letter in "\\*_~`|>#[]()<@-"})


def render(event: Event, _secrets: Mapping[str, str]) -> Rendered:
    """Return an embed. Nobody is mentioned, whatever the event says."""
    said = message.of(event)
    sentence = message.cut_units(_escaped(said.sentence), _SENTENCE_CHARACTERS)
    body = message.cut_units(message.printable(said.body).replace("```", "'''").strip(), _BODY_CHARACTERS)
    description = "\n".join(filter(None, (sentence, f"```\n{body}\n```" if body else "")))
    embed: dict[str, object] = {"title": message.cut_units(_escaped(said.title), TITLE_CHARACTERS)}
    if description:
        embed["description"] = description
    embed["fields"] = [
        {"name": label, "value": message.cut_units(_escaped(value), _FACT_CHARACTERS), "inline": False}
        for label, value in said.facts
    ]
    embed["timestamp"] = event.time
    return message.rendered({"embeds": [embed], "allowed_mentions": {"parse": []}})


def _escaped(text: str) -> str:
    return message.line(text).translate(_ESCAPES)
