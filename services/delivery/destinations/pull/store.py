"""What consumers and their leases take of Postgres. No connection is held while a consumer waits."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.delivery.destinations.pull.leases import UNREAD
from services.delivery.worker import claims
from services.delivery.worker.claims import Claim
from services.delivery.worker.recording import OutcomeStore
from services.domain.deliveries import Destination
from services.platform import errors
from services.platform.stores import sql

SQL = sql.Queries("services.delivery.destinations.pull")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A subscription that is pulled from."""

    # None: that of the service.
    retry_policy: str | None
    # Whether it is deleted when nobody pulls.
    expires: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """A delivery that was leased to a consumer, and until when."""

    claim: Claim
    lease_until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """What is known of a delivery that a consumer reports on: its row, and how far the lease of the token came."""

    row: Any
    held: bool
    # The outcome of the attempt under the token; None while it is held, and if the token never was valid.
    recorded: str | None


class PullStore(OutcomeStore):
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    async def source(self, tenant_id: str, subscription_id: UUID) -> Source:
        """Return a subscription that may be pulled from; NotFound, Conflict."""
        row = await self.pool.fetchrow(SQL["select_pulled"], tenant_id, subscription_id)
        if row is None:
            raise errors.NotFound(f"subscription {subscription_id} not found")
        if row["destination"] != Destination.PULL:
            raise errors.Conflict(
                "deliveries of this subscription are sent to its target_url; only a subscription with destination pull"
                " can be pulled from",
                reason=errors.ErrorReason.WRONG_DESTINATION,
            )
        return Source(retry_policy=row["retry_policy"], expires=row["expires"])

    async def find_ready(self, subscription_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the subscriptions that have something to pull."""
        return {row["id"] for row in await self.pool.fetch(SQL["find_ready"], list(subscription_ids))}

    async def pull(
        self, subscription_id: UUID, *, number: int, token: UUID, lease_seconds: float, payload_bytes: int
    ) -> list[Pulled]:
        """Claim up to so many due deliveries, the longest due first, under a token of this call."""
        asked_at = time.monotonic()
        rows = await self.pool.fetch(SQL["pull"], subscription_id, number, token, lease_seconds, payload_bytes)
        return [
            Pulled(claim=claims.claim_of({**UNREAD, **row}, token, asked_at), lease_until=row["lease_until"])
            for row in rows
        ]

    async def extend(
        self, subscription_id: UUID, leases: Sequence[tuple[UUID, UUID]], seconds: Sequence[float]
    ) -> dict[UUID, datetime]:
        """Extend leases, given as delivery and token, that are held; return until when those last."""
        delivery_ids, tokens = [one for one, _ in leases], [token for _, token in leases]
        rows = await self.pool.fetch(SQL["extend"], subscription_id, delivery_ids, tokens, list(seconds))
        return {row["id"]: row["lease_until"] for row in rows}

    async def held(self, leases: Mapping[UUID, UUID]) -> set[UUID]:
        """Return the deliveries that are still leased under their tokens."""
        return {row["id"] for row in await self.pool.fetch(SQL["select_held"], list(leases), list(leases.values()))}

    async def leased(self, subscription_id: UUID, leases: Sequence[tuple[UUID, UUID]]) -> dict[UUID, Leased]:
        """Return what is known of deliveries of a subscription and of their tokens; unknown ones are left out."""
        delivery_ids, tokens = [one for one, _ in leases], [token for _, token in leases]
        rows = await self.pool.fetch(SQL["select_leased"], subscription_id, delivery_ids, tokens)
        return {row["id"]: Leased(row=row, held=row["held"], recorded=row["outcome"]) for row in rows}
