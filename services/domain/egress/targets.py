"""Target URLs, parsed the same way where they are accepted and where they are connected to.

Stricter than the URL Standard of the WHATWG: what the standard would repair is refused. Hosts are read as the standard
reads them, so that a name that it reads as an address (127.1, 0x7f000001) is recognized as one: policy.py.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

import yarl

MAX_URL_LENGTH = 2048
MAX_HOST_LENGTH = 253
MAX_PORT = 65_535
_URL = re.compile(r"(?P<scheme>(?i:https?))://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """A parsed target."""

    tls: bool
    # ASCII in lower case: a name, with its final dot if it has one, or an address without brackets.
    host: str
    port: int
    # For the Host header, and for the request line with the query.
    authority: str
    path: str


@functools.lru_cache(maxsize=4096)
def host_of(url: str) -> str:
    """Return the host of a stored target; empty if it would no longer be accepted."""
    try:
        return parse(url).host
    except ValueError:
        return ""


def same(url: str, other: str) -> bool:
    """Return whether requests to two URLs are the same, however the URLs are spelled."""
    try:
        return url == other or parse(url) == parse(other)
    except ValueError:  # one was stored when it was still accepted
        return False


def parse(url: str) -> TargetUrl:
    """Parse a URL. The message of a ValueError follows the words "the target"."""
    if not url:
        raise ValueError("is required: an absolute http or https URL")
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"must be at most {MAX_URL_LENGTH} characters")
    if any(character.isspace() or not character.isprintable() for character in url) or "\\" in url:
        raise ValueError("must be a URL without spaces, control characters or backslashes")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("must begin with http:// or https://")
    scheme, authority = found["scheme"].lower(), found["authority"]
    if "@" in authority:
        raise ValueError("must not contain credentials")
    if "%" in authority:
        raise ValueError("must have a host without percent-encoding, and no IPv6 zone")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not (parts["address"] or parts["name"]):
        raise ValueError("must have a host, and a port from 1 to 65535 if any")
    port = int(parts["port"]) if parts["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= MAX_PORT:
        raise ValueError("must have a host, and a port from 1 to 65535 if any")
    host = _address(parts["address"]) if parts["address"] else _name(parts["name"])
    shown = f"[{host}]" if ":" in host else host.removesuffix(".")
    return TargetUrl(
        tls=scheme == "https",
        host=host,
        port=port,
        authority=shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}",
        path=_path((found["path"] or "/") + (found["query"] or "")),
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(f"has no IPv6 address in its brackets: {text[:100]}") from None


def _name(text: str) -> str:
    try:
        name = (text if text.isascii() else str(yarl.URL.build(scheme="http", host=text).raw_host)).lower()
    except ValueError:
        name = ""
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"has no valid host: {text[:100]}")
    return name


def _path(text: str) -> str:
    """Return the path to send: ASCII as given, because some receivers sign their URLs; the rest percent-escaped."""
    return _NOT_ASCII.sub(lambda found: quote(found[0]), text)
