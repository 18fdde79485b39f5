"""The audit log: who changed what, and which admin acted in another tenant. Requires role admin."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from protos.webhook.v1 import audit_pb2 as pb
from services.domain.notices.audit import SYSTEM, Action
from services.gateway.resources import enums, models
from services.gateway.web import backends, openapi
from services.gateway.web.routing import RoleRoute
from services.platform import errors, ids
from services.platform.auth import identity

router = APIRouter(tags=["admin"], route_class=RoleRoute)

_NAMED = (identity.BOOTSTRAP_KEY_ID, identity.ANONYMOUS_ID, SYSTEM)
_EXAMPLE_KEY_ID = "019ced6e-52d0-7a41-8c6e-3f9b7d2a1c58"
_EXAMPLE_CHANGES: list[dict[str, Any]] = [
    {"field": "rate_limit_per_second", "before": None, "after": 50.0},
    {"field": "secret_key"},
]


def _check_actor(text: str) -> str:
    if text in _NAMED:
        return text
    prefix = identity.PORTAL_PREFIX if text.startswith(identity.PORTAL_PREFIX) else ""
    try:
        return prefix + str(ids.parse("actor", text.removeprefix(prefix)))
    except errors.InvalidArgument:
        expected = f"the UUID of an API key, {identity.PORTAL_PREFIX} and that of a portal link"
        raise ValueError(f"must be {expected}, or one of {', '.join(_NAMED)}") from None


class AuditQuery(models.ListQuery):
    """The page and the filters of audit entries; an entry must match every filter."""

    tenant_id: models.TenantName | None = Field(None, description="Only changes to objects of this tenant.")
    actor: Annotated[str, AfterValidator(_check_actor)] | None = Field(
        None,
        description=(
            "Only changes by this API key (its UUID), by this portal link (`portal:` and its UUID), or by `bootstrap`, "
            "`anonymous`, or `system`."
        ),
        examples=[_EXAMPLE_KEY_ID],
    )
    action: Action | None = Field(None, description="Only this action.")
    resource_type: enums.ResourceType | None = Field(None, description="Only changes to objects of this type.")
    resource_id: str | None = Field(
        None,
        pattern="^[A-Za-z0-9_-]{1,63}$",
        description="Only changes to the object with this id: a UUID, or the id of a tenant.",
        examples=[models.EXAMPLE_SUBSCRIPTION_ID],
    )
    from_: models.Moment | None = Field(None, alias="from", description="Only changes at this time or later.")
    to: models.Moment | None = Field(None, description="Only changes before this time.")


class FieldChange(models.Answer):
    """A changed field. `before` and `after` are absent if there was no value or it is not shown."""

    field: str = Field(examples=["rate_limit_per_second"])
    before: Any = Field(None, description="The value before the change, as JSON.", examples=[20.0])
    after: Any = Field(None, description="The value after the change, as JSON.", examples=[50.0])


class AuditEntry(models.Answer):
    """One change."""

    id: models.Uuid = Field(examples=["019ced71-02b4-7d5e-b0a6-4c1e8f7a9d23"])
    created_at: models.Timestamp
    tenant_id: str = Field(
        description="Tenant of the changed object; `*` if an admin listed all tenants.", examples=["acme"]
    )
    actor: str = Field(
        description=(
            "Who made the change: the UUID of an API key, `bootstrap` (`BOOTSTRAP_ADMIN_KEY`), `anonymous` (a caller "
            "without a key, if none is required) or `system` (the service itself)."
        ),
        examples=[_EXAMPLE_KEY_ID],
    )
    actor_name: str | None = Field(
        description="The key's name at that time; null if the actor is not an API key.", examples=["ops, Ada"]
    )
    actor_role: str | None = Field(
        description="The key's role; null if the actor is not an API key.", examples=["write"]
    )
    actor_tenant_id: str | None = Field(
        description="The key's tenant; null if the actor is not an API key.", examples=["acme"]
    )
    action: str = Field(description="The action.", examples=[Action.UPDATE_SUBSCRIPTION.value])
    resource_type: str = Field(description="Type of the changed object.", examples=["subscription"])
    resource_id: str = Field(description="Id of the changed object.", examples=[models.EXAMPLE_SUBSCRIPTION_ID])
    changes: list[FieldChange] = Field(
        description="The changed fields. Fields with secrets have only their name.", examples=[_EXAMPLE_CHANGES]
    )
    affected: int | None = Field(
        description="Number of other objects that changed, such as keys revoked with a tenant; otherwise null.",
        examples=[None],
    )


class AuditPage(models.Answer):
    """A page of entries, newest first."""

    items: list[AuditEntry]
    next_cursor: models.NextCursor


@router.get(
    "/api/v1/admin/audit",
    operation_id="list_audit_entries",
    summary="List audit entries",
    response_description="A page of entries.",
    response_model_exclude_unset=True,
    responses=openapi.problems(),
)
async def list_audit_entries(query: Annotated[AuditQuery, Query()], services: backends.Injected) -> AuditPage:
    """List changes to subscriptions, secrets, deliveries, tenants and API keys, and who made them, newest first.

    An entry is written in the transaction of its change and kept for `AUDIT_RETENTION_HOURS`. It contains no secrets,
    tokens or headers, and only the scheme, host and port of a target URL. Requests that were refused or failed are not
    recorded, nor is the sending of events. If an admin reads in another tenant, that is recorded as `tenant.enter`.
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
    found = models.values(message)
    of_keys = {name: found[name] or None for name in ("actor_name", "actor_role", "actor_tenant_id")}
    return AuditEntry(**found | of_keys | {"changes": [FieldChange(**_change(change)) for change in message.changes]})


def _change(message: pb.FieldChange) -> Mapping[str, Any]:
    values = {
        name: msgspec.json.decode(getattr(message, f"{name}_json"))
        for name in ("before", "after")
        if message.HasField(f"{name}_json")  # type: ignore[arg-type]  # it has both fields
    }
    return {"field": message.field, **values}
