"""Content that is the same for every request, and the headers of the pages that it belongs to."""

import gzip
import hashlib

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.web.middleware import accepts_gzip

NOSNIFF = {"x-content-type-options": "nosniff"}
# For content whose URL does not change with its version: cached, but revalidated every time.
REVALIDATE = "no-cache"
# For content whose URL changes with its version: cached for a year.
FOREVER = "public, max-age=31536000, immutable"

_MEDIA_TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}


def media_type(name: str) -> str | None:
    """Return the media type of a file, by its name; None if files of its kind are not served."""
    return _MEDIA_TYPES.get(name.rpartition(".")[2])


def page_headers(*, style: str = "'self'", img: str = "'self'", frame_ancestors: str = "'none'") -> dict[str, str]:
    """Return the headers of a page that loads nothing from other servers, and runs no inline script."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": style,
        "img-src": img,
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": frame_ancestors,
    }
    return NOSNIFF | {
        "content-security-policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }


class StaticContent:
    """A body that is the same for every request: compressed once, with an ETag."""

    def __init__(
        self, body: bytes, media_type: str, *, cache_control: str = REVALIDATE, headers: dict[str, str] | None = None
    ) -> None:
        self._body = body
        self._media_type = media_type
        self._gzipped = gzip.compress(body, mtime=0)
        self.digest = hashlib.sha256(body).hexdigest()[:16]
        self._headers = NOSNIFF | {"cache-control": cache_control, "vary": "Accept-Encoding"} | (headers or {})

    @property
    def size(self) -> int:
        """The bytes that it takes in memory."""
        return len(self._body) + len(self._gzipped)

    async def served(self, request: Request) -> Response:
        """Return it as a route's endpoint."""
        return self.response(request)

    def response(self, request: Request) -> Response:
        """Return it, compressed if the client accepts that, or 304 if the client has it already."""
        gzipped = accepts_gzip(_listed(request, "accept-encoding")) and len(self._gzipped) < len(self._body)
        # The compressed bytes have another ETag (RFC 9110, 8.8.3.3).
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
