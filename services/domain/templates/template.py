"""What a template is, what it makes, and why it cannot."""

from collections.abc import Mapping

import msgspec

# Bytes of a source in UTF-8.
MAX_SOURCE_BYTES = 16 << 10
# Of what a template makes; a payload that is larger already may become larger by MORE_BYTES.
MAX_OUTPUT_BYTES = 1 << 20
MORE_BYTES = 64 << 10


class Template(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A preset of the service, or a source with the type of what it makes. As it is stored and shown."""

    preset: str | None = None
    source: str | None = None
    content_type: str | None = None

    @property
    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of_text(cls, text: str) -> "Template":
        """Return what was stored."""
        return msgspec.json.decode(text, type=cls)


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent in place of the payload: its body, its Content-Type, and headers besides."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = {}


class TemplateFailed(Exception):
    """A template made nothing that can be sent. The message is for its owner; `line` is that of the source.

    `near` is a piece of the output. It has data of the event, and maybe a part of a secret: only a preview shows it.
    """

    def __init__(self, message: str, line: int | None = None, near: str = "") -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.message = message
        self.line = line
        self.near = near


def max_output_bytes(payload_bytes: int) -> int:
    """Return how many bytes a template may make of a payload of this size."""
    return max(MAX_OUTPUT_BYTES, payload_bytes + MORE_BYTES)


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Return whether what has this type is JSON."""
    media = media_type(content_type)
    return media == "application/json" or media.endswith("+json")
