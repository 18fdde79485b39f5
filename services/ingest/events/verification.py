"""Verification of what comes in for a subscription, and what its sender calls it.

From top to bottom: a request's headers, how providers sign, what they call the content, and the verifier.
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import unquote_plus

import msgspec
import structlog
from msgspec import UNSET, Raw, UnsetType

from protos.webhook.v1 import ingest_pb2
from services.domain import events
from services.domain.secrets import signatures
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Key
from services.domain.secrets.vault import Vault
from services.ingest.subscriptions.record import Subscription
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors
from services.platform.clock import Clock
from services.platform.http import json_text

log = structlog.get_logger(__name__)

MAX_HEADER_LENGTH = 1024
# How far a timestamp may be off, either way.
TOLERANCE_SECONDS = 300
HUB_SIGNATURE = events.HUB_SIGNATURE
STRIPE_SIGNATURE = "Stripe-Signature"
SHOPIFY_HMAC = "X-Shopify-Hmac-Sha256"
SLACK_SIGNATURE = "X-Slack-Signature"
SLACK_TIMESTAMP = "X-Slack-Request-Timestamp"
FORM = "application/x-www-form-urlencoded"
MAX_CHALLENGE_LENGTH = 1024
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_DOES_NOT_MATCH = "does not match the body under the subscription's verification secrets"
_ID = re.compile(r"[\x20-\x7e]{1,255}")
_CHALLENGE = re.compile(rf"[\x20-\x7e]{{1,{MAX_CHALLENGE_LENGTH}}}")
_RELAYED_VALUE = re.compile(rf"[\x20-\x7e]{{1,{MAX_HEADER_LENGTH}}}")
_PAYLOAD = re.compile(rb"(?:\A|&)payload=([^&]*)")
_COMMAND = re.compile(rb"(?:\A|&)command=([^&]*)")


class Headers:
    """The headers of one request, by name in lower case."""

    __slots__ = ("_repeated", "_values")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        self._repeated: set[str] = set()
        for name, value in pairs:
            lower = name.lower()
            if lower in self._values:
                self._repeated.add(lower)
            self._values[lower] = value.strip(" \t")  # RFC 9110, 5.5: no part of the value

    def has(self, name: str) -> bool:
        """Return whether a header is present."""
        return name.lower() in self._values

    def signed(self, name: str) -> str:
        """Return a header that a signature needs. Raises SignatureMissing, or SignatureMismatch if it is invalid."""
        lower = name.lower()
        value = self._values.get(lower)
        if value is None:
            raise missing(name)
        if lower in self._repeated:
            raise mismatch(name, "appears more than once in this request")
        if len(value) > MAX_HEADER_LENGTH:
            raise mismatch(name, f"must be at most {MAX_HEADER_LENGTH} characters")
        if not value.isascii():
            raise mismatch(name, "must be ASCII")
        return value

    def named(self, name: str) -> str:
        """Return a header that describes a request; empty if it is missing or repeated."""
        lower = name.lower()
        return "" if lower in self._repeated else self._values.get(lower, "")


def missing(name: str) -> errors.SignatureMissing:
    """Return the error for a request without a header that its subscription requires."""
    return errors.SignatureMissing.header(name, "is required: this subscription accepts only signed requests")


def mismatch(name: str, why: str) -> errors.SignatureMismatch:
    """Return the error for a signature that is not valid."""
    return errors.SignatureMismatch.header(name, why)


def expired(name: str, why: str) -> errors.SignatureExpired:
    """Return the error for a valid signature of another time."""
    return errors.SignatureExpired.header(name, why)


# How the providers sign. Each function raises unless the body is signed under one of the keys, and in time.
#
# Stripe:    https://docs.stripe.com/webhooks#verify-manually
# Shopify:   https://shopify.dev/docs/apps/build/webhooks/subscribe/https
# Slack:     https://docs.slack.dev/authentication/verifying-requests-from-slack
# Standard:  https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
#
# Signatures are compared in constant time, and before the time is checked: only a genuine request can be "expired".

# Of the headers, the body, the keys, and the time in seconds since 1970.
Check: TypeAlias = Callable[[Headers, bytes, Sequence[Key], float], None]


def verify_stripe(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """Stripe-Signature: "t=" and a time, and for each of its secrets "v1=" and the hex HMAC-SHA256 of "time.body"."""
    parts = [part.strip().partition("=") for part in headers.signed(STRIPE_SIGNATURE).split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not given:
        raise mismatch(STRIPE_SIGNATURE, "must contain t=<timestamp> and at least one v1=<signature>")
    time = _time(STRIPE_SIGNATURE, times[0])
    signed = times[0].encode() + b"." + body
    _check(STRIPE_SIGNATURE, given, [hmac.digest(key.hub, signed, "sha256").hex() for key in keys])
    _check_time(STRIPE_SIGNATURE, time, now)


def verify_shopify(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:  # noqa: ARG001 - it has no time
    """X-Shopify-Hmac-Sha256: the base64 HMAC-SHA256 of the body."""
    given = headers.signed(SHOPIFY_HMAC)
    _check(SHOPIFY_HMAC, [given], [_base64(hmac.digest(key.hub, body, "sha256")) for key in keys])


def verify_slack(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """X-Slack-Signature: "v0=" and the hex HMAC-SHA256 of "v0:time:body", with the time in a header of its own."""
    given = headers.signed(SLACK_SIGNATURE)
    timestamp = headers.signed(SLACK_TIMESTAMP)
    time = _time(SLACK_TIMESTAMP, timestamp)
    signed = b"v0:" + timestamp.encode() + b":" + body
    _check(SLACK_SIGNATURE, [given], ["v0=" + hmac.digest(key.hub, signed, "sha256").hex() for key in keys])
    _check_time(SLACK_TIMESTAMP, time, now)


def verify_standard(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """webhook-signature: for each of its secrets "v1," and the base64 HMAC-SHA256 of "id.time.body", spaces between.

    Svix's headers are the same under names of their own.
    """
    prefix = standard_prefix(headers)
    given = headers.signed(prefix + "signature").split(" ")
    message_id = headers.signed(prefix + "id")
    timestamp = headers.signed(prefix + "timestamp")
    time = _time(prefix + "timestamp", timestamp)
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + body
    _check(prefix + "signature", given, ["v1," + _base64(hmac.digest(key.standard, signed, "sha256")) for key in keys])
    _check_time(prefix + "timestamp", time, now)


def standard_prefix(headers: Headers) -> str:
    """Return the prefix of the three Standard Webhooks headers in this request."""
    return "svix-" if headers.has("svix-signature") and not headers.has("webhook-signature") else "webhook-"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _check(name: str, given: Iterable[str], expected: Sequence[str]) -> None:
    # Compare all pairs, so that the time does not tell which one was valid.
    held = [hmac.compare_digest(text.encode(), right.encode()) for text in given for right in expected]
    if not any(held):
        raise mismatch(name, _DOES_NOT_MATCH)


def _time(name: str, text: str) -> int:
    if not _TIMESTAMP.fullmatch(text):
        raise mismatch(name, "must be a Unix time in seconds")
    return int(text)


def _check_time(name: str, time: int, now: float) -> None:
    if abs(now - time) > TOLERANCE_SECONDS:
        when = "before" if time < now else "after"
        raise expired(name, f"is more than {TOLERANCE_SECONDS} s {when} the service's time")


# What a provider calls what it sends: its type, and an id that is the same whenever it sends it again.
#
# Read once the signature is verified, and each field separately, so that an invalid one does not lose the others. What
# is missing, or is not a valid type or id here, is empty: a genuine webhook is not refused for its name.


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is, according to its sender."""

    event_type: str = ""
    # The sender's id of the event, by which its retries are recognized.
    delivery_id: str = ""
    # What to respond to a handshake, which is not stored.
    challenge: str = ""
    # Whether the sender shows the response body to people, so that it must be empty.
    empty_answer: bool = False


NOTHING = Content()

# Of the headers, the content type, and the body.
Reader: TypeAlias = Callable[[Headers, str, bytes], Content]


class _Fields(msgspec.Struct):
    """The fields that are read from any body, each separately."""

    type: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    event_id: Raw | UnsetType = UNSET
    challenge: Raw | UnsetType = UNSET


_FIELDS = msgspec.json.Decoder(_Fields)
_NO_FIELDS = _Fields()


def read_github(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-GitHub-Event and X-GitHub-Delivery."""
    return _content(headers.named("X-GitHub-Event"), headers.named("X-GitHub-Delivery"))


def read_stripe(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
    """`type` and `id` of the event."""
    event = _fields(body)
    return _content(json_text.string(event.type), json_text.string(event.id))


def read_shopify(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the headers say it all
    """X-Shopify-Topic and X-Shopify-Webhook-Id. X-Shopify-Event-Id is the same for several webhooks of one action."""
    return _content(headers.named("X-Shopify-Topic"), headers.named("X-Shopify-Webhook-Id"))


def read_slack(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - the body says it all
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


def read_standard(headers: Headers, content_type: str, body: bytes) -> Content:  # noqa: ARG001 - JSON or nothing
    """`type` of the body, and webhook-id."""
    return _content(json_text.string(_fields(body).type), headers.named(standard_prefix(headers) + "id"))


def _content(event_type: str, delivery_id: str) -> Content:
    return Content(
        event_type=event_type if events.is_valid_type(event_type) else "",
        delivery_id=delivery_id if _ID.fullmatch(delivery_id) else "",
    )


def _form(body: bytes) -> Content:
    """Parse a slash command or an interaction. Slack shows people the response body, or an error."""
    payload, command = _PAYLOAD.search(body), _COMMAND.search(body)
    if payload is not None:
        event_type = json_text.string(_fields(unquote_plus(payload[1].decode("latin-1")).encode()).type)
    else:
        event_type = unquote_plus(command[1].decode("latin-1")) if command else ""
    return msgspec.structs.replace(_content(event_type, ""), empty_answer=True)


def _fields(text: bytes) -> _Fields:
    return json_text.fields(_FIELDS, text) or _NO_FIELDS


# A provider that signs in its own way: its check and its reader. Its headers are in events.PROVIDER_HEADERS.
PROVIDERS: Mapping[Verification, tuple[Check, Reader]] = {
    Verification.STRIPE: (verify_stripe, read_stripe),
    Verification.SHOPIFY: (verify_shopify, read_shopify),
    Verification.SLACK: (verify_slack, read_slack),
    Verification.STANDARD_WEBHOOKS: (verify_standard, read_standard),
}


class Verifier:
    """Verifies with a subscription's sealed secrets, and Postgres' clock."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    def verified(self, subscription: Subscription, item: ingest_pb2.IngestItem) -> Content:
        """Return what the sender says of a webhook, once the signature of the item's whole payload is verified.

        SignatureMissing, SignatureMismatch or SignatureExpired when it cannot be; WebhookError when the secret cannot
        be opened.
        """
        verification = subscription.verification
        if verification is Verification.NONE:
            return NOTHING
        if verification in PROVIDERS:
            check, read = PROVIDERS[verification]
            headers, body = _headers(item), item.payload
            check(headers, body, self._keys(subscription), self._clock.now())
            return read(headers, item.content_type, body)
        if item.HasField("hub_signature"):
            self._check_hub(subscription, item)
        elif verification is not Verification.AUTO:
            raise missing(HUB_SIGNATURE)
        if verification is not Verification.GITHUB:
            return NOTHING
        return read_github(_headers(item), item.content_type, item.payload)

    def _check_hub(self, subscription: Subscription, item: ingest_pb2.IngestItem) -> None:
        keys = self._keys(subscription)
        if not keys:
            raise mismatch(HUB_SIGNATURE, "was sent, but the subscription has no secret to verify it with")
        if not signatures.verify_hub(keys, item.payload, item.hub_signature.signature):
            raise mismatch(HUB_SIGNATURE, "does not match the body under the subscription's secret")

    def _keys(self, subscription: Subscription) -> Sequence[Key]:
        """Return the keys of its verification secrets, or of its signing secrets if it has none."""
        try:
            if subscription.sealed_verification_secrets is not None:
                return self._vault.verification_keys(subscription.id, subscription.sealed_verification_secrets)
            if subscription.sealed_secrets is not None:
                return self._vault.opened(subscription.id, subscription.sealed_secrets).keys(self._moment())
        except CannotOpen as error:
            log.error(  # noqa: TRY400 - there is no bug to trace
                "a subscription's secrets cannot be decrypted", subscription_id=str(subscription.id), reason=str(error)
            )
            raise errors.WebhookError("the subscription's secrets cannot be decrypted; the reason was logged") from None
        return ()

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def relayed(verification: Verification, item: ingest_pb2.IngestItem) -> dict[str, str]:
    """Return the headers of a verified webhook that its deliveries have, too; none that is repeated or not ASCII."""
    headers = _headers(item)
    named = ((name, headers.named(name)) for name in events.RELAYED_HEADERS[verification])
    found = {name: value for name, value in named if _RELAYED_VALUE.fullmatch(value)}
    if verification is Verification.GITHUB:
        found[HUB_SIGNATURE] = item.hub_signature.signature.strip()  # as it was compared: now it is ASCII
    return found


def _headers(item: ingest_pb2.IngestItem) -> Headers:
    return Headers((header.name, header.value) for header in item.verification.headers)
