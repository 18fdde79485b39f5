"""Where deliveries may be sent: to public addresses and harmless ports, and to what an allow-list names."""

import contextlib
import ipaddress
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import model_validator

from services.domain.egress.targets import MAX_PORT
from services.platform.settings import Settings, shaped

# Ports that no webhook is sent to: what listens there is not a receiver, and may execute a request as commands.
#
# What browsers refuse, so that no page makes them speak to a mail server (Fetch Standard, 2.9, port blocking), except
# tcpmux (1) and discard (9), which ignore what they get.
_OF_BROWSERS = (
    *(7, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109),
    *(110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530),
    *(531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190),
    *(5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
)
_OF_STORES = (
    *(1433, 1521, 3306, 5432, 9042, 27017, 27018, 27019),  # SQL Server, Oracle, MySQL, Postgres, Cassandra, MongoDB
    *(6379, 11211, 9200, 9300, 5672, 9092),  # Redis, memcached, Elasticsearch, AMQP, Kafka
)
_OF_MACHINES = (
    *(445, 873, 3389, 5900, 5985, 5986),  # SMB, rsync, RDP, VNC, WinRM
    *(2375, 2376, 2379, 2380, 6443, 10250, 10255),  # Docker, etcd, the API of Kubernetes, kubelets
)
DEFAULT_DENIED_PORTS = frozenset((*_OF_BROWSERS, *_OF_STORES, *_OF_MACHINES))


def parse_ports(text: str) -> frozenset[int]:
    """Parse "none", or ports separated by commas, where "default" means DEFAULT_DENIED_PORTS. Raises ValueError."""
    denied: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        if part == "default":
            denied |= DEFAULT_DENIED_PORTS
        elif part.isascii() and part.isdecimal() and 1 <= int(part) <= MAX_PORT:
            denied.add(int(part))
        elif part and text.strip() != "none":
            raise ValueError(f"EGRESS_DENY_PORTS: {part!r} is not a port")
    return frozenset(denied)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Nothing else in IPv6 is public: neither the IPv4-compatible ::/96 nor reserved ranges.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Ranges that `is_global` considers public in some versions of Python, or that are routed but belong to infrastructure.
_NOT_PUBLIC = (
    ipaddress.ip_network("192.0.0.0/24"),  # IETF protocol assignments, and Oracle's metadata
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's platform, from any of its machines
    ipaddress.ip_network("2001::/23"),  # IETF protocol assignments: Teredo, ORCHID, benchmarking
    ipaddress.ip_network("3fff::/20"),  # documentation
)
# The middle of an interface id that wraps an IPv4 address by ISATAP (RFC 5214, 6.1), which goes no further than a site.
_ISATAP = frozenset({b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"})
# A host name, a zone or a bracketed IPv6 address, and a port.
_ENTRY = re.compile(r"(?P<host>[^\[\]:/]+|\[[^\[\]]*:[^\[\]]*\])(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?![0-9.]+$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# A name whose last label is a number is an address to a browser, and to inet_aton (URL Standard, 3.5).
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
# Zones of a cluster, a cloud, or a site, never of the internet.
_LOCAL_ZONES = (".local", ".localdomain", ".internal", ".svc", ".home.arpa", ".intranet", ".lan")
_LOCALHOST = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class EgressDenied(Exception):
    """The target is not public, or its port is denied, and no entry of EGRESS_ALLOW allows it.

    `addresses` are those of the target, where they were looked up; the message does not have them.
    """

    def __init__(self, message: str, addresses: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.addresses = addresses


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The parsed lists. Names are in lower case without a final dot; zones begin with a dot."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    zones: tuple[str, ...] = ()
    endpoints: frozenset[tuple[str, int]] = frozenset()
    denied_ports: frozenset[int] = DEFAULT_DENIED_PORTS

    @classmethod
    def parse(cls, allow: Iterable[str], deny_ports: str = "default") -> "Policy":
        """Parse the entries of EGRESS_ALLOW, and EGRESS_DENY_PORTS. Raises ValueError, which names a wrong entry.

        An entry is a network in CIDR form, an address, a host name, a zone (*.example), or a host:port pair.
        """
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        hosts: set[str] = set()
        zones: list[str] = []
        endpoints: set[tuple[str, int]] = set()
        for entry in allow:
            with contextlib.suppress(ValueError):
                networks.append(ipaddress.ip_network(entry))
                continue
            match = _ENTRY.fullmatch(entry)
            host, port = (_canonical(match["host"]), int(match["port"] or 1)) if match else ("", 0)
            zone = host.removeprefix("*.") if match and not match["port"] else host
            if match is None or not (is_address(host) or _NAME.fullmatch(zone)) or not 1 <= port <= MAX_PORT:
                message = f"EGRESS_ALLOW: {entry!r} is not a network in CIDR form, a host, *.zone or host:port"
                raise ValueError(message)
            if match["port"]:
                endpoints.add((host, port))
            elif zone != host:
                zones.append("." + zone)
            else:
                hosts.add(host)
        return cls(
            networks=tuple(networks),
            hosts=frozenset(hosts),
            zones=tuple(zones),
            endpoints=frozenset(endpoints),
            denied_ports=parse_ports(deny_ports),
        )

    def check_target(self, host: str, port: int) -> None:
        """Raise EgressDenied for what needs no resolver: addresses in every spelling, local names, ports."""
        name = _canonical(host)
        if (name, port) in self.endpoints:
            return
        if is_address(host):
            self.check(host, port, [host])
        elif ":" in host or _ENDS_IN_A_NUMBER.fullmatch(name):
            # Clients read these as an address, and not all as the same one (127.1, 2130706433).
            raise EgressDenied(f"{host} is not an address in the standard notation")
        elif not self._names(name) and self._is_local(name):
            raise EgressDenied(f"{host} is a local name, not a public host")
        if port in self.denied_ports:
            raise EgressDenied(f"port {port} is not allowed for webhooks")

    def check(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """Raise EgressDenied unless every address of `host` may be connected to.

        For a name the message does not say which one, so that its owner does not learn our resolver's results.
        """
        name = _canonical(host)
        if self._names(name) or (name, port) in self.endpoints:
            return
        for text in addresses:
            address = _unwrapped(ipaddress.ip_address(text))
            if not any(address in network for network in self.networks) and not _is_public(address):
                message = f"{host} {'is not' if is_address(host) else 'does not resolve to'} a public address"
                raise EgressDenied(message, addresses)

    def is_public(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        """Return whether these addresses of a host are all public, and no entry allows it: anybody may know them."""
        name = _canonical(host)
        if not addresses or self._names(name) or (name, port) in self.endpoints:
            return False
        found = [_unwrapped(ipaddress.ip_address(text)) for text in addresses]
        return all(_is_public(one) and not any(one in network for network in self.networks) for one in found)

    def absolute(self, host: str, port: int) -> str:
        """Return the name with a final dot, so that the resolver's search list does not make another name of it.

        Unchanged if an entry names it: then the search list and the hosts file are the operator's choice as well.
        """
        name = _canonical(host)
        if "." not in name or name.endswith(".localhost") or self._names(name) or (name, port) in self.endpoints:
            return host
        return name + "."

    def _names(self, name: str) -> bool:
        return name in self.hosts or name.endswith(self.zones)

    def _is_local(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost"):  # loopback, by RFC 6761, 6.3
            return not any(address in network for network in self.networks for address in _LOCALHOST)
        return "." not in name or name.endswith(_LOCAL_ZONES)


class EgressSettings(Settings):
    """Where deliveries may go."""

    # Networks (CIDR), hosts, zones (*.example) and host:port pairs that may be reached though they are not public.
    # Unset: loopback in development, nothing elsewhere. Empty: nothing.
    egress_allow: str | None = None
    # Ports that nothing is sent to, separated by commas; "default" is the list above, "none" is none.
    egress_deny_ports: Annotated[
        str, shaped("^(none|[a-z0-9, ]+)$", "must be default, none, or ports separated by commas")
    ] = "default"
    # Whether a new target must prove that it wants webhooks before any are sent. With echo it has to answer a
    # challenge, with options the handshake of CloudEvents' HTTP webhooks.
    endpoint_verification: Literal["none", "echo", "options"] = "none"
    # Whom targets are asked to grant the handshake to. Required for it, and otherwise not used.
    endpoint_verification_origin: (
        Annotated[
            str,
            shaped(
                "^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$", "must be a DNS name, such as webhooks.example.com"
            ),
        ]
        | None
    ) = None

    @property
    def checks_endpoints(self) -> bool:
        """Whether a new target is checked before it gets deliveries."""
        return self.endpoint_verification != "none"

    @model_validator(mode="after")
    def _handshakes_have_an_origin(self) -> Self:
        if self.endpoint_verification == "options" and not self.endpoint_verification_origin:
            raise ValueError("ENDPOINT_VERIFICATION_ORIGIN is required if ENDPOINT_VERIFICATION is options")
        return self

    @property
    def egress_allowed(self) -> list[str]:
        """The entries of egress_allow."""
        if self.egress_allow is None:
            return ["127.0.0.0/8", "::1/128"] if self.development else []
        return [entry for entry in (part.strip() for part in self.egress_allow.split(",")) if entry]


def policy(settings: EgressSettings) -> Policy:
    """Return the policy of the settings; exit with one line that names a wrong entry."""
    try:
        return Policy.parse(settings.egress_allowed, settings.egress_deny_ports)
    except ValueError as error:
        sys.exit(str(error))


def is_address(host: str) -> bool:
    """Return whether a host is an IP address in its usual form."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _canonical(host: str) -> str:
    name = host.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    return str(ipaddress.ip_address(name)) if is_address(name) else name


def _unwrapped(address: Address) -> Address:
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _is_public(address: Address) -> bool:
    """Return whether an address (not IPv4-mapped) is public, and so is the address it wraps, if any."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(address.packed[12:]))
        if address not in _GLOBAL_UNICAST or address.sixtofour or address.packed[8:12] in _ISATAP:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)
