"""What only browsers send: the cookie of a session, and where a request comes from.

A browser adds the cookie to every request to the gateway, no matter which site makes it. So a request that changes
something and is signed in by the cookie must have a header, which a page of another website cannot add: the gateway
never allows that (CORS). Without keys, in development, a request is served if it is addressed to this machine, and no
other website made it: a website can give its own name this machine's address (DNS rebinding).
"""

import functools
import re

from starlette.types import Scope

from services.platform import errors
from services.platform.auth import keys
from services.platform.errors import ErrorReason

HEADER = "X-Webhook-Console"
COOKIE = "webhook_session"
# What a browser keeps from the beginning of a sign-in by OpenID Connect to its end.
ATTEMPT_COOKIE = "webhook_sign_in"
# A browser takes a cookie of such a name only over TLS and from this very host, and sends it to no other.
_SECURE = "__Host-"
SECURE_COOKIE = f"{_SECURE}{COOKIE}"

_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_READS = ("GET", "HEAD", "OPTIONS")
_SITE = b"sec-fetch-site"
_CROSS_SITE = b"cross-site"


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a header; the first one if it is repeated."""
    return next((value for found, value in scope["headers"] if found == name), None)


@functools.lru_cache(maxsize=64)
def _is_loopback(host: bytes) -> bool:
    return _LOOPBACK.fullmatch(host) is not None


def is_loopback(scope: Scope) -> bool:
    """Return whether a request is addressed to this machine."""
    return _is_loopback(header(scope, b"host") or b"")


def foreign(scope: Scope) -> errors.PermissionDenied | None:
    """Return why a request without a key is not served: it is addressed to another machine, or by another website.

    Browsers always send a Host.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host")
    if host is not None and not _is_loopback(host):
        return errors.PermissionDenied(
            "Host: without API keys, only requests to localhost are served", reason=ErrorReason.HOST_FORBIDDEN
        )
    return _other_site() if headers.get(_SITE) == _CROSS_SITE else None


def check_session_use(scope: Scope) -> None:
    """Raise PermissionDenied if a request that is signed in by the cookie may come from another website."""
    if header(scope, _SITE) == _CROSS_SITE:
        raise _other_site()
    if scope["method"] not in _READS:
        check_header(scope)


def check_header(scope: Scope) -> None:
    """Raise PermissionDenied unless a request has the header that other websites cannot add."""
    if header(scope, HEADER.lower().encode()) is None:
        raise errors.PermissionDenied(
            f"{HEADER}: is required, with any value, for a request of a browser that changes something",
            reason=ErrorReason.CROSS_SITE_REQUEST,
        )


def _other_site() -> errors.PermissionDenied:
    return errors.PermissionDenied("the request was made by another website", reason=ErrorReason.CROSS_SITE_REQUEST)


def session_token(scope: Scope) -> str | None:
    """Return the token in the cookie of a session, if there is one that can be valid.

    The cookie without the prefix counts only on this machine: elsewhere a host of the same domain could have set it.
    """
    return next((value for value in _cookies(scope, COOKIE) if keys.may_be_session_token(value)), None)


def attempt(scope: Scope) -> str:
    """Return what the cookie of a sign-in by OpenID Connect has; empty without one."""
    return next(iter(_cookies(scope, ATTEMPT_COOKIE)), "")


def _cookies(scope: Scope, name: str) -> list[str]:
    """Return the values of a cookie that this host has set, by the name with the prefix first."""
    sent = header(scope, b"cookie")
    if sent is None:
        return []
    names = (_SECURE + name, name) if is_loopback(scope) else (_SECURE + name,)
    found = dict(pair.strip().partition("=")[::2] for pair in sent.decode("latin-1").split(";"))
    return [found[each] for each in names if each in found]


def session_cookie(scope: Scope, token: str, *, max_age_seconds: int) -> str:
    """Return the Set-Cookie header that gives a browser its token, or takes it away if that lasts 0 seconds.

    The gateway does not see TLS, which ends before it, but browsers do: they refuse the cookie without it. The
    exception is this machine, where there is none.
    """
    return _set_cookie(scope, COOKIE, token, max_age_seconds=max_age_seconds, same_site="Strict")


def attempt_cookie(scope: Scope, value: str, *, max_age_seconds: int) -> str:
    """Return the same of a sign-in by OpenID Connect, which the browser sends when the issuer sends it back."""
    return _set_cookie(scope, ATTEMPT_COOKIE, value, max_age_seconds=max_age_seconds, same_site="Lax")


def _set_cookie(scope: Scope, name: str, value: str, *, max_age_seconds: int, same_site: str) -> str:
    secure = not is_loopback(scope)
    parts = [f"{_SECURE if secure else ''}{name}={value}", "Path=/", f"Max-Age={max_age_seconds}"]
    return "; ".join([*parts, "HttpOnly", *(["Secure"] if secure else []), f"SameSite={same_site}"])
