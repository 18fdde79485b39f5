"""Content that is the same for every request: made and compressed once, with an ETag."""

import gzip
import hashlib

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.compression import accepts_gzip

NOSNIFF = {"x-content-type-options": "nosniff"}
# Of what is not at an address of its own for each version: kept, and asked for again every time.
REVALIDATE = "no-cache"
# Of what is: a year, without a question.
FOREVER = "public, max-age=31536000, immutable"


class StaticContent:
    """A body with its headers."""

    def __init__(
        self, body: bytes, media_type: str, *, cache_control: str = REVALIDATE, headers: dict[str, str] | None = None
    ) -> None:
        self._body = body
        self._media_type = media_type
        self._gzipped = gzip.compress(body, mtime=0)
        self.digest = hashlib.sha256(body).hexdigest()[:16]
        self._headers = NOSNIFF | {"cache-control": cache_control, "vary": "Accept-Encoding"} | (headers or {})

    def response(self, request: Request) -> Response:
        """Return it compressed if the client takes that, or 304 if the client has it already."""
        gzipped = accepts_gzip(_listed(request, "accept-encoding")) and len(self._gzipped) < len(self._body)
        # Another one for the compressed bytes (RFC 9110, 8.8.3.3).
        etag = f'"{self.digest}-gzip"' if gzipped else f'"{self.digest}"'
        headers = self._headers | {"etag": etag}
        if etag in [tag.strip().removeprefix("W/") for tag in _listed(request, "if-none-match").split(",")]:
            return Response(status_code=304, headers=headers)
        if gzipped:
            return Response(self._gzipped, headers=headers | {"content-encoding": "gzip"}, media_type=self._media_type)
        return Response(self._body, headers=headers, media_type=self._media_type)


def _listed(request: Request, name: str) -> str:
    """Return a header whose lines are one list."""
    return ",".join(request.headers.getlist(name))
