"""Names to vetted addresses, kept for a few seconds. Connections go to exactly these: what was checked is used."""

import asyncio
import contextlib
import functools
import socket
import threading
from socket import getaddrinfo
from weakref import WeakValueDictionary

from services.delivery.destinations.destination import SendError
from services.domain.egress.policy import Policy, is_address
from services.domain.states import AttemptOutcome
from services.platform.process.bounds import BoundedCache

# The system's resolver, asked in threads of its own.
#
# A loop has a handful of threads for all who ask, and a name whose servers hang keeps one for many seconds. Here each
# look-up has a thread, within bounds, and none of them holds up the end of the process.


MAX_AT_ONCE = 256
# Of names with the same last two labels, whose servers one owner may let hang.
MAX_OF_A_DOMAIN = 32
_DOMAIN_LABELS = 2


class Lookups:
    """Resolves names within bounds: look-ups wait for each other, and those of one domain only for that domain's."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        # They are there while somebody holds one or waits for it.
        self._domains: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the distinct addresses of a name, without zones. Raises OSError or UnicodeError."""
        loop = asyncio.get_running_loop()
        async with self._of_domain(host), self._slots:
            answered: asyncio.Future[list[str]] = loop.create_future()

            def answer(found: list[str] | Exception) -> None:
                if answered.done():
                    return
                if isinstance(found, Exception):
                    answered.set_exception(found)
                else:
                    answered.set_result(found)

            def ask() -> None:
                found: list[str] | Exception
                try:
                    infos = getaddrinfo(host, port, type=socket.SOCK_STREAM)
                    found = list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in infos))
                except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                    found = error
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the result
                    loop.call_soon_threadsafe(answer, found)

            threading.Thread(target=ask, name=f"resolve:{host}", daemon=True).start()
            return await answered

    def _of_domain(self, host: str) -> asyncio.Semaphore:
        labels = host.lower().removesuffix(".").split(".")
        domain = ".".join(labels[-_DOMAIN_LABELS:])
        return self._domains.setdefault(domain, asyncio.Semaphore(MAX_OF_A_DOMAIN))


# Names to vetted addresses, kept for a few seconds. Connections go to exactly these: what was checked is used.


# The system's resolver does not tell how long an answer holds.
TTL_SECONDS = 10.0
# A name without an answer is not asked for again for this long, or each delivery to it would take a thread. It is less
# than the 4.5 s that a first retry waits at least, which is to be one.
FAILURE_TTL_SECONDS = 4.0
MAX_NAMES = 10_000
_Key = tuple[str, int]


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
            addresses = await self._lookups.addresses(self._policy.absolute(host, port), port)
        except (OSError, UnicodeError) as error:
            raise self._no_address(key, f"{host} has no address: {error}") from None
        if not addresses:
            raise self._no_address(key, f"{host} has no address")
        self._policy.check(host, port, addresses)
        return self._keep(key, addresses)

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
