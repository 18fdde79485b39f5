"""Headers as providers sign requests, made by their own packages if there is one.

Each function takes a secret, the body, and the time in seconds since 1970.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

import standardwebhooks
import svix
from slack_sdk.signature import SignatureVerifier
from stripe import WebhookSignature

Signer: TypeAlias = Callable[[str, bytes, int], dict[str, str]]


def by_stripe(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign with Stripe's package."""
    return {"stripe-signature": WebhookSignature.generate_signature_header(body.decode(), secret, time)}


def by_shopify(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign as Shopify's documentation says; the time is not signed."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {"x-shopify-hmac-sha256": base64.b64encode(digest).decode()}


def by_slack(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign with Slack's package."""
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(time), body=body)
    return {"x-slack-signature": str(signature), "x-slack-request-timestamp": str(time)}


def by_standard(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign with the package of Standard Webhooks."""
    signature = standardwebhooks.Webhook(secret).sign("msg_1", datetime.fromtimestamp(time, UTC), body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(time), "webhook-signature": signature}


def by_svix(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign with Svix's package."""
    signature = svix.Webhook(secret).sign("msg_1", datetime.fromtimestamp(time, UTC), body.decode())
    return {"svix-id": "msg_1", "svix-timestamp": str(time), "svix-signature": signature}


def by_github(secret: str, body: bytes, time: int) -> dict[str, str]:
    """Sign as GitHub's documentation says; the time is not signed."""
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
