"""Names to vetted addresses, kept for a few seconds. Connections go to exactly these: what was checked is used."""

import asyncio
from collections import OrderedDict

from services.common.egress import Policy, is_address
from services.delivery.worker.lookups import Lookups
from services.delivery.worker.sender import Failure, SendError

# The system's resolver does not tell how long an answer holds.
TTL_SECONDS = 10.0
MAX_NAMES = 10_000
_Key = tuple[str, int]


class Resolver:
    """Asks once for all who want the same name at the same time."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lookups = Lookups()
        self._known: OrderedDict[_Key, tuple[list[str], float]] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[list[str]]] = {}

    def known(self, host: str, port: int) -> list[str] | None:
        """The addresses of a host that were vetted within the last seconds; None when it has to be resolved."""
        known = self._known.get((host, port))
        return known[0] if known is not None and asyncio.get_running_loop().time() - known[1] < TTL_SECONDS else None

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host; SendError when it has none, EgressDenied when one of them is not allowed."""
        known = self.known(host, port)
        if known is not None:
            return known
        self._policy.check_target(host, port)
        if is_address(host):
            return self._keep((host, port), [host])
        key = (host, port)
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(key), name=f"resolve:{host}")
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask(self, key: _Key) -> list[str]:
        host, port = key
        try:
            addresses = await self._lookups.addresses(self._policy.absolute(host, port), port)
        except (OSError, UnicodeError) as error:
            raise SendError(Failure.DNS, f"{host} has no address: {error}") from None
        if not addresses:
            raise SendError(Failure.DNS, f"{host} has no address")
        self._policy.check(host, port, addresses)
        return self._keep(key, addresses)

    def _keep(self, key: _Key, addresses: list[str]) -> list[str]:
        self._known[key] = (addresses, asyncio.get_running_loop().time())
        self._known.move_to_end(key)
        while len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return addresses
