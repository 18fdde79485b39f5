"""REDIS_URL, and what it says when it names sentinels.

redis+sentinel://[user:password@]host[:port][,host[:port]...]/service_name[/database][?options]

rediss+sentinel:// is TLS, to the sentinels as well. The spelling is that of redis-sentinel-url, which LangChain, docket
and others took over. User, password and options are for the primary; what the sentinels themselves ask for are the
options sentinel_username and sentinel_password.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SENTINEL_PORT = 26379
MAX_PORT = 65_535
_SENTINELS = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<login>[^/?#]*@)?(?P<hosts>[^@/?#]+)"
    r"/(?P<service>[^/?#]+)(?:/(?P<database>[0-9]*))?(?:\?(?P<options>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<literal>[0-9a-fA-F:.]+)\]|(?P<name>[^\s:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class Sentinels:
    """Who knows the primary of a service, and how to talk to it."""

    addresses: tuple[tuple[str, int], ...]
    service_name: str
    # Everything about the primary but its address, as a URL of redis:// or rediss://.
    primary_url: str = field(repr=False)
    username: str | None
    password: str | None = field(repr=False)


def parse(url: str) -> Sentinels | None:
    """What a URL says of sentinels, or None for one of a server; ValueError, which repeats none of it, otherwise."""
    if re.match("(rediss?|unix)://", url):
        _check_port(url)
        return None
    if re.match(r"rediss?\+cluster://", url):
        raise ValueError("Redis Cluster is not supported: name a server, or sentinels as redis+sentinel://")
    if not re.match(r"rediss?\+sentinel://", url):
        raise ValueError("must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
    said = _SENTINELS.fullmatch(url)
    if said is None:
        raise ValueError("must be like redis+sentinel://user:password@host:26379,host:26379/service_name/0")
    options = parse_qsl(said["options"] or "")
    own = dict(option for option in options if option[0].startswith("sentinel_"))
    if own.keys() - {"sentinel_username", "sentinel_password"}:
        raise ValueError("of the sentinels, options can only be sentinel_username and sentinel_password")
    others = urlencode([option for option in options if option[0] not in own])
    return Sentinels(
        addresses=tuple(_address(host) for host in said["hosts"].split(",")),
        service_name=unquote(said["service"]),
        primary_url=f"{said['scheme']}://{said['login'] or ''}primary/{said['database'] or 0}?{others}",
        username=own.get("sentinel_username"),
        password=own.get("sentinel_password"),
    )


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        # Not with the reason: what stands in the place of a port may be half of a password.
        raise ValueError("has a port that is none, or a user or password that is not percent-encoded") from None


def _address(host: str) -> tuple[str, int]:
    said = _HOST.fullmatch(host)
    port = int(said["port"] or SENTINEL_PORT) if said else 0
    if said is None or not 0 < port <= MAX_PORT:
        raise ValueError("must list sentinels as host or host:port, separated by commas")
    return said["literal"] or said["name"], port
