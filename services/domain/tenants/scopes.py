"""What a call may touch: another tenant, for admins; and for a portal link the subscriptions that it is limited to.

Each call passes `Entry.enter` before it is made. A call with a limited portal link is narrowed here to the link's
subscriptions, or refused as if nothing had the id that it names. What only the answer shows, the service leaves out.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from services.domain.notices.audit import Crossings
from services.platform import errors, ids
from services.platform.auth import identity, roles
from services.platform.auth.identity import Identity
from services.platform.auth.roles import PortalCapability
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")

# Fields of a subscription that only the capability `secrets` allows to set.
_SECRET_FIELDS = ("secret_key", "verification_secrets", "client_certificate", "template_secrets")

Limit: TypeAlias = frozenset[UUID]
Narrow: TypeAlias = Callable[["postgres.Pool", Any, Limit], Awaitable[None]]


class Entry:
    """Looks at each call before it is made."""

    def __init__(self, pool: "postgres.Pool") -> None:
        self._pool = pool
        self._crossings = Crossings(pool)

    async def enter(self, caller: Identity, method: str, request: Any) -> None:
        """Let a call be made; narrow it, or raise PermissionDenied or NotFound, if a portal link does not allow it."""
        await self._crossings.enter(caller, method, request)
        if caller.portal is None:
            return
        _check_secrets(request)
        _keep_apart(caller, request)
        if caller.portal.subscriptions is not None:
            await narrow(method)(self._pool, request, caller.portal.subscriptions)


def narrow(method: str) -> Narrow:
    """Return how a call with a limited portal link is narrowed: a method that is not listed is refused."""
    return NARROWED.get(method.removeprefix("/webhook.v1."), _refuse)


async def visible_events(
    connection: "postgres.Pool | postgres.Connection", event_ids: Sequence[UUID], limit: Collection[UUID]
) -> set[UUID]:
    """Return those of the events that were sent to one of the subscriptions."""
    if not event_ids:
        return set()
    ranges = [ids.delivery_range(event_id) for event_id in event_ids]
    least, most = [low for low, _ in ranges], [high for _, high in ranges]
    arguments = (event_ids, least, most, list(limit), min(least), max(most))
    return {row["event_id"] for row in await connection.fetch(SQL["select_visible_events"], *arguments)}


async def hidden_deliveries(pool: "postgres.Pool", delivery_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the deliveries that the caller's portal link does not reach."""
    limit = identity.limited_to()
    return set() if limit is None or not delivery_ids else await _beyond(pool, delivery_ids, limit)


def no_delivery(delivery_id: UUID) -> errors.NotFound:
    """Return the error for a delivery that the caller's portal link does not reach."""
    return errors.NotFound(f"delivery {delivery_id} not found")


def _check_secrets(request: Any) -> None:
    """Raise PermissionDenied if a request sets secrets of a subscription without the capability to."""
    if "spec" not in request.DESCRIPTOR.fields_by_name or identity.has(PortalCapability.SECRETS):
        return
    named = {field.name for field, _ in request.spec.ListFields()}
    if "update_mask" in request.DESCRIPTOR.fields_by_name:
        named |= {path.partition(".")[0] for path in request.update_mask.paths}
    if found := [name for name in _SECRET_FIELDS if name in named]:
        refused = roles.missing(PortalCapability.SECRETS)
        raise identity.refused(f"{found[0]}: {refused.message}", refused.reason)


def _keep_apart(caller: Identity, request: Any) -> None:
    """Keep the idempotency keys of a portal link apart from those of others: they would return what others made."""
    if "idempotency_key" in request.DESCRIPTOR.fields_by_name and request.idempotency_key:
        text = f"{caller.key_id} {request.idempotency_key}"
        request.idempotency_key = hashlib.sha256(text.encode()).hexdigest()


async def _refuse(_pool: object, _request: Any, _limit: Limit) -> None:
    raise identity.refused(
        "a portal link that is limited to some subscriptions does not allow this; use one without `subscriptions`,"
        " or an API key",
        errors.ErrorReason.CAPABILITY_MISSING,
    )


async def _leave(_pool: object, _request: Any, _limit: Limit) -> None:
    """Leave it to the service, which knows only with its answer what is of which subscription."""


def _subscription(field: str = "subscription_id") -> Narrow:
    async def check(_pool: object, request: Any, limit: Limit) -> None:
        if text := getattr(request, field):
            _check(field, text, limit)

    return check


def _delivery() -> Narrow:
    async def check(pool: "postgres.Pool", request: Any, limit: Limit) -> None:
        delivery_id = ids.parse("delivery_id", request.delivery_id)
        if await _beyond(pool, [delivery_id], limit):
            raise no_delivery(delivery_id)

    return check


async def _beyond(pool: "postgres.Pool", delivery_ids: Sequence[UUID], limit: Collection[UUID]) -> set[UUID]:
    rows = await pool.fetch(SQL["select_owners_of"], delivery_ids, min(delivery_ids), max(delivery_ids))
    owners = {row["id"]: row["subscription_id"] for row in rows}
    return {delivery_id for delivery_id in delivery_ids if owners.get(delivery_id) not in limit}


async def _event(pool: "postgres.Pool", request: Any, limit: Limit) -> None:
    if request.event_id:
        event_id = ids.parse("event_id", request.event_id)
        if not await visible_events(pool, [event_id], limit):
            raise errors.NotFound(f"event {event_id} not found")


async def _event_and_subscription(pool: "postgres.Pool", request: Any, limit: Limit) -> None:
    await _subscription()(pool, request, limit)
    await _event(pool, request, limit)


async def _filter(_pool: object, request: Any, limit: Limit) -> None:
    narrow_filter(request.filter.subscription_id, "subscription_id", limit)


async def _series(_pool: object, request: Any, limit: Limit) -> None:
    narrow_filter(request.subscription_ids, "subscription_ids", limit)


async def _job(pool: "postgres.Pool", request: Any, limit: Limit) -> None:
    await _subscription("to_subscription_id")(pool, request, limit)
    # With a token they are those of the preview; a replay of events is for its target alone.
    if not getattr(request, "token", "") and not request.only:
        await _filter(pool, request, limit)


def narrow_filter(named: Any, field: str, limit: Limit) -> None:
    """Fill a list of subscriptions with those that are allowed; NotFound if it names another one."""
    for text in named:
        _check(field, text, limit)
    if not named:
        named.extend(sorted(map(str, limit)))


def _check(field: str, text: str, limit: Limit) -> None:
    subscription_id = ids.parse(field, text)
    if subscription_id not in limit:
        raise _no_subscription(subscription_id)


def _no_subscription(subscription_id: UUID) -> errors.NotFound:
    return errors.NotFound(f"subscription {subscription_id} not found")


# By method that a portal link may call, how a call is narrowed.
NARROWED: Mapping[str, Narrow] = {
    "IngestService/GetEvent": _event,
    "IngestService/ListEvents": _leave,
    "IngestService/StreamEvents": _leave,
    "IngestService/ListEventRoutes": _event_and_subscription,
    "IngestService/CancelEvent": _event,
    "IngestService/CheckFilter": _refuse,
    # Event types belong to the tenant, and tell what is sent to others.
    "CatalogService/ExportCatalog": _refuse,
    # A new one would be beyond the limit.
    "SubscriptionService/CreateSubscription": _refuse,
    "SubscriptionService/GetSubscription": _subscription(),
    "SubscriptionService/ListSubscriptions": _leave,
    "SubscriptionService/UpdateSubscription": _subscription(),
    "SubscriptionService/DeleteSubscription": _subscription(),
    "SubscriptionService/SetSubscriptionStatus": _subscription(),
    "SubscriptionService/RotateSubscriptionSecret": _subscription(),
    "SubscriptionService/CreateIngestToken": _subscription(),
    "SubscriptionService/DeleteIngestToken": _subscription(),
    "SubscriptionService/TestNewSubscription": _refuse,
    "SubscriptionService/PreviewTemplate": _subscription(),
    "DeliveryService/GetDelivery": _delivery(),
    "DeliveryService/ListDeliveries": _event_and_subscription,
    "DeliveryService/SearchDeliveries": _filter,
    "DeliveryService/StreamDeliveries": _filter,
    "DeliveryService/SummarizeDeliveries": _filter,
    "DeliveryService/Watch": _filter,
    "DeliveryService/RetryDelivery": _delivery(),
    "DeliveryService/BatchRetryDeliveries": _leave,
    "DeliveryService/CancelDelivery": _delivery(),
    "DeliveryService/TestSubscription": _subscription(),
    "DeliveryService/GetSubscriptionTest": _refuse,
    "JobService/PreviewJob": _job,
    "JobService/CreateJob": _job,
    "JobService/GetJob": _leave,
    "JobService/ListJobs": _leave,
    "JobService/PauseJob": _leave,
    "JobService/ResumeJob": _leave,
    "JobService/CancelJob": _leave,
    "AnalyticsService/GetStats": _subscription(),
    "AnalyticsService/GetStatsSeries": _series,
    "AnalyticsService/GetRefusals": _series,
}
