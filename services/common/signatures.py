"""HMAC signatures: Standard Webhooks 1.0 (https://www.standardwebhooks.com) and GitHub's X-Hub-Signature-256."""

import base64
import hmac

STANDARD_PREFIX = "whsec_"
HUB_PREFIX = "sha256="


def standard_key(secret_key: str) -> bytes:
    """The key of webhook-signature: base64 after "whsec_", else the secret's UTF-8 bytes.

    Raises ValueError when what follows "whsec_" is not base64.
    """
    if not secret_key.startswith(STANDARD_PREFIX):
        return secret_key.encode()
    try:
        return base64.b64decode(secret_key[len(STANDARD_PREFIX) :], validate=True)
    except ValueError as error:
        raise ValueError("must be base64 after whsec_") from error


def standard(secret_key: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of webhook-signature, "v1," and the base64 HMAC-SHA256 of "id.timestamp.body"."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(standard_key(secret_key), signed, "sha256")).decode()


def hub(secret_key: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256: "sha256=" and the hex HMAC-SHA256 under the secret's UTF-8 bytes."""
    return HUB_PREFIX + hmac.digest(secret_key.encode(), body, "sha256").hex()


def verify_hub(secret_key: str, body: bytes, signature: str) -> bool:
    """Whether `signature` is the body's X-Hub-Signature-256; compared in constant time."""
    return hmac.compare_digest(hub(secret_key, body).encode(), signature.strip().lower().encode())
