"""Names to vetted addresses, kept for a few seconds. Connections go to exactly these: what was checked is used.

Names are looked up by c-ares, which needs no thread for each look-up: a name whose servers hang costs a few packets
and a place in a table until it times out, and no other name waits for it. There are no more look-ups than requests that
wait for one, so the bounds of slots (lanes.py) are those of look-ups, too, by subscription, tenant and worker.
"""

import asyncio
import functools
import socket
import time
from collections.abc import Mapping
from typing import Any

import aiodns

from services.delivery.destinations.destination import SendError
from services.domain.egress.policy import Policy, is_address
from services.domain.states import AttemptOutcome
from services.platform.process.bounds import BoundedCache

# Until a look-up has an answer from one of the name servers.
LOOKUP_SECONDS = 2.5
# Until the first query is sent again; c-ares sends it sooner to a server that is known to be quick. Together they take
# longer than a look-up may.
QUERY_SECONDS = 1.0
QUERIES = 4
# In place of what /etc/resolv.conf says. Tests name a server of their own.
CONFIGURATION: Mapping[str, Any] = {}

# Owners of names change them at once, whatever time to live they gave them before.
TTL_SECONDS = 10.0
# A name without an answer is not asked for again for this long. It is less than the 4.5 s that a first retry waits at
# least, which is to be one.
FAILURE_TTL_SECONDS = 4.0
MAX_NAMES = 10_000
_Key = tuple[str, int]


class _Channel(aiodns.DNSResolver):
    """A channel of c-ares that forgets what it has heard after TTL_SECONDS."""

    def __init__(self) -> None:
        super().__init__(timeout=QUERY_SECONDS, tries=QUERIES, **CONFIGURATION)
        self._fresh_since = time.monotonic()

    def forget(self) -> None:
        """Read the system's configuration again, and empty the cache: c-ares keeps answers for an hour at most.

        Without a thread of its own a channel cannot, and answers stay for the time that their owner gave them. It has
        none where the machine is out of inotify instances.
        """
        now = time.monotonic()
        if self._event_thread and now - self._fresh_since >= TTL_SECONDS:
            self._fresh_since = now
            self._channel.reinit()


class Lookups:
    """Resolves names as the system is set up to: by its name servers, its search list and its hosts file."""

    def __init__(self) -> None:
        self._channel: _Channel | None = None

    async def addresses(self, host: str) -> list[str]:
        """Return the distinct addresses of a name, without zones; OSError if there is none.

        For a name with a final dot neither the search list is used nor the hosts file.
        """
        channel = self._channel = self._channel or _Channel()
        channel.forget()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await channel.getaddrinfo(host, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise OSError(f"no name server answered within {LOOKUP_SECONDS:g} s") from None
        except aiodns.error.DNSError as error:
            raise OSError(str(error.args[-1])) from None
        addresses = (node.addr[0] for node in found.nodes)
        return list(dict.fromkeys(address.decode().partition("%")[0] for address in addresses))

    async def close(self) -> None:
        """End what is looked up."""
        if self._channel is not None:
            await self._channel.close()


class Resolver:
    """Resolves names and vets their addresses; concurrent requests for one name share a look-up."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lookups = Lookups()
        self._known: BoundedCache[_Key, list[str]] = BoundedCache(MAX_NAMES, ttl_seconds=TTL_SECONDS)
        # Messages. They are apart, so that names that lead nowhere do not drive out those that lead somewhere.
        self._failed: BoundedCache[_Key, str] = BoundedCache(MAX_NAMES, ttl_seconds=FAILURE_TTL_SECONDS)
        self._asking: dict[_Key, asyncio.Task[list[str]]] = {}

    def known(self, host: str, port: int) -> list[str] | None:
        """Return addresses that were vetted in the last seconds; None if the host must be resolved."""
        return self._known.get((host, port))

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host. Raises SendError if it has none, EgressDenied if one is not allowed."""
        known = self.known(host, port)
        if known is not None:
            return known
        self._policy.check_target(host, port)
        key = (host, port)
        if is_address(host):
            return self._keep(key, [host])
        failed = self._failed.get(key)
        if failed is not None:
            raise SendError(AttemptOutcome.DNS, failed)
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(key), name=f"resolve:{host}")
            self._asking[key] = asking
            asking.add_done_callback(functools.partial(self._asked, key))
        return await asyncio.shield(asking)

    async def _ask(self, key: _Key) -> list[str]:
        host, port = key
        try:
            addresses = await self._lookups.addresses(self._policy.absolute(host, port))
        except OSError as error:
            raise self._no_address(key, f"{host} has no address: {error}") from None
        if not addresses:
            raise self._no_address(key, f"{host} has no address")
        self._policy.check(host, port, addresses)
        return self._keep(key, addresses)

    async def close(self) -> None:
        """End what is looked up."""
        for asking in tuple(self._asking.values()):
            asking.cancel()
        await self._lookups.close()

    def _asked(self, key: _Key, asking: asyncio.Task[list[str]]) -> None:
        del self._asking[key]
        if not asking.cancelled():
            asking.exception()  # all callers may have left; otherwise asyncio would log it as never retrieved

    def _no_address(self, key: _Key, message: str) -> SendError:
        self._failed.put(key, message)
        return SendError(AttemptOutcome.DNS, message)

    def _keep(self, key: _Key, addresses: list[str]) -> list[str]:
        self._known.put(key, addresses)
        return addresses
