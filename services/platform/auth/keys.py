"""API keys, and tokens of ingest URLs, sessions, and portal links: how they are made, told from others, and stored."""

import hashlib
import re
import secrets
import string

from services.platform import errors

PREFIX = "whk_"
MIN_LENGTH, MAX_LENGTH = 32, 256
_ALPHABET = string.ascii_letters + string.digits
# Of 62 characters so many carry 256 bits.
_RANDOM_LENGTH = 43
_SHOWN_LENGTH = len(PREFIX) + 6
INGEST_TOKEN_PREFIX = "whi_"  # noqa: S105 - the beginning of every token
_TOKEN_BYTES = 32
# What 32 bytes are in URL-safe base64.
_INGEST_TOKEN = re.compile(INGEST_TOKEN_PREFIX + r"[A-Za-z0-9_-]{43}")
SESSION_PREFIX = "whs_"
_SESSION_TOKEN = re.compile(SESSION_PREFIX + r"[A-Za-z0-9_-]{43}")
# In the address of a portal link, and what its holder has once it is exchanged.
LINK_PREFIX = "whl_"
PORTAL_PREFIX = "whp_"
_PORTAL_TOKEN = re.compile(PORTAL_PREFIX + r"[A-Za-z0-9_-]{43}")
# What a header can carry in one piece: printable ASCII without spaces.
_PRINTABLE = re.compile(r"[!-~]+")
_BEARER = re.compile(r"bearer +([!-~]{1,256}) *", re.IGNORECASE)


def make() -> str:
    """Create a key of 256 random bits."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))


def make_ingest_token() -> str:
    """Create an ingest token: a part of the URL for senders that cannot sign or log in."""
    return INGEST_TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def may_be_ingest_token(text: str) -> bool:
    """Whether a text has the form of an ingest token."""
    return _INGEST_TOKEN.fullmatch(text) is not None


def make_session_token() -> str:
    """Create the token of a session: what a browser shows in place of a key."""
    return SESSION_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def may_be_session_token(text: str) -> bool:
    """Whether a text has the form of a session's token."""
    return _SESSION_TOKEN.fullmatch(text) is not None


def make_link_secret() -> str:
    """Create the secret of a portal link, which is exchanged once."""
    return LINK_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def make_portal_token() -> str:
    """Create the token of a portal link: what its holder sends in place of a key."""
    return PORTAL_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def may_be_portal_token(text: str) -> bool:
    """Whether a text has the form of a portal link's token."""
    return _PORTAL_TOKEN.fullmatch(text) is not None


def shown(key: str) -> str:
    """Return the characters by which people tell their keys apart."""
    return key[:_SHOWN_LENGTH]


def digest(key: str) -> bytes:
    """Return the stored hash of a key or token: its SHA-256. With 256 random bits a slow hash is not needed."""
    return hashlib.sha256(key.encode()).digest()


def why_not(key: str, *, prefix: str = PREFIX) -> str | None:
    """Return what is wrong with a key that an operator chose, or None."""
    if key.startswith(prefix) and MIN_LENGTH <= len(key) <= MAX_LENGTH and _PRINTABLE.fullmatch(key):
        return None
    begin = f"begin with {prefix} and " if prefix else ""
    return f"must {begin}have {MIN_LENGTH} to {MAX_LENGTH} printable ASCII characters without spaces"


def of_header(header: str) -> str:
    """Return the key in an Authorization header (RFC 6750, 2.1); Unauthenticated if it contains none."""
    found = _BEARER.fullmatch(header)
    if found is None:
        raise errors.Unauthenticated("the Authorization header must be `Bearer <API key>`")
    return found[1]


def missing() -> errors.Unauthenticated:
    """Return the error for a call without a key."""
    return errors.Unauthenticated("send an API key: Authorization: Bearer whk_…", reason=errors.ErrorReason.KEY_MISSING)


def invalid() -> errors.Unauthenticated:
    """Return the error for an unknown or revoked key, which does not say which."""
    return errors.Unauthenticated("the API key is not valid")
