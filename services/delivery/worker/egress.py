"""Where deliveries may go: every address of a target must be public, unless an allow-list names it."""

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_PORT = 65_535
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Of IPv6 nothing else is public: not the IPv4-compatible ::/96, not what is reserved.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What `is_global` takes for public in some versions of Python, or because its owner does.
_NOT_PUBLIC = (
    ipaddress.ip_network("192.0.0.0/24"),  # IETF protocol assignments
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's platform, from any of its machines
    ipaddress.ip_network("3fff::/20"),  # documentation
)
# A host name or a bracketed IPv6 address, and a port.
_ENTRY = re.compile(r"(?P<host>[^\[\]:/]+|\[[^\[\]]*:[^\[\]]*\])(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?![0-9.]+$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class EgressDenied(Exception):
    """The target is not public and no entry of EGRESS_ALLOW names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The parsed allow-list."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Policy":
        """From networks in CIDR form, addresses, host names, and host:port pairs; ValueError naming a wrong entry."""
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        hosts: set[str] = set()
        endpoints: set[tuple[str, int]] = set()
        for entry in entries:
            with contextlib.suppress(ValueError):
                networks.append(ipaddress.ip_network(entry))
                continue
            match = _ENTRY.fullmatch(entry)
            host, port = (_canonical(match["host"]), int(match["port"] or 1)) if match else ("", 0)
            if match is None or not (is_address(host) or _NAME.fullmatch(host)) or not 1 <= port <= MAX_PORT:
                message = f"EGRESS_ALLOW: {entry!r} is no network in CIDR form, host or host:port"
                raise ValueError(message)
            if match["port"]:
                endpoints.add((host, port))
            else:
                hosts.add(host)
        return cls(networks=tuple(networks), hosts=frozenset(hosts), endpoints=frozenset(endpoints))

    def check(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """EgressDenied unless every address that `host` stands for may be connected to."""
        name = _canonical(host)
        if name in self.hosts or (name, port) in self.endpoints:
            return
        for text in addresses:
            address = _unwrapped(ipaddress.ip_address(text))
            if not any(address in network for network in self.networks) and not _is_public(address):
                message = f"{host} is {address}, which is not a public address"
                raise EgressDenied(message)

    def check_literal(self, host: str, port: int) -> None:
        """Checks a host that is an address by itself; names are checked when they are resolved.

        What a client takes for an address, and the system for another one (127.1, 2130706433), is denied.
        """
        if is_address(host):
            self.check(host, port, [host])
        elif ":" in host or host.replace(".", "").isdigit():
            message = f"{host} is no address in its usual form"
            raise EgressDenied(message)


def is_address(host: str) -> bool:
    """Whether a host is an IP address by itself, in its usual form."""
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
    """Whether an address, not an IPv4-mapped one, is one of the public internet, also where it wraps another."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(address.packed[12:]))
        if address not in _GLOBAL_UNICAST or address.sixtofour or address.teredo:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)
