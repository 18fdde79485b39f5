"""How many calls may be in progress in a server, and how many of them a tenant may have.

grpcio's own bound counts calls before anybody knows who makes them, so a stranger could use it up. This one counts
calls that were let in, by tenant.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from services.platform import errors
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.process import shares

# Beyond this many calls at once a server refuses with RESOURCE_EXHAUSTED rather than pile them up.
MAX_CALLS = 4096
# Of messages of one tenant that are being received at once, each counted as the largest that is accepted.
RECEIVING_BYTES = 64 << 20
MIN_RECEIVING = 4


class Place:
    """The calls in progress of one tenant."""

    def __init__(self, receiving: int) -> None:
        self.calls = 0
        # Held while a message is received; others wait, and their messages stay with the sender.
        self.receiving = asyncio.Semaphore(receiving)


class Places:
    """Calls in progress, shared by tenants.

    Calls that a gateway makes for many tenants at once are limited by the number of places only.
    """

    def __init__(self, most: int, *, message_bytes: int) -> None:
        self._most = most
        self._receiving = max(MIN_RECEIVING, RECEIVING_BYTES // message_bytes)
        self._total = 0
        self._by_tenant: dict[str, Place] = {}

    @contextlib.contextmanager
    def taken(self, caller: Identity) -> Iterator[asyncio.Semaphore | None]:
        """Take a place for a call, and yield what it holds while it receives; Overloaded if there is none."""
        free = self._most - self._total
        of_gateway = caller.role is Role.SERVICE
        place = None if of_gateway else self._by_tenant.get(caller.tenant_id)
        if not shares.has_room(place.calls if place else 0, free):
            if of_gateway or free <= 0:
                raise errors.Overloaded("too many calls are in progress; try again")
            raise errors.TenantOverloaded("too many calls of this tenant are in progress; try again")
        if place is None and not of_gateway:
            place = self._by_tenant[caller.tenant_id] = Place(self._receiving)
        self._total += 1
        if place:
            place.calls += 1
        try:
            yield place.receiving if place else None
        finally:
            self._total -= 1
            if place:
                place.calls -= 1
                if not place.calls:
                    del self._by_tenant[caller.tenant_id]
