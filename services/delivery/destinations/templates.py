"""Templates of subscriptions: read once for each version of a subscription, and rendered for each attempt."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from services.delivery.worker.claims import Claim
from services.domain import events, sender_context
from services.domain.secrets.vault import Vault
from services.domain.templates import event as events_of_templates
from services.domain.templates.event import Event
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Rendered, Template
from services.platform import ids
from services.platform.process.bounds import BoundedCache
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.delivery.destinations")
# Subscriptions whose templates a process keeps, and the bytes of their sources.
KEPT, KEPT_BYTES = 4096, 16 << 20
_TAGS = "tags"


class _Kept(NamedTuple):
    version: int
    template: Template
    secrets: Mapping[str, str]


class Templates:
    """Nothing of it is used for a claim whose subscription has no template."""

    def __init__(self, pool: postgres.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._renderer = Renderer()
        self._kept: BoundedCache[UUID, _Kept] = BoundedCache(
            KEPT, keep_used=True, weigh=lambda kept: len(kept.template.source or ""), max_weight=KEPT_BYTES
        )

    async def rendered(self, claim: Claim, payload: bytes) -> Rendered | None:
        """Return what is sent in place of a payload; None if the subscription has no template any more.

        Raise TemplateFailed, CannotOpen, or what stores.availability.STORE_AWAY lists.
        """
        kept = await self._of(claim)
        if kept is None:
            return None
        plain = events_of_templates.decoded(payload, claim.content_encoding)
        event = Event(
            id=str(claim.event_id),
            type=claim.event_type or "",
            time=events_of_templates.time_text(ids.moment_of(claim.event_id)),
            content_type=claim.content_type or "application/json",
            payload=plain,
            tags=await self._tags(claim) if _TAGS in (kept.template.source or "") else {},
            tenant_id=claim.tenant_id,
            subscription_id=str(claim.subscription_id),
            delivery_id=str(claim.id),
            cloudevent=sender_context.parse(claim.sender_context).cloudevent,
        )
        return await self._renderer.render(kept.template, event, kept.secrets)

    async def close(self) -> None:
        """End what renders."""
        await self._renderer.close()

    async def _of(self, claim: Claim) -> _Kept | None:
        kept = self._kept.get(claim.subscription_id)
        if kept is not None and kept.version == claim.template_version:
            return kept
        row: Any = await self._pool.fetchrow(SQL["select_template"], claim.subscription_id)
        if row is None:
            return None
        secrets = self._vault.template_secrets(claim.subscription_id, row["sealed_template_secrets"])
        kept = _Kept(row["version"], Template.of_text(row["template"]), secrets)
        self._kept.put(claim.subscription_id, kept)
        return kept

    async def _tags(self, claim: Claim) -> Mapping[str, str]:
        rows = await self._pool.fetch(SQL["select_tags"], claim.event_id)
        return events.tags_of(row["tag"] for row in rows)
