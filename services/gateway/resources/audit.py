"""The audit log: who changed what, and which admin acted in another tenant. For keys of role admin."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from protos.webhook.v1 import audit_pb2 as pb
from services.domain.audit import SYSTEM, Action
from services.gateway.resources import models
from services.gateway.web import backends, openapi
from services.gateway.web.role_route import RoleRoute
from services.platform import errors, ids
from services.platform.auth import identity

router = APIRouter(tags=["admin"], route_class=RoleRoute)

ResourceType = Literal["subscription", "delivery", "tenant", "api_key"]
_NAMED = (identity.BOOTSTRAP_KEY_ID, identity.ANONYMOUS_ID, SYSTEM)
_EXAMPLE_KEY_ID = "019ced6e-52d0-7a41-8c6e-3f9b7d2a1c58"
_EXAMPLE_CHANGES: list[dict[str, Any]] = [
    {"field": "rate_limit_per_second", "before": None, "after": 50.0},
    {"field": "secret_key"},
]


def _check_actor(text: str) -> str:
    if text in _NAMED:
        return text
    try:
        return str(ids.parse("actor", text))
    except errors.InvalidArgument:
        raise ValueError(f"must be the UUID of an API key, or one of {', '.join(_NAMED)}") from None


class AuditQuery(models.ListQuery):
    """Which entries; those alone that fit every filter."""

    tenant_id: models.TenantName | None = Field(None, description="Only of objects of this tenant.")
    actor: Annotated[str, AfterValidator(_check_actor)] | None = Field(
        None,
        description="Only by this API key (its UUID), or by `bootstrap`, `anonymous` or `system`.",
        examples=[_EXAMPLE_KEY_ID],
    )
    action: Action | None = Field(None, description="Only of this kind.")
    resource_type: ResourceType | None = Field(None, description="Only of objects of this type.")
    resource_id: str | None = Field(
        None,
        pattern="^[A-Za-z0-9_-]{1,63}$",
        description="Only of the object of this id: a UUID, or the id of a tenant.",
        examples=[models.EXAMPLE_SUBSCRIPTION_ID],
    )
    from_: models.Moment | None = Field(None, alias="from", description="Only from this moment on.")
    to: models.Moment | None = Field(None, description="Only before this moment.")


class FieldChange(models.Answer):
    """A field that was changed. `before` and `after` are absent where there was nothing, or it is not to be shown."""

    field: str = Field(examples=["rate_limit_per_second"])
    before: Any = Field(None, description="Its value before, as JSON.", examples=[20.0])
    after: Any = Field(None, description="Its value after.", examples=[50.0])


class AuditEntry(models.Answer):
    """One change."""

    id: models.Uuid = Field(examples=["019ced71-02b4-7d5e-b0a6-4c1e8f7a9d23"])
    created_at: models.Timestamp
    tenant_id: str = Field(
        description="Whose the changed object is; `*` where an admin listed those of all tenants.", examples=["acme"]
    )
    actor: str = Field(
        description=(
            "Who did it: the UUID of an API key; `bootstrap`: `BOOTSTRAP_ADMIN_KEY`; `anonymous`: a "
            "caller without a key, where none is required; `system`: the service itself."
        ),
        examples=[_EXAMPLE_KEY_ID],
    )
    actor_name: str | None = Field(description="The key's name then; null for what is no key.", examples=["ops, Ada"])
    actor_role: str | None = Field(description="The key's role; null likewise.", examples=["write"])
    actor_tenant_id: str | None = Field(description="The key's tenant; null likewise.", examples=["acme"])
    action: str = Field(description="What was done.", examples=[Action.UPDATE_SUBSCRIPTION.value])
    resource_type: str = Field(description="What kind of object it was done to.", examples=["subscription"])
    resource_id: str = Field(description="Which of them.", examples=[models.EXAMPLE_SUBSCRIPTION_ID])
    changes: list[FieldChange] = Field(
        description="The fields that changed: those that hold secrets by their name alone.", examples=[_EXAMPLE_CHANGES]
    )
    affected: int | None = Field(
        description="Further objects that it touched, such as keys revoked with a tenant; else null.", examples=[None]
    )


class AuditPage(models.Answer):
    """A page of entries, newest first."""

    items: list[AuditEntry]
    next_cursor: models.NextCursor


@router.get(
    "/api/v1/admin/audit",
    operation_id="list_audit_entries",
    summary="List who changed what",
    response_description="A page of entries.",
    response_model_exclude_unset=True,
    responses=openapi.problems(),
)
async def list_audit_entries(query: Annotated[AuditQuery, Query()], services: backends.Injected) -> AuditPage:
    """Newest first: every change of subscriptions, secrets, deliveries, tenants and keys, and whose key made it.

    An entry is written in the transaction that makes its change. It holds no secret, token or header, of a target no
    more than scheme, host and port, and is kept for `AUDIT_RETENTION_HOURS`. Attempts that were refused or failed have
    none, and neither has the taking in of events. An admin who reads in another tenant leaves `tenant.enter`.
    """
    request = pb.ListAuditEntriesRequest(
        tenant_id=services.stated(query.tenant_id, query.tenant),
        actor=query.actor or "",
        action=query.action or "",
        resource_type=query.resource_type or "",
        resource_id=query.resource_id or "",
        page_size=query.limit,
        page_token=query.cursor,
    )
    if query.from_ is not None:
        request.from_time.FromDatetime(query.from_)
    if query.to is not None:
        request.to_time.FromDatetime(query.to)
    answer = await services.operate(services.audit.ListAuditEntries, request)
    return AuditPage(items=[_entry(message) for message in answer.entries], next_cursor=answer.next_page_token or None)


def _entry(message: pb.AuditEntry) -> AuditEntry:
    return AuditEntry(
        id=message.id,
        created_at=models.timestamp(message.created_at),
        tenant_id=message.tenant_id,
        actor=message.actor,
        actor_name=message.actor_name or None,
        actor_role=message.actor_role or None,
        actor_tenant_id=message.actor_tenant_id or None,
        action=message.action,
        resource_type=message.resource_type,
        resource_id=message.resource_id,
        changes=[FieldChange(**_change(change)) for change in message.changes],
        affected=message.affected if message.HasField("affected") else None,
    )


def _change(message: pb.FieldChange) -> Mapping[str, Any]:
    values = {
        name: msgspec.json.decode(getattr(message, f"{name}_json"))
        for name in ("before", "after")
        if message.HasField(f"{name}_json")  # type: ignore[arg-type]  # both of which it has
    }
    return {"field": message.field, **values}
