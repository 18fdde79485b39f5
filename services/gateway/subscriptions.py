"""Subscriptions: where events go, and which."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway import (
    backends,
    openapi,
    schemas,
    subscription_bodies,
)
from services.gateway.json_route import JsonRoute
from services.gateway.subscription_bodies import CreatedSubscription, Subscription, SubscriptionBody, SubscriptionPage

router = APIRouter(
    prefix="/api/v1/subscriptions",
    tags=["subscriptions"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)
_PAUSED = "It is paused (`SUBSCRIPTION_PAUSED`): resume it."
_CREATE_CONFLICT = f"{openapi.KEY_IN_USE} Or the tenant has a system subscription (`SYSTEM_SUBSCRIPTION_EXISTS`)."
_DISABLED = "It is disabled (`SUBSCRIPTION_DISABLED`): enable it first."


@router.post(
    "",
    status_code=201,
    operation_id="create_subscription",
    summary="Create a subscription",
    response_description="The subscription as stored.",
    responses={
        **openapi.problems(*openapi.WITH_BODY, described={409: _CREATE_CONFLICT, 422: openapi.KEY_REUSED}),
        201: {
            "headers": {
                "Location": {"description": "Path of the subscription.", "schema": {"type": "string"}},
                **openapi.REPLAYED_HEADER,
            }
        },
    },
)
async def create_subscription(
    body: SubscriptionBody,
    services: backends.Injected,
    response: Response,
    idempotency_key: schemas.IdempotencyKey = None,
) -> CreatedSubscription:
    """Stores an endpoint; the next event that is taken in after the answer goes there if it is of a wanted type.

    Without `secret_key` one is made, which this answer alone shows; a private key of `ed25519` no answer does.
    """
    request = pb.CreateSubscriptionRequest(
        secret_key=body.secret_key, idempotency_key=idempotency_key or "", **subscription_bodies.fields(body)
    )
    request.unsigned = "secret_key" in body.model_fields_set and body.secret_key is None
    answer = await services.subscriptions.CreateSubscription(request, timeout=services.timeout_seconds)
    response.headers["location"] = f"{router.prefix}/{answer.subscription.id}"
    response.headers.update(schemas.NO_STORE)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    created = subscription_bodies.answered(answer.subscription).model_dump()
    return CreatedSubscription(**created, secret_key=answer.secret_key or None)


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
        items=[subscription_bodies.answered(message) for message in answer.subscriptions],
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
    return subscription_bodies.answered(answer.subscription)


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
    """Takes the body of a creation: what is absent gets its default, but for what the next sentences name.

    Without `secret_key`, `headers`, `verification_secrets` or `client_certificate` what is stored is kept; `null`
    removes it. Without `signature_scheme` or `verify` these stay as they are; the status and the `kind` always do.
    """
    request = pb.UpdateSubscriptionRequest(subscription_id=subscription_id, **subscription_bodies.fields(body))
    if body.secret_key is not None:
        request.secret_key = body.secret_key
    elif "secret_key" in body.model_fields_set:
        request.remove_secret = True
    answer = await services.subscriptions.UpdateSubscription(request, timeout=services.timeout_seconds)
    return subscription_bodies.answered(answer.subscription)


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


@router.post(
    "/{subscription_id}/disable",
    operation_id="disable_subscription",
    summary="Disable a subscription",
    response_description="The subscription, now disabled.",
    responses=openapi.problems(404),
)
async def disable_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> Subscription:
    """Stops deliveries until it is enabled, whatever its status. Nothing that waits is lost.

    New events are stored for it unless `keep_when_disabled` is false. One that is disabled stays as it is.
    """
    request = pb.DisableSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.subscriptions.DisableSubscription(request, timeout=services.timeout_seconds)
    return subscription_bodies.answered(answer.subscription)


@router.post(
    "/{subscription_id}/enable",
    operation_id="enable_subscription",
    summary="Enable a subscription",
    response_description="The subscription, now active.",
    responses=openapi.problems(404, described={409: _PAUSED}),
)
async def enable_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> Subscription:
    """Makes a disabled subscription active, with its breaker closed: what waits for it goes out.

    One that is active stays as it is.
    """
    request = pb.EnableSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.subscriptions.EnableSubscription(request, timeout=services.timeout_seconds)
    return subscription_bodies.answered(answer.subscription)


@router.post(
    "/{subscription_id}/pause",
    operation_id="pause_subscription",
    summary="Pause a subscription",
    response_description="The subscription, now paused.",
    responses=openapi.problems(404, described={409: _DISABLED}),
)
async def pause_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> Subscription:
    """Holds deliveries back until it is resumed. Events are stored meanwhile; one that is paused stays as it is."""
    request = pb.PauseSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.subscriptions.PauseSubscription(request, timeout=services.timeout_seconds)
    return subscription_bodies.answered(answer.subscription)


@router.post(
    "/{subscription_id}/resume",
    operation_id="resume_subscription",
    summary="Resume a subscription",
    response_description="The subscription, now active.",
    responses=openapi.problems(404, described={409: _DISABLED}),
)
async def resume_subscription(subscription_id: schemas.SubscriptionId, services: backends.Injected) -> Subscription:
    """Makes a paused subscription active: what waits for it goes out. One that is active stays as it is."""
    request = pb.ResumeSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.subscriptions.ResumeSubscription(request, timeout=services.timeout_seconds)
    return subscription_bodies.answered(answer.subscription)
