"""AuditService: lists who changed what."""

import re
from uuid import UUID

import msgspec

from protos.webhook.v1 import audit_pb2 as pb
from protos.webhook.v1 import audit_pb2_grpc
from services.domain.notices.audit import RESOURCE_TYPES, SYSTEM, Action, FieldChange
from services.ingest.audit.store import AuditStore, Filter
from services.platform import errors, ids, paging
from services.platform.auth import identity
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context

# Actors that are not API keys.
NAMED = frozenset({identity.BOOTSTRAP_KEY_ID, identity.ANONYMOUS_ID, SYSTEM})
# A UUID, or the id of a tenant.
_RESOURCE_ID = re.compile(r"[a-z0-9_-]{1,63}")
_OLDEST = UUID(int=0)


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Servicer of webhook.v1.AuditService."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, _context: Context
    ) -> pb.ListAuditEntriesResponse:
        """Return a page."""
        size = paging.page_size(request.page_size)
        before, since = paging.before(request.page_token), _OLDEST
        if request.HasField("to_time"):
            before = min(before, ids.least_at(conversion.moment("to_time", request.to_time)))
        if request.HasField("from_time"):
            since = ids.least_at(conversion.moment("from_time", request.from_time))
        found = await self._store.page(_filter(request), before=before, since=since, limit=size + 1)
        return pb.ListAuditEntriesResponse(
            entries=[
                conversion.message(pb.AuditEntry, entry, changes=[_change(change) for change in entry.changes])
                for entry in found[:size]
            ],
            next_page_token=paging.token(found[size - 1].id) if len(found) > size else "",
        )


def _filter(request: pb.ListAuditEntriesRequest) -> Filter:
    """Convert a request. Raises InvalidArgument, which names a field that cannot match anything."""
    if request.actor and request.actor not in NAMED:
        ids.parse("actor", request.actor.removeprefix(identity.PORTAL_PREFIX))
    if request.action and request.action not in set(Action):
        raise errors.InvalidArgument.field("action", f"must be one of {', '.join(Action)}")
    if request.resource_type and request.resource_type not in RESOURCE_TYPES:
        raise errors.InvalidArgument.field("resource_type", f"must be one of {', '.join(sorted(RESOURCE_TYPES))}")
    if request.resource_id and not _RESOURCE_ID.fullmatch(request.resource_id.lower()):
        raise errors.InvalidArgument.field("resource_id", "must be a UUID, or the id of a tenant")
    return Filter(
        tenant_id=identity.check_tenant("tenant_id", request.tenant_id) if request.tenant_id else None,
        actor=request.actor.lower() or None,
        action=request.action or None,
        resource_type=request.resource_type or None,
        resource_id=request.resource_id.lower() or None,
    )


def _change(change: FieldChange) -> pb.FieldChange:
    return pb.FieldChange(field=change.field, before_json=_json(change.before), after_json=_json(change.after))


def _json(value: object) -> str | None:
    return None if value is msgspec.UNSET else msgspec.json.encode(value).decode()
