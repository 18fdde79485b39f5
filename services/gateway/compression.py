"""Answers compressed with gzip, for clients that take it."""

import re

from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

# Below it a compressed answer saves no packet.
MIN_BYTES = 1024
# Half as long as the default for a tenth more bytes: lists of JSON compress well at any level.
LEVEL = 4

_QUALITY = re.compile(r";\s*q\s*=\s*0(?:\.0{0,3})?\s*\Z")


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header takes gzip (RFC 9110, 12.5.3)."""
    taken = {}
    for member in accept_encoding.lower().split(","):
        name = member.partition(";")[0].strip()
        taken[name] = _QUALITY.search(member) is None
    return taken.get("gzip", taken.get("x-gzip", taken.get("*", False)))


class Compressed:
    """Compress what an application answers if it is long enough."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        # A header that may repeat: its lines are one list.
        encodings = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if accepts_gzip(encodings.decode("latin-1")):
            await GZipResponder(self._app, MIN_BYTES, LEVEL)(scope, receive, send)
        else:
            await IdentityResponder(self._app, MIN_BYTES)(scope, receive, send)
