"""The shapes that providers document for what they receive, and random events that presets make such documents of.

Each schema is written from the page that is named beside it.
"""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from services.domain.templates.event import Event

_STRING = {"type": "string"}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    properties = {**required, **(optional or {})}
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _text(least: int, most: int) -> dict[str, Any]:
    return {"type": "string", "minLength": least, "maxLength": most}


def _const(value: object) -> dict[str, Any]:
    return {"const": value}


# docs.slack.dev/reference/block-kit/blocks and .../composition-objects/text-object
_MRKDWN = _object({"type": _const("mrkdwn"), "text": _text(1, 3000)})
SLACK = _object(
    {
        "text": _text(1, 40_000),
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    _object(
                        {
                            "type": _const("header"),
                            "text": _object({"type": _const("plain_text"), "text": _text(1, 150)}),
                        }
                    ),
                    _object({"type": _const("section"), "text": _MRKDWN}),
                    _object(
                        {
                            "type": _const("context"),
                            "elements": {"type": "array", "minItems": 1, "maxItems": 10, "items": _MRKDWN},
                        }
                    ),
                ]
            },
        },
    }
)
# learn.microsoft.com, "Create incoming webhooks with Workflows" and the schema of Adaptive Cards 1.4
_TEXT_RUN = _object(
    {"type": _const("TextRun"), "text": _text(1, 28_000)},
    {
        "size": {"enum": ["default", "small", "medium", "large", "extraLarge"]},
        "weight": {"enum": ["default", "lighter", "bolder"]},
        "fontType": {"enum": ["default", "monospace"]},
        "isSubtle": {"type": "boolean"},
    },
)
TEAMS = _object(
    {
        "type": _const("message"),
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": _object(
                {
                    "contentType": _const("application/vnd.microsoft.card.adaptive"),
                    "contentUrl": {"type": "null"},
                    "content": _object(
                        {
                            "$schema": _const("http://adaptivecards.io/schemas/adaptive-card.json"),
                            "type": _const("AdaptiveCard"),
                            "version": _const("1.4"),
                            "body": {
                                "type": "array",
                                "minItems": 1,
                                "items": _object(
                                    {
                                        "type": _const("RichTextBlock"),
                                        "inlines": {"type": "array", "minItems": 1, "items": _TEXT_RUN},
                                    }
                                ),
                            },
                        }
                    ),
                }
            ),
        },
    }
)
# docs.discord.com: the resource Webhook, "Execute Webhook", and the resource Message, "Embed Limits".
DISCORD = _object(
    {
        "embeds": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10,
            "items": _object(
                {"title": _text(1, 256), "timestamp": {"type": "string", "format": "date-time"}},
                {
                    "description": _text(1, 4096),
                    "fields": {
                        "type": "array",
                        "maxItems": 25,
                        "items": _object(
                            {"name": _text(1, 256), "value": _text(1, 1024), "inline": {"type": "boolean"}}
                        ),
                    },
                },
            ),
        },
        "allowed_mentions": _object({"parse": {"type": "array", "maxItems": 0}}),
    }
)
# Of title, description, and fields together.
_EMBED_CHARACTERS = 6000
# developer.pagerduty.com, "Send an Alert Event"
PAGERDUTY = _object(
    {
        "routing_key": _text(32, 32),
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": _text(1, 255),
        "payload": _object(
            {
                "summary": _text(1, 1024),
                "source": _text(1, 1024),
                "severity": {"enum": ["critical", "error", "warning", "info"]},
            },
            {
                "timestamp": {"type": "string", "format": "date-time"},
                "component": _STRING,
                "group": _STRING,
                "class": _STRING,
                "custom_details": {"type": "object"},
            },
        ),
    }
)
# developers.google.com/workspace/chat/api/reference/rest/v1/cards
GOOGLE_CHAT = _object(
    {
        "fallbackText": _text(1, 4096),
        "cardsV2": {
            "type": "array",
            "minItems": 1,
            "items": _object(
                {
                    "cardId": _text(1, 64),
                    "card": _object(
                        {
                            "header": _object({"title": _text(1, 1000)}, {"subtitle": _STRING}),
                            "sections": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": _object(
                                    {
                                        "widgets": {
                                            "type": "array",
                                            "minItems": 1,
                                            "maxItems": 100,
                                            "items": {
                                                "oneOf": [
                                                    _object({"textParagraph": _object({"text": _text(1, 32_000)})}),
                                                    _object(
                                                        {
                                                            "decoratedText": _object(
                                                                {"text": _text(1, 32_000)}, {"topLabel": _STRING}
                                                            )
                                                        }
                                                    ),
                                                ]
                                            },
                                        }
                                    }
                                ),
                            },
                        }
                    ),
                }
            ),
        },
    }
)
# github.com/cloudevents/spec, formats/cloudevents.json of 1.0.2
CLOUDEVENTS = {
    "type": "object",
    "required": ["id", "source", "specversion", "type"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "specversion": _const("1.0"),
        "type": {"type": "string", "minLength": 1},
        "datacontenttype": {"type": ["string", "null"], "minLength": 1},
        "dataschema": {"type": ["string", "null"], "format": "uri", "minLength": 1},
        "subject": {"type": ["string", "null"], "minLength": 1},
        "time": {"type": ["string", "null"], "format": "date-time", "minLength": 1},
        "data": {"type": ["object", "string", "number", "array", "boolean", "null"]},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    "not": {"required": ["data", "data_base64"]},
}
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "slack": SLACK,
    "teams": TEAMS,
    "discord": DISCORD,
    "pagerduty": PAGERDUTY,
    "google-chat": GOOGLE_CHAT,
    "cloudevents": CLOUDEVENTS,
    "cloudevents-binary": CLOUDEVENTS,
}
# Of a whole document, where the provider says so.
MAX_BYTES: Mapping[str, int] = {"teams": 28_000, "pagerduty": 512_000, "google-chat": 32_000}


def wrong_with(name: str, document: Any) -> str:
    """Return what is wrong with a document that its schema cannot say; empty if nothing is."""
    if name == "discord":
        embed = document["embeds"][0]
        fields = [text for field in embed["fields"] for text in (field["name"], field["value"])]
        characters = sum(len(text) for text in (embed["title"], embed.get("description", ""), *fields))
        if characters > _EMBED_CHARACTERS:
            return f"{characters} characters in an embed, more than {_EMBED_CHARACTERS}"
    return ""


# Letters that end strings, cells, blocks of code, tags and mentions; and many of them.
_PIECES = (
    *(
        '"',
        "'",
        "\\",
        "`",
        "```",
        "<",
        ">",
        "&",
        "&amp;",
        "<!channel>",
        "<@U1>",
        "@everyone",
        "*",
        "_",
        "~",
        "[a](http://b)",
    ),
    *(
        "\n",
        "\r",
        "\t",
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\ufffd",
        " ",
        "{{ x }}",
        "{% raw %}",
        "${a}",
    ),
    *(
        "☃",
        "😀",
        "é",
        "e\u0301",
        "\U0010ffff",
        "ab",
        "0",
        "null",
        "</p>",
        "]]>",
        "--",
        "#",
        "|",
        "%s",
        "\\u0000",
        "\\n",
    ),
)
_KNOWN_SHARE = 0.8
_TYPES = ("", "a", "order.created", "x" * 128, "subscription.failing", "delivery.exhausted", "webhook.test")
_CONTENT_TYPES = (
    "application/json",
    "application/json",
    "application/vnd.x+json; charset=utf-8",
    "text/plain",
    "image/png",
)


def random_text(chance: random.Random) -> str:
    """Return a text of hostile letters, empty or up to some 20,000 letters."""
    most = chance.choice((0, 1, 3, 30, 300, 3000))
    return "".join(chance.choice(_PIECES) for _ in range(chance.randint(0, most)))


def events(seed: int) -> Iterator[Event]:
    """Yield events of random texts without end."""
    chance = random.Random(seed)  # noqa: S311 - the same for a seed
    while True:
        event_type = chance.choice(_TYPES)
        content_type = chance.choice(_CONTENT_TYPES)
        text = random_text(chance)
        if event_type in {"subscription.failing", "delivery.exhausted"} and chance.random() < _KNOWN_SHARE:
            data = {
                "target_host": text or "a",
                "subscription_id": random_text(chance) or "b",
                "reason": random_text(chance),
            }
            value: Any = {"type": event_type, "data": data | {"last_error": random_text(chance), "deliveries": 3}}
        else:
            value = chance.choice(
                (text, {"message": text}, [text, None], {text: {"severity": text}}, None, 1.5, True, {})
            )
        if content_type == "image/png":
            payload = chance.randbytes(100)
        elif content_type == "text/plain":
            payload = text.encode(errors="replace")
        else:
            payload = json.dumps(value, ensure_ascii=chance.choice((True, False))).encode(errors="replace")
        yield Event(
            id="019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5",
            type=event_type,
            time="2026-03-14T15:09:26.535Z",
            content_type=content_type,
            payload=payload,
            tenant_id=chance.choice(("acme", "default", "a b", "é", "x" * 64)),
        )
