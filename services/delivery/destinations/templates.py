"""Templates of subscriptions, and the versions that these are pinned to.

Both are read once for each version of a subscription. A template is rendered for each attempt.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.delivery.destinations.conversions import Conversions
from services.delivery.worker.claims import Claim
from services.domain import cloudevents, event_versions, events, sender_context
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
    template: Template | None
    secrets: Mapping[str, str]
    pins: Mapping[str, int]


class Templates:
    """Nothing of it is used for a claim whose subscription has no template and is pinned to no versions."""

    def __init__(self, pool: postgres.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._renderer = Renderer()
        self._conversions = Conversions(pool, self._renderer)
        self._kept: BoundedCache[UUID, _Kept] = BoundedCache(
            KEPT, keep_used=True, weigh=_size_of, max_weight=KEPT_BYTES
        )

    async def rendered(self, claim: Claim, payload: bytes) -> Rendered | None:
        """Return what is sent in place of a payload; None if that is sent as it is.

        Raise TemplateFailed, CannotOpen, or what stores.availability.STORE_AWAY lists.
        """
        kept = await self._of(claim)
        if kept is None:
            return None
        sender = sender_context.parse(claim.sender_context)
        version = event_versions.pinned(kept.pins, claim.event_type, sender.event_version)
        if kept.template is None and version is None:
            return None
        plain = events_of_templates.decoded(payload, claim.content_encoding)
        content_type, headers = claim.content_type or "application/json", {}
        if version is not None:
            assert sender.event_version is not None
            plain = await self._conversions.payload(claim, plain, sender.event_version, version)
            headers = {event_versions.HEADER: str(version)}
        if kept.template is None:
            return Rendered(body=plain, content_type=content_type, headers=headers)
        event = Event(
            id=str(claim.event_id),
            type=claim.event_type or "",
            time=events_of_templates.time_text(ids.moment_of(claim.event_id)),
            content_type=content_type,
            payload=plain,
            tags=await self._tags(claim) if _TAGS in (kept.template.source or "") else {},
            tenant_id=claim.tenant_id,
            subscription_id=str(claim.subscription_id),
            delivery_id=str(claim.id),
            cloudevent=sender.cloudevent if version is None else cloudevents.converted(sender.cloudevent),
            event_version=version or sender.event_version,
        )
        made = await self._renderer.render(kept.template, event, kept.secrets)
        return msgspec.structs.replace(made, headers={**made.headers, **headers}) if headers else made

    async def close(self) -> None:
        """End what renders."""
        await self._renderer.close()

    async def _of(self, claim: Claim) -> _Kept | None:
        kept = self._kept.get(claim.subscription_id)
        if kept is not None and kept.version == claim.template_version:
            return kept
        statement = SQL["select_template_of_new" if claim.is_of_new else "select_template"]
        row: Any = await self._pool.fetchrow(statement, claim.subscription_id)
        if row is None:
            return None
        secrets = self._vault.template_secrets(claim.subscription_id, row["sealed_template_secrets"])
        template = None if row["template"] is None else Template.of_text(row["template"])
        kept = _Kept(row["version"], template, secrets, event_versions.pins_of(row["event_versions"]))
        if not claim.is_of_new:  # of which there is one request, and nothing secret is kept
            self._kept.put(claim.subscription_id, kept)
        return kept

    async def _tags(self, claim: Claim) -> Mapping[str, str]:
        rows = await self._pool.fetch(SQL["select_tags"], claim.event_id)
        return events.tags_of(row["tag"] for row in rows)


def _size_of(kept: _Kept) -> int:
    source = kept.template.source or "" if kept.template else ""
    return len(source) + sum(map(len, kept.pins))
