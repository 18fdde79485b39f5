"""The types of destinations, each a folder beside this file."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from services.delivery.destinations.destination import Destination
from services.delivery.destinations.http import destination as http
from services.delivery.settings import WorkerSettings
from services.delivery.worker.store import Claim
from services.domain.egress.policy import Policy
from services.domain.secrets.vault import Vault

HTTP = "http"
Opener: TypeAlias = Callable[[WorkerSettings, Policy, Vault], AbstractAsyncContextManager[Destination]]
OPENERS: Mapping[str, Opener] = {HTTP: http.opened}


class Destinations:
    """The open destinations of a worker, by type."""

    def __init__(self, by_type: Mapping[str, Destination]) -> None:
        self._by_type = by_type

    def of(self, claim: Claim) -> Destination:  # noqa: ARG002 - every subscription is of the only type so far
        """Return where a claim is delivered to."""
        return self._by_type[HTTP]


@contextlib.asynccontextmanager
async def opened(settings: WorkerSettings, policy: Policy, vault: Vault) -> AsyncIterator[Destinations]:
    """Open a destination of every type; they are closed with the context."""
    async with contextlib.AsyncExitStack() as stack:
        yield Destinations(
            {name: await stack.enter_async_context(opener(settings, policy, vault)) for name, opener in OPENERS.items()}
        )
