"""Tenants and API keys to and from their messages."""

from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from protos.webhook.v1 import access_pb2 as pb
from services.ingest.access.records import ApiKey, KeyDraft, Tenant
from services.platform import errors
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role

_PREFIX = "ROLE_"


def key_draft(request: pb.CreateApiKeyRequest, *, own_tenant_id: str) -> KeyDraft:
    """What a request asks for; InvalidArgument naming the fields at fault."""
    return KeyDraft(
        tenant_id=request.tenant_id or own_tenant_id,
        name=request.name,
        role=_role(request.role),
        expires_at=_moment("expires_at", request.expires_at) if request.HasField("expires_at") else None,
        requests_per_second=request.requests_per_second if request.HasField("requests_per_second") else None,
    )


def tenant(made: Tenant) -> pb.Tenant:
    """A tenant as it is answered."""
    found = pb.Tenant(id=made.id, name=made.name, description=made.description)
    found.created_at.FromDatetime(made.created_at)
    return found


def api_key(made: ApiKey) -> pb.ApiKey:
    """A key as it is answered."""
    found = pb.ApiKey(
        id=str(made.id),
        tenant_id=made.tenant_id,
        name=made.name,
        role=_role_value(made.role),
        prefix=made.prefix,
        requests_per_second=made.requests_per_second,
    )
    found.created_at.FromDatetime(made.created_at)
    for name in ("expires_at", "revoked_at", "last_used_at"):
        moment: datetime | None = getattr(made, name)
        if moment is not None:
            getattr(found, name).FromDatetime(moment)
    return found


def caller(found: Identity) -> pb.Caller:
    """Whose a key is, as it is answered."""
    return pb.Caller(
        tenant_id=found.tenant_id,
        role=_role_value(found.role),
        key_id=found.key_id,
        requests_per_second=found.requests_per_second,
    )


def _role(value: pb.Role.ValueType) -> Role | None:
    if value == pb.ROLE_UNSPECIFIED or value not in pb.Role.values():
        return None
    return Role(pb.Role.Name(value).removeprefix(_PREFIX).lower())


def _role_value(role: Role) -> pb.Role.ValueType:
    return pb.Role.Value(_PREFIX + role.upper())


def _moment(field: str, stamp: timestamp_pb2.Timestamp) -> datetime:
    """A moment in UTC; InvalidArgument for one that no calendar has."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidArgument.field(field, "must be between the years 1 and 9999") from None
