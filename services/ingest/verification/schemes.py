"""How the providers sign. Each function raises unless the body is signed under one of the keys, and in time.

Stripe:    https://docs.stripe.com/webhooks#verify-manually
Shopify:   https://shopify.dev/docs/apps/build/webhooks/subscribe/https
Slack:     https://docs.slack.dev/authentication/verifying-requests-from-slack
Standard:  https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Signatures are compared in constant time, and before the time is looked at: that something has expired is said of what
is genuine alone.
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from services.domain.secrets.signatures import Key
from services.ingest.verification.headers import Headers, expired, mismatch

# How far a timestamp may be off, either way.
TOLERANCE_SECONDS = 300

STRIPE_SIGNATURE = "Stripe-Signature"
SHOPIFY_HMAC = "X-Shopify-Hmac-Sha256"
SLACK_SIGNATURE = "X-Slack-Signature"
SLACK_TIMESTAMP = "X-Slack-Request-Timestamp"

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_DOES_NOT_MATCH = "does not match the body under the subscription's verification secrets"

# Of the headers, the body, the keys, and the time in seconds since 1970.
Scheme: TypeAlias = Callable[[Headers, bytes, Sequence[Key], float], None]


def stripe(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """Stripe-Signature: "t=" and a time, and for each secret of theirs "v1=" and the hex HMAC-SHA256 of "time.body"."""
    parts = [part.strip().partition("=") for part in headers.signed(STRIPE_SIGNATURE).split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not given:
        raise mismatch(STRIPE_SIGNATURE, "must be t=, a time, and v1= with a signature at least once")
    time = _time(STRIPE_SIGNATURE, times[0])
    signed = times[0].encode() + b"." + body
    _check(STRIPE_SIGNATURE, given, [hmac.digest(key.hub, signed, "sha256").hex() for key in keys])
    _check_time(STRIPE_SIGNATURE, time, now)


def shopify(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:  # noqa: ARG001 - it has no time
    """X-Shopify-Hmac-Sha256: the base64 HMAC-SHA256 of the body."""
    given = headers.signed(SHOPIFY_HMAC)
    _check(SHOPIFY_HMAC, [given], [_base64(hmac.digest(key.hub, body, "sha256")) for key in keys])


def slack(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """X-Slack-Signature: "v0=" and the hex HMAC-SHA256 of "v0:time:body", with the time in a header of its own."""
    given = headers.signed(SLACK_SIGNATURE)
    timestamp = headers.signed(SLACK_TIMESTAMP)
    time = _time(SLACK_TIMESTAMP, timestamp)
    signed = b"v0:" + timestamp.encode() + b":" + body
    _check(SLACK_SIGNATURE, [given], ["v0=" + hmac.digest(key.hub, signed, "sha256").hex() for key in keys])
    _check_time(SLACK_TIMESTAMP, time, now)


def standard(headers: Headers, body: bytes, keys: Sequence[Key], now: float) -> None:
    """webhook-signature: for each secret of theirs "v1," and the base64 HMAC-SHA256 of "id.time.body", spaces between.

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
    """What the names of Standard Webhooks' three headers begin with in this request."""
    return "svix-" if headers.has("svix-signature") and not headers.has("webhook-signature") else "webhook-"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _check(name: str, given: Iterable[str], expected: Sequence[str]) -> None:
    # Each with each, so that the time does not tell which one held.
    held = [hmac.compare_digest(text.encode(), right.encode()) for text in given for right in expected]
    if not any(held):
        raise mismatch(name, _DOES_NOT_MATCH)


def _time(name: str, text: str) -> int:
    if not _TIMESTAMP.fullmatch(text):
        raise mismatch(name, "must have the time in seconds since 1970")
    return int(text)


def _check_time(name: str, time: int, now: float) -> None:
    if abs(now - time) > TOLERANCE_SECONDS:
        when = "before" if time < now else "after"
        raise expired(name, f"is of more than {TOLERANCE_SECONDS} s {when} the time of this service")
