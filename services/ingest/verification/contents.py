"""What a provider calls what it sends: its type, and an id that is the same whenever it sends it again.

Read once the signature is verified, and each field by itself, so that nothing odd in one loses the other. What is
missing, or cannot be a type or an id of this service, is empty: what is genuine is not refused for its name.
"""

import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote_plus

import msgspec
from msgspec import UNSET, Raw, UnsetType

from services.domain import events
from services.ingest.verification import schemes
from services.ingest.verification.headers import Headers
from services.platform import errors
from services.platform.http import json_text

FORM = "application/x-www-form-urlencoded"
MAX_CHALLENGE_LENGTH = 1024

_ID = re.compile(r"[\x20-\x7e]{1,255}")
_CHALLENGE = re.compile(rf"[\x20-\x7e]{{1,{MAX_CHALLENGE_LENGTH}}}")
_PAYLOAD = re.compile(rb"(?:\A|&)payload=([^&]*)")
_COMMAND = re.compile(rb"(?:\A|&)command=([^&]*)")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is by its sender's word."""

    event_type: str = ""
    # Of the event, for the sender's own repetitions.
    delivery_id: str = ""
    # What the sender wants to hear in a handshake, in place of being stored.
    challenge: str = ""
    # Whether the sender shows the body of the answer to people, so that it has to be empty.
    empty_answer: bool = False


NOTHING = Content()

# Of the headers, the content type, and the body.
Reader: TypeAlias = Callable[[Headers, str, bytes], Content]


class _Fields(msgspec.Struct):
    """The fields that are looked at in any body. Each is read by itself."""

    type: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    event_id: Raw | UnsetType = UNSET
    challenge: Raw | UnsetType = UNSET


_FIELDS = msgspec.json.Decoder(_Fields)
_NO_FIELDS = _Fields()


def github(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-GitHub-Event and X-GitHub-Delivery."""
    return _content(headers.named("X-GitHub-Event"), headers.named("X-GitHub-Delivery"))


def stripe(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
    """`type` and `id` of the event."""
    event = _fields(body)
    return _content(json_text.string(event.type), json_text.string(event.id))


def shopify(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-Shopify-Topic and X-Shopify-Webhook-Id. X-Shopify-Event-Id is the same for several webhooks of one action."""
    return _content(headers.named("X-Shopify-Topic"), headers.named("X-Shopify-Webhook-Id"))


def slack(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
    """`type` of the inner event and `event_id`; of an interaction its `type`, of a slash command the command.

    InvalidArgument for a handshake without a challenge.
    """
    if content_type.partition(";")[0].strip().lower() == FORM:
        return _form(body)
    found = _fields(body)
    outer = json_text.string(found.type)
    if outer == "url_verification":
        challenge = json_text.string(found.challenge)
        if not _CHALLENGE.fullmatch(challenge):
            expected = f"must be 1 to {MAX_CHALLENGE_LENGTH} printable ASCII characters"
            raise errors.InvalidArgument.field("challenge", expected)
        return Content(challenge=challenge)
    inner = found.event
    if inner is UNSET or bytes(inner) == b"null":
        return _content(outer, json_text.string(found.event_id))
    return _content(json_text.string(_fields(bytes(inner)).type), json_text.string(found.event_id))


def standard(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - JSON or nothing
    """`type` of the body, and webhook-id."""
    return _content(json_text.string(_fields(body).type), headers.named(schemes.standard_prefix(headers) + "id"))


def _content(event_type: str, delivery_id: str) -> Content:
    return Content(
        event_type=event_type if events.is_valid_type(event_type) else "",
        delivery_id=delivery_id if _ID.fullmatch(delivery_id) else "",
    )


def _form(body: bytes) -> Content:
    """A slash command or an interaction. Slack shows people what the answer holds, or an error."""
    payload, command = _PAYLOAD.search(body), _COMMAND.search(body)
    if payload is not None:
        event_type = json_text.string(_fields(unquote_plus(payload[1].decode("latin-1")).encode()).type)
    else:
        event_type = unquote_plus(command[1].decode("latin-1")) if command else ""
    return msgspec.structs.replace(_content(event_type, ""), empty_answer=True)


def _fields(text: bytes) -> _Fields:
    return json_text.fields(_FIELDS, text) or _NO_FIELDS
