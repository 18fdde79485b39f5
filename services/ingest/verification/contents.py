"""What a provider calls what it sends: its type, and an id that is the same whenever it sends it again.

Read once the signature holds. What is not there, or no type and no id of this service, is empty: what is genuine is not
refused for its name.
"""

import re
from collections.abc import Callable
from typing import TypeAlias, TypeVar
from urllib.parse import parse_qs

import msgspec

from services.common import errors
from services.ingest import event_types
from services.ingest.verification import schemes
from services.ingest.verification.headers import Headers

FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 200
MAX_CHALLENGE_LENGTH = 1024

_ID = re.compile(r"[\x20-\x7e]{1,255}")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is by its sender's word."""

    event_type: str = ""
    # Of the event, for the sender's own repetitions.
    delivery_id: str = ""
    # What the sender wants to hear in a handshake, in place of being stored.
    challenge: str = ""


NOTHING = Content()

# Of the headers, the content type, and the body.
Reader: TypeAlias = Callable[[Headers, str, bytes], Content]


class _Typed(msgspec.Struct):
    type: str = ""


class _Stripe(msgspec.Struct):
    type: str = ""
    id: str = ""


class _Slack(msgspec.Struct):
    type: str = ""
    event: _Typed | None = None
    event_id: str = ""
    challenge: str = ""


Body = TypeVar("Body")


def github(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-GitHub-Event and X-GitHub-Delivery."""
    return _content(headers.named("X-GitHub-Event"), headers.named("X-GitHub-Delivery"))


def stripe(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
    """`type` and `id` of the event."""
    event = _json(_Stripe, body)
    return NOTHING if event is None else _content(event.type, event.id)


def shopify(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-Shopify-Topic and X-Shopify-Webhook-Id. X-Shopify-Event-Id is the same for several webhooks of one action."""
    return _content(headers.named("X-Shopify-Topic"), headers.named("X-Shopify-Webhook-Id"))


def slack(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
    """`type` of the inner event and `event_id`; of an interaction its `type`, of a slash command the command.

    InvalidArgument for a handshake without a challenge.
    """
    if content_type.partition(";")[0].strip().lower() == FORM:
        return _form(body)
    found = _json(_Slack, body)
    if found is None:
        return NOTHING
    if found.type == "url_verification":
        if not 1 <= len(found.challenge) <= MAX_CHALLENGE_LENGTH:
            raise errors.InvalidArgument.field("challenge", f"must be 1 to {MAX_CHALLENGE_LENGTH} characters")
        return Content(challenge=found.challenge)
    return _content(found.event.type if found.event else found.type, found.event_id)


def standard(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - JSON or none
    """`type` of the body, and webhook-id."""
    found = _json(_Typed, body)
    return _content(found.type if found else "", headers.named(schemes.standard_prefix(headers) + "id"))


def _content(event_type: str, delivery_id: str) -> Content:
    return Content(
        event_type=event_type if event_types.is_valid(event_type) else "",
        delivery_id=delivery_id if _ID.fullmatch(delivery_id) else "",
    )


def _form(body: bytes) -> Content:
    try:
        fields = parse_qs(body.decode(), max_num_fields=MAX_FORM_FIELDS)
    except ValueError:  # no UTF-8, or too many fields
        return NOTHING
    if "payload" in fields:
        found = _json(_Typed, fields["payload"][0].encode())
        return _content(found.type if found else "", "")
    return _content(fields.get("command", [""])[0], "")


def _json(shape: type[Body], body: bytes) -> Body | None:
    """The body in this shape; None when it is another one, or no JSON."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
