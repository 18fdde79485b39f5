"""Portal links: the record, its rules, and its rows in Postgres."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.ingest.access import portal_looks
from services.ingest.access.portal_looks import Look
from services.ingest.subscriptions.store import no_tenant
from services.platform import errors, ids
from services.platform.auth import identity, roles
from services.platform.auth.identity import Identity
from services.platform.auth.roles import GIVEN_BY, PortalCapability
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")

MIN_SECONDS, MAX_SECONDS, DEFAULT_SECONDS = 60, 86_400, 3_600
# As many as a filter of deliveries can name.
MAX_SUBSCRIPTIONS = 50
# How long the page of a link that has expired still says so to those who frame it.
KEPT_SECONDS = 7 * 86_400.0
EXPIRED_CHUNK = 1000
# What Content-Security-Policy takes as it is, and nothing that could end its directive.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_MAX_ORIGIN_LENGTH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PortalLink:
    """A row of `portal_links`, without the digests."""

    id: UUID
    tenant_id: str
    capabilities: Sequence[PortalCapability]
    # None: all of the tenant.
    subscriptions: Sequence[UUID] | None
    # None: no page may frame it.
    origin: str | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkDraft:
    """The link that a caller wants; validated at construction."""

    tenant_id: str
    # None: one of them is not valid.
    capabilities: frozenset[PortalCapability] | None
    subscriptions: Sequence[UUID]
    # 0: DEFAULT_SECONDS.
    expires_in_seconds: int
    origin: str

    def __post_init__(self) -> None:
        """Raise InvalidArgument, which names each field at fault."""
        found = []
        if not self.capabilities:
            description = f"must be some of {', '.join(PortalCapability)}"
            found.append(errors.Violation(field="capabilities", description=description))
        if len(self.subscriptions) > MAX_SUBSCRIPTIONS:
            description = f"must have at most {MAX_SUBSCRIPTIONS} values"
            found.append(errors.Violation(field="subscriptions", description=description))
        if self.expires_in_seconds and not MIN_SECONDS <= self.expires_in_seconds <= MAX_SECONDS:
            description = f"must be between {MIN_SECONDS} and {MAX_SECONDS}"
            found.append(errors.Violation(field="expires_in_seconds", description=description))
        if self.origin and (len(self.origin) > _MAX_ORIGIN_LENGTH or not _ORIGIN.fullmatch(self.origin)):
            description = "must be an origin such as https://app.example.com, without a path, in lowercase"
            found.append(errors.Violation(field="origin", description=description))
        if found:
            raise errors.InvalidArgument.of(*found)

    def check_caller(self, caller: Identity) -> None:
        """Raise PermissionDenied if a capability is more than the caller may do."""
        for capability in sorted(self.capabilities or ()):
            needed = GIVEN_BY[capability]
            if not roles.includes(caller.role, needed):
                message = (
                    f"capabilities: {capability} requires an API key with role {needed}; this key has {caller.role}"
                )
                raise identity.refused(message, errors.ErrorReason.CAPABILITY_MISSING)


class PortalLinkStore:
    """Every method raises one of STORE_AWAY when Postgres is away, and writes the audit entry of its change."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def create(
        self, draft: LinkDraft, *, secret_hash: bytes, maker: Identity, maker_hash: bytes | None
    ) -> PortalLink:
        """Store a new link; InvalidArgument for a subscription that the tenant does not have.

        `maker_hash` is set for a caller who is in no table of keys.
        """
        granted = sorted({PortalCapability.VIEW, *(draft.capabilities or ())})
        key_id = UUID(maker.key_id) if maker_hash is None else None
        subscriptions = sorted(set(draft.subscriptions)) or None
        seconds = float(draft.expires_in_seconds or DEFAULT_SECONDS)
        async with self._pool.acquire() as connection, connection.transaction():
            if subscriptions is not None:
                foreign = await connection.fetchval(SQL["find_foreign_subscription"], draft.tenant_id, subscriptions)
                if foreign is not None:
                    raise errors.InvalidArgument.field("subscriptions", f"subscription {foreign} not found")
            arguments = (granted, subscriptions, draft.origin or None, seconds)
            row = await connection.fetchrow(
                SQL["insert_portal_link"], ids.new(), draft.tenant_id, secret_hash, key_id, maker_hash, *arguments
            )
            if row is None:
                raise no_tenant()
            made = _link(row)
            changes = [
                FieldChange(field=name, after=getattr(made, name))
                for name in ("capabilities", "subscriptions", "origin", "expires_at")
                if getattr(made, name) is not None
            ]
            await audit.record(connection, _entry(Action.CREATE_PORTAL_LINK, made, changes))
            return made

    async def by_id(self, link_id: UUID) -> PortalLink | None:
        """Return a link, also one that has ended."""
        row = await self._pool.fetchrow(SQL["select_portal_link_by_id"], link_id)
        return None if row is None else _link(row)

    async def look(self, link_id: UUID, *, with_logo: bool = False) -> tuple[Look, bytes]:
        """Return how the pages of a link look, and their logo if that is asked for."""
        return await portal_looks.of_link(self._pool, link_id, with_logo=with_logo)

    async def exchange(self, link_id: UUID, *, secret_hash: bytes, token_hash: bytes) -> PortalLink | None:
        """Give a link its token, once; None if the secret is not its own, it has a token already, or it has ended."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["exchange_portal_link"], link_id, secret_hash, token_hash)
            if row is None:
                return None
            found = _link(row)
            actor = f"{identity.PORTAL_PREFIX}{link_id}"
            await audit.record(connection, _entry(Action.EXCHANGE_PORTAL_LINK, found), actor=actor)
            return found

    async def revoke(self, tenant_id: str, link_id: UUID, *, key_id: UUID | None) -> None:
        """End a link of a tenant, made by this key if one is given, unless it has ended. Raises NotFound."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["revoke_portal_link"], link_id, tenant_id, key_id)
            if row is None:
                raise errors.NotFound(f"portal link {link_id} not found")
            if not row["was_revoked"]:
                await audit.record(connection, _entry(Action.REVOKE_PORTAL_LINK, _link(row)))

    async def delete_expired(self) -> None:
        """Delete links that expired long ago."""
        await self._pool.execute(SQL["delete_expired_portal_links"], KEPT_SECONDS, EXPIRED_CHUNK)


def _link(row: Any) -> PortalLink:
    return sql.record(PortalLink, row, capabilities=[PortalCapability(name) for name in row["capabilities"]])


def _entry(action: Action, link: PortalLink, changes: Sequence[FieldChange] = ()) -> audit.Entry:
    return audit.Entry(action=action, tenant_id=link.tenant_id, resource_id=str(link.id), changes=changes)
