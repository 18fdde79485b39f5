"""Payloads of earlier versions, for subscriptions that are pinned to them.

An event is converted once for each version that somebody is pinned to, before the first attempt that needs it, and kept
with the event: retries, and all who are pinned to that version, get the same bytes. Each version of an event type has a
template that makes a payload of the version before. Only what matches the schema of the version is kept and sent.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from services.delivery.worker.claims import Claim
from services.domain.templates import event as events_of_templates
from services.domain.templates.event import Event
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Template, TemplateFailed
from services.platform import errors, ids
from services.platform.process.bounds import BoundedCache
from services.platform.stores import postgres, sql

if TYPE_CHECKING:
    from services.domain.catalog.schemas import Schema

SQL = sql.Queries("services.delivery.destinations")
JSON = "application/json"
# Compiled schemas that a process keeps, and the bytes of their texts.
KEPT, KEPT_BYTES = 256, 1 << 20
# What is kept of an event in all versions together: so many bytes, or so many times its payload. No quota counts it.
CONVERTED_BYTES, CONVERTED_TIMES = 1 << 20, 8
_CONVERTED = msgspec.msgpack.Decoder(dict[int, bytes])


class Conversions:
    """Nothing of it is used for an event that no receiver is pinned to an earlier version of."""

    def __init__(self, pool: postgres.Pool, renderer: Renderer) -> None:
        self._pool = pool
        self._renderer = renderer
        # By their texts, with the sizes of those.
        self._schemas: BoundedCache[str, tuple[Schema, int]] = BoundedCache(
            KEPT, keep_used=True, weigh=lambda kept: kept[1], max_weight=KEPT_BYTES
        )

    async def payload(self, claim: Claim, payload: bytes, version: int, wanted: int) -> bytes:
        """Return the payload of an event of a `version` as one of an earlier version; raise TemplateFailed."""
        kept = _decoded(await self._pool.fetchval(SQL["select_converted"], claim.event_id))
        if wanted in kept:
            return kept[wanted]
        made = await self._converted(claim, payload, version, wanted)
        most = max(CONVERTED_BYTES, CONVERTED_TIMES * len(payload))
        return await self._keep(claim.event_id, wanted, made, most)

    async def _keep(self, event_id: UUID, wanted: int, made: bytes, most: int) -> bytes:
        """Store what was made, unless another process did meanwhile; return what is stored. TemplateFailed: no room."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_converted"], event_id)
            if row is None:
                raise TemplateFailed("the event was erased")
            kept = _decoded(row["converted"])
            if wanted not in kept:
                if sum(map(len, kept.values())) + len(made) > most:
                    raise TemplateFailed(f"payloads of earlier versions of an event must total at most {most} bytes")
                text = msgspec.msgpack.encode({**kept, wanted: made})
                await connection.execute(SQL["put_converted"], event_id, text)
                return made
            return kept[wanted]

    async def _converted(self, claim: Claim, payload: bytes, version: int, wanted: int) -> bytes:
        arguments = (claim.tenant_id, claim.event_type, wanted, version)
        rows: Any = await self._pool.fetch(SQL["select_down_conversions"], *arguments)
        by_number = {row["number"]: row for row in rows}
        for number in range(version, wanted, -1):
            row = by_number.get(number)
            if row is None:
                raise TemplateFailed(f"version {number} of {claim.event_type} is not in the catalog")
            if not row["down_conversion"]:
                raise TemplateFailed(f"version {number} of {claim.event_type} has no down_conversion")
            payload = await self._step(claim, payload, number, row["down_conversion"])
        if wanted not in by_number:
            raise TemplateFailed(f"version {wanted} of {claim.event_type} is not in the catalog")
        schema = self._schema(by_number[wanted]["schema"])
        wrong = schema.violations(payload)
        if wrong:
            said = ", ".join(f"{one.field}: {one.description}" for one in wrong)
            raise TemplateFailed(f"what it was converted to does not match version {wanted}: {said}")
        return payload

    async def _step(self, claim: Claim, payload: bytes, number: int, source: str) -> bytes:
        """Return a payload as one of the version before."""
        event = Event(
            id=str(claim.event_id),
            type=claim.event_type or "",
            time=events_of_templates.time_text(ids.moment_of(claim.event_id)),
            content_type=JSON,
            payload=payload,
            tenant_id=claim.tenant_id,
        )
        try:
            made = await self._renderer.render(Template(source=source, content_type=JSON), event, {})
        except TemplateFailed as failed:
            message = f"down_conversion of version {number} of {claim.event_type}: {failed.message}"
            raise TemplateFailed(message, failed.line) from None
        return made.body

    def _schema(self, text: str) -> "Schema":
        from services.domain.catalog.schemas import Schema  # a worker without pins does not load a validator

        kept = self._schemas.get(text)
        if kept is None:
            try:
                kept = Schema(text.encode()), len(text)
            except errors.InvalidArgument as error:
                raise TemplateFailed(f"the schema cannot be used: {error.message}") from None
            self._schemas.put(text, kept)
        return kept[0]


def _decoded(stored: bytes | None) -> Mapping[int, bytes]:
    return {} if stored is None else _CONVERTED.decode(stored)
