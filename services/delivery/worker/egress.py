"""Where deliveries may go: every address of a target must be public, unless an allow-list names it."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")


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
            try:
                networks.append(ipaddress.ip_network(entry))
                continue
            except ValueError:
                if "/" in entry:
                    message = f"EGRESS_ALLOW: {entry!r} is no network in CIDR form"
                    raise ValueError(message) from None
            host, colon, port = entry.rpartition(":")
            if not colon:
                hosts.add(_canonical(entry))
            elif host and port.isascii() and port.isdigit():
                endpoints.add((_canonical(host.strip("[]")), int(port)))
            else:
                message = f"EGRESS_ALLOW: {entry!r} is no network, host or host:port"
                raise ValueError(message)
        return cls(networks=tuple(networks), hosts=frozenset(hosts), endpoints=frozenset(endpoints))

    def check(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """EgressDenied unless every address that `host` stands for may be connected to."""
        name = _canonical(host)
        if name in self.hosts or (name, port) in self.endpoints:
            return
        for text in addresses:
            address = ipaddress.ip_address(text)
            if not any(address in network for network in self.networks) and not _is_public(address):
                message = f"{host} is {address}, which is not a public address"
                raise EgressDenied(message)

    def check_literal(self, host: str, port: int) -> None:
        """Checks a host that is an address by itself; names are checked when they are resolved."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self.check(host, port, [host])


def _canonical(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, in whatever form it is wrapped."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64_LOCAL or address.sixtofour or address.teredo:
            return False
        if address.ipv4_mapped:
            return _is_public(address.ipv4_mapped)
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(address.packed[12:]))
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


class GuardedResolver(AbstractResolver):
    """Resolves names with the system's resolver, and answers only what the policy lets through.

    The connector connects to exactly these addresses, so what was checked is what is used.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name; OSError when it has none, EgressDenied when one of them is not allowed."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        addresses = [(info_family, str(address[0]).partition("%")[0]) for info_family, _, _, _, address in found]
        if not addresses:
            message = f"{host} has no addresses"
            raise OSError(message)
        self._policy.check(host, port, [address for _, address in addresses])
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=info_family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for info_family, address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""
