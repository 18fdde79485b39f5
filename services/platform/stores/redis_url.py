"""REDIS_URL, and what it says when it names no server but those who know where the primary is.

redis+sentinel://[user:password@]host[:port][,host[:port]...]/service_name[/database][?options]
redis+cluster://[user:password@]host[:port][,host[:port]...][?options]

With rediss in place of redis all of it is TLS. The first spelling is that of redis-sentinel-url, which LangChain and
others took over; the second follows it. User, password and options are for the servers; what sentinels themselves ask
for are the options sentinel_username and sentinel_password.
"""

import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SENTINEL_PORT = 26379
NODE_PORT = 6379
MAX_PORT = 65_535
_GUIDES = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?P<login>[^/?#]*@)?(?P<hosts>[^@/?#]+)"
    r"(?P<path>/[^?#]*)?(?:\?(?P<options>[^#]*))?"
)
_SERVICE = re.compile(r"/(?P<name>[^/]+)(?:/(?P<database>[0-9]*))?")
_HOST = re.compile(r"(?:\[(?P<literal>[0-9a-fA-F:.]+)\]|(?P<name>[^\s:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class Guides:
    """Sentinels, or some nodes of a cluster: who is asked for the primary."""

    addresses: tuple[tuple[str, int], ...]
    # What sentinels know the primary by; None for a cluster.
    service_name: str | None
    # Everything about the servers but their addresses, as a URL of redis:// or rediss://.
    server_url: str = field(repr=False)
    # What sentinels ask for.
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse(url: str) -> Guides | None:
    """Parse the hosts to ask; None for a single server's URL; ValueError, without repeating the URL, if invalid."""
    if re.match("(rediss?|unix)://", url):
        _check_port(url)
        return None
    if not re.match(r"rediss?\+(sentinel|cluster)://", url):
        raise ValueError("must begin with redis://, unix://, redis+sentinel://, redis+cluster://, or rediss for TLS")
    said = _GUIDES.fullmatch(url)
    if said is None:
        raise ValueError("must list hosts, as in redis+sentinel://user:password@host:26379,host:26379/service_name")
    return _sentinels(said) if said["kind"] == "sentinel" else _nodes(said)


def check_authority(url: str, ca_file: str) -> None:
    """Raise ValueError, which says why, for a file of authorities that a URL cannot use."""
    if not url.startswith("rediss"):
        raise ValueError("requires TLS: a REDIS_URL that begins with rediss")
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError, for a file without certificates, is one
        raise ValueError(f"must be a file of PEM certificates: {error.strerror or error}") from None


def with_authority(url: str, ca_file: str) -> str:
    """Return the URL with a file of authorities, where there is one and the URL names none itself."""
    if not ca_file or re.search(r"[?&]ssl_ca_certs=", url):
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'ssl_ca_certs': ca_file})}"


def _sentinels(said: re.Match[str]) -> Guides:
    service = _SERVICE.fullmatch(said["path"] or "")
    if service is None:
        raise ValueError("must have the service name after the hosts, as in redis+sentinel://host:26379/service_name/0")
    options = parse_qsl(said["options"] or "")
    own = dict(option for option in options if option[0].startswith("sentinel_"))
    if own.keys() - {"sentinel_username", "sentinel_password"}:
        raise ValueError("for Sentinel, the only options are sentinel_username and sentinel_password")
    others = urlencode([option for option in options if option[0] not in own])
    return Guides(
        addresses=_addresses(said["hosts"], SENTINEL_PORT),
        service_name=unquote(service["name"]),
        server_url=f"{said['scheme']}://{said['login'] or ''}primary/{service['database'] or 0}?{others}",
        username=own.get("sentinel_username"),
        password=own.get("sentinel_password"),
    )


def _nodes(said: re.Match[str]) -> Guides:
    if said["path"] not in (None, "/", "/0") or "db" in dict(parse_qsl(said["options"] or "")):
        raise ValueError("cannot select a database of a cluster")
    return Guides(
        addresses=_addresses(said["hosts"], NODE_PORT),
        service_name=None,
        server_url=f"{said['scheme']}://{said['login'] or ''}primary?{said['options'] or ''}",
    )


def _addresses(hosts: str, default_port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_address(host, default_port) for host in hosts.split(","))


def _address(host: str, default_port: int) -> tuple[str, int]:
    said = _HOST.fullmatch(host)
    port = int(said["port"] or default_port) if said else 0
    if said is None or not 0 < port <= MAX_PORT:
        raise ValueError("must list hosts as host or host:port, separated by commas")
    return said["literal"] or said["name"], port


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        # Not with the reason: what stands in the place of a port may be half of a password.
        raise ValueError("has an invalid port, or a user or password that is not percent-encoded") from None
