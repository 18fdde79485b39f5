"""The types of destinations, each a folder beside this file.

Workers send to the open ones. What a consumer pulls is leased to it by the delivery service, and no worker gets it.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from services.delivery.destinations.destination import Destination
from services.delivery.destinations.http import destination as http
from services.delivery.destinations.templates import Templates
from services.delivery.settings import WorkerSettings
from services.delivery.worker.claims import Claim
from services.domain.deliveries import Destination as Kind
from services.domain.egress.policy import Policy
from services.domain.secrets.vault import Vault

Opener: TypeAlias = Callable[[WorkerSettings, Policy, Vault, Templates], AbstractAsyncContextManager[Destination]]
# None: workers do not send to it.
OPENERS: Mapping[Kind, Opener | None] = {Kind.HTTP: http.opened, Kind.PULL: None}


class Destinations:
    """The open destinations of a worker, by type."""

    def __init__(self, by_type: Mapping[Kind, Destination]) -> None:
        self._by_type = by_type

    def of(self, claim: Claim) -> Destination:  # noqa: ARG002 - workers send to one type so far
        """Return where a claim is delivered to."""
        return self._by_type[Kind.HTTP]


@contextlib.asynccontextmanager
async def opened(
    settings: WorkerSettings, policy: Policy, vault: Vault, templates: Templates
) -> AsyncIterator[Destinations]:
    """Open a destination of every type; they are closed with the context, and the templates."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(templates.close)
        yield Destinations(
            {
                kind: await stack.enter_async_context(opener(settings, policy, vault, templates))
                for kind, opener in OPENERS.items()
                if opener is not None
            }
        )
