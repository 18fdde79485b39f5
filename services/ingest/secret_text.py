"""The secrets that are shared with others, for signing and for verifying: which are refused, and which are weak."""

from collections.abc import Sequence

from services.domain.secrets.signatures import Key

MAX_LENGTH = 256
# Below the first nobody's documented example is, and a key is guessed from a few signatures. Standard Webhooks asks for
# 24 to 64; what many providers make is shorter, so that it is only warned of.
MIN_BYTES, ADVISED_BYTES = 8, 24


def why_no_text(secret: str) -> str | None:
    """Return what is wrong with a text that somebody gave as a secret, whatever it is for; None if nothing is."""
    if not 1 <= len(secret) <= MAX_LENGTH:
        return f"must be 1 to {MAX_LENGTH} characters"
    if "\x00" in secret:
        return "must not contain NUL"
    if secret.endswith(("\n", "\r")):
        return "must not end with a line break: leave out the end of the line that was copied with it"
    if secret != secret.strip():
        return "must not begin or end with white space"
    return None


def why_too_short(key: Key) -> str | None:
    """Return what is wrong with the size of a key; None if nothing is. The bytes after whsec_ are what counts."""
    if len(key.standard) >= MIN_BYTES:
        return None
    return f"must have at least {MIN_BYTES} bytes, after whsec_ those that its base64 stands for"


def warnings(field: str, keys: Sequence[Key]) -> list[str]:
    """Return a sentence for each key that is weak, beginning with its field."""
    return [
        f"{field if len(keys) == 1 else f'{field}.{index}'}: has fewer than {ADVISED_BYTES} bytes, which are easier to "
        "guess; use a longer secret"
        for index, key in enumerate(keys)
        if len(key.standard) < ADVISED_BYTES
    ]
