"""Every row belongs to a tenant. Until keys come there is one."""

import re

from services.common import errors

DEFAULT = "default"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def of(requested: str) -> str:
    """The tenant that a request acts for; InvalidArgument when it cannot be one."""
    if not requested:
        return DEFAULT
    if not _ID.fullmatch(requested):
        raise errors.InvalidArgument.field("tenant_id", "must be 1 to 63 characters of a-z 0-9 _ -")
    return requested
