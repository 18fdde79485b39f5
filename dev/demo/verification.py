"""What a receiver checks before it trusts a webhook, written like any receiver, without this service's own code."""

import base64
import hmac
import time
from collections.abc import Mapping

# Standard Webhooks leaves the limit to the receiver; its libraries use five minutes.
TOLERANCE_SECONDS = 300


def standard_signature_holds(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether one of the signatures in webhook-signature is valid and recent (Standard Webhooks 1.0).

    The key is what follows "whsec_", decoded from base64. "ID.TIMESTAMP.BODY" is signed.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return any(_same(expected, signature) for signature in headers.get("webhook-signature", "").split())


def hub_signature_holds(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether X-Hub-Signature-256 is valid: the HMAC of the body under the secret's UTF-8 bytes, as GitHub's."""
    return _same(hub_signature(secret, body), headers.get("x-hub-signature-256", ""))


def hub_signature(secret: str, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256 for a body."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
