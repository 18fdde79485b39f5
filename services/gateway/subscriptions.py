"""Subscriptions: where events go, and which."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway import backends, openapi, schemas
from services.gateway.json_route import JsonRoute

router = APIRouter(
    prefix="/api/v1/subscriptions",
    tags=["subscriptions"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

_EXAMPLE: dict[str, Any] = {
    "target_url": "https://example.com/hooks/orders",
    "secret_key": "It's a Secret to Everybody",
    "event_types": ["order.created", "invoice.*"],
    "description": "Orders to the warehouse",
}


class SubscriptionBody(schemas.Request):
    """An endpoint and what it wants to hear of."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    target_url: str = Field(
        max_length=2048,
        description="Absolute http or https URL without credentials, to which deliveries are POSTed.",
        json_schema_extra={"format": "uri"},
    )
    secret_key: str | None = Field(
        None,
        max_length=256,
        description=(
            "Secret that deliveries are signed with and `X-Hub-Signature-256` is verified with; write-only. "
            "With the prefix `whsec_` the rest is the base64 of the key of `webhook-signature`; any other secret "
            "is used as its UTF-8 bytes. In an update: absent keeps the stored secret, null removes it."
        ),
        json_schema_extra={"writeOnly": True},
    )
    event_types: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Types it wants; empty or absent means all. `order.*` means every type that begins with `order.`.",
    )
    description: str = Field("", max_length=1024, description="Free text for people.")


class Subscription(schemas.Answer):
    """A stored subscription. Its secret is never part of an answer."""

    id: schemas.Uuid = Field(examples=[schemas.EXAMPLE_SUBSCRIPTION_ID])
    target_url: str = Field(examples=[_EXAMPLE["target_url"]])
    event_types: list[str] = Field(examples=[_EXAMPLE["event_types"]])
    description: str = Field(examples=[_EXAMPLE["description"]])
    has_secret: bool = Field(description="Whether deliveries are signed.", examples=[True])
    created_at: schemas.Timestamp
    updated_at: schemas.Timestamp


class SubscriptionPage(schemas.Answer):
    """A page of subscriptions, newest first."""

    items: list[Subscription]
    next_cursor: schemas.NextCursor


@router.post(
    "",
    status_code=201,
    operation_id="create_subscription",
    summary="Create a subscription",
    response_description="The subscription as stored.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, described={409: openapi.KEY_REUSED}),
        201: {"headers": {"Location": {"description": "Path of the subscription.", "schema": {"type": "string"}}}},
    },
)
async def create_subscription(
    body: SubscriptionBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: schemas.IdempotencyKey = None,
) -> Subscription:
    """Stores an endpoint; the next event that is taken in after the answer goes there if it is of a wanted type."""
    request = pb.CreateSubscriptionRequest(
        target_url=body.target_url,
        secret_key=body.secret_key,
        event_types=body.event_types,
        description=body.description,
        idempotency_key=idempotency_key or "",
    )
    answer = await services.subscriptions.CreateSubscription(request, timeout=services.timeout_seconds)
    response.headers["location"] = f"{router.prefix}/{answer.subscription.id}"
    return _subscription(answer.subscription)


@router.get(
    "",
    operation_id="list_subscriptions",
    summary="List subscriptions",
    response_description="A page of subscriptions.",
    responses=openapi.problems(),
)
async def list_subscriptions(
    query: Annotated[schemas.PageQuery, Query()], services: backends.Injected
) -> SubscriptionPage:
    """The subscriptions that are not deleted, newest first."""
    request = pb.ListSubscriptionsRequest(page_size=query.limit, page_token=query.cursor)
    answer = await services.subscriptions.ListSubscriptions(request, timeout=services.timeout_seconds)
    return SubscriptionPage(
        items=[_subscription(message) for message in answer.subscriptions],
        next_cursor=answer.next_page_token or None,
    )


@router.get(
    "/{subscription_id}",
    operation_id="get_subscription",
    summary="Look up a subscription",
    response_description="The subscription.",
    responses=openapi.problems(404),
)
async def get_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> Subscription:
    """One subscription; 404 once it is deleted."""
    request = pb.GetSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.subscriptions.GetSubscription(request, timeout=services.timeout_seconds)
    return _subscription(answer.subscription)


@router.put(
    "/{subscription_id}",
    operation_id="replace_subscription",
    summary="Replace a subscription",
    response_description="The subscription as stored.",
    responses=openapi.problems(*openapi.WITH_BODY, 404),
)
async def replace_subscription(
    subscription_id: schemas.SubscriptionId, body: SubscriptionBody, services: backends.Injected
) -> Subscription:
    """Takes the body of a creation: what is absent gets its default, except `secret_key`.

    Without `secret_key` the stored secret is kept; `null` removes it.
    """
    request = pb.UpdateSubscriptionRequest(
        subscription_id=subscription_id,
        target_url=body.target_url,
        event_types=body.event_types,
        description=body.description,
    )
    if body.secret_key is not None:
        request.secret_key = body.secret_key
    elif "secret_key" in body.model_fields_set:
        request.remove_secret = True
    answer = await services.subscriptions.UpdateSubscription(request, timeout=services.timeout_seconds)
    return _subscription(answer.subscription)


@router.delete(
    "/{subscription_id}",
    status_code=204,
    operation_id="delete_subscription",
    summary="Delete a subscription",
    response_description="It is deleted.",
    responses=openapi.problems(404),
)
async def delete_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> None:
    """Cancels the deliveries that wait for it. What was delivered stays readable."""
    request = pb.DeleteSubscriptionRequest(subscription_id=subscription_id)
    await services.subscriptions.DeleteSubscription(request, timeout=services.timeout_seconds)


def _subscription(message: pb.Subscription) -> Subscription:
    return Subscription(
        id=message.id,
        target_url=message.target_url,
        event_types=list(message.event_types),
        description=message.description,
        has_secret=message.has_secret,
        created_at=schemas.timestamp(message.created_at),
        updated_at=schemas.timestamp(message.updated_at),
    )
