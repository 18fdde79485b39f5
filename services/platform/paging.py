"""Opaque page tokens: the last id of a page, in URL-safe base64."""

import base64
import binascii
from uuid import UUID

from services.platform import errors, ids

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
# Greater than every UUIDv7: where a descending list begins.
NEWEST = UUID(int=2**128 - 1)


def _not_ours() -> errors.InvalidArgument:
    return errors.InvalidArgument.field("page_token", "must be the token from the previous page")


def page_size(requested: int) -> int:
    """Return the number of objects on a page; 0 means the default."""
    if not 0 <= requested <= MAX_PAGE_SIZE:
        raise errors.InvalidArgument.field("page_size", f"must be between 1 and {MAX_PAGE_SIZE}")
    return requested or DEFAULT_PAGE_SIZE


def token(last: UUID) -> str:
    """Return the token of the page after the object `last`."""
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def before(page_token: str) -> UUID:
    """Return the id that the page's objects come before; InvalidArgument if the token is invalid."""
    if not page_token:
        return NEWEST
    try:
        return UUID(bytes=base64.b64decode(page_token + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise _not_ours() from None


def span_token(last: UUID, first: UUID) -> str:
    """Return the token of the page after the object `last`, of a list that was bounded by `first` when it began."""
    return base64.urlsafe_b64encode(last.bytes + first.bytes).decode().rstrip("=")


def span(page_token: str) -> tuple[UUID, UUID]:
    """Return `last` and `first` of such a token; InvalidArgument if the token is invalid."""
    try:
        found = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        last, first = UUID(bytes=found[:16]), UUID(bytes=found[16:])
        ids.moment_of(last), ids.moment_of(first)
    except (ValueError, OverflowError, binascii.Error):  # or after the year 9999, as no object is
        raise _not_ours() from None
    return last, first


def text_token(last: str) -> str:
    """Return the token of the page after the object with this text as id."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def after(page_token: str) -> str:
    """Return the text that the page's ids come after; InvalidArgument if the token is invalid."""
    try:
        return base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (ValueError, binascii.Error):
        raise _not_ours() from None
