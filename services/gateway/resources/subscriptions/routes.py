"""Subscriptions: where events go, and which."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from protos.webhook.v1 import deliveries_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway.resources import models
from services.gateway.resources.deliveries import Attempt
from services.gateway.resources.retries import attempt_fields
from services.gateway.resources.subscriptions import models as subscription_bodies
from services.gateway.resources.subscriptions.models import (
    CreatedSubscription,
    Subscription,
    SubscriptionBody,
    SubscriptionPage,
    SubscriptionPatch,
    SubscriptionsQuery,
)
from services.gateway.web import backends, etags, openapi
from services.gateway.web.routing import JsonRoute
from services.platform import errors

router = APIRouter(
    prefix="/api/v1/subscriptions",
    tags=["subscriptions"],
    route_class=JsonRoute,
    strict_content_type=False,  # a body without a Content-Type is JSON
)
_PAUSED = "The subscription is paused (`SUBSCRIPTION_PAUSED`): resume it."
_CREATE_CONFLICT = (
    f"{openapi.KEY_IN_USE} Or the tenant has a subscription of this `name` (`NAME_TAKEN`), a system subscription"
    " (`SYSTEM_SUBSCRIPTION_EXISTS`), or as many subscriptions as its quota allows (`QUOTA_SUBSCRIPTIONS`)."
)
# Longer than a worker may take to begin, and a receiver to respond.
TEST_TIMEOUT_SECONDS = 40.0
_UNVERIFIED = "The subscription's target has not answered a challenge yet (`SUBSCRIPTION_UNVERIFIED`)."
_TESTED_OFTEN = (
    "The subscription got 10 test events within a minute (`RATE_LIMITED`), or 10 of the tenant are being sent"
    " (`TENANT_OVERLOADED`). Or the key has made too many requests."
)
_TRIED_OFTEN = (
    "10 test events for new subscriptions of the tenant were asked for within a minute (`RATE_LIMITED`), or 10 of the "
    "tenant are being sent (`TENANT_OVERLOADED`). Or the key has made too many requests."
)
_NAME_TAKEN = "Another subscription of the tenant has this `name` (`NAME_TAKEN`)."
_UPDATED: dict[int | str, dict[str, Any]] = {
    **openapi.problems(*openapi.WITH_BODY, 404, 412, described={409: _NAME_TAKEN}),
    200: etags.DESCRIBED,
}
_DISABLED = "The subscription is disabled (`SUBSCRIPTION_DISABLED`): enable it first."


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
    idempotency_key: models.IdempotencyKey = None,
) -> CreatedSubscription:
    """Create a subscription. It receives matching events that are accepted after this response.

    If `secret_key` is absent, a secret is generated. Only this response shows it; an `ed25519` private key is never
    shown.
    """
    request = pb.CreateSubscriptionRequest(spec=subscription_bodies.spec(body), idempotency_key=idempotency_key or "")
    answer = await services.call(services.subscriptions.CreateSubscription, request)
    response.headers["location"] = f"{router.prefix}/{answer.subscription.id}"
    response.headers.update(models.NO_STORE)
    response.headers["etag"] = etags.of(answer.subscription)
    if answer.replayed:
        response.headers[openapi.REPLAYED] = "true"
    created = subscription_bodies.fields(answer.subscription)
    return CreatedSubscription(**{**created, "secret_key": answer.secret_key or None})


@router.get(
    "",
    operation_id="list_subscriptions",
    summary="List subscriptions",
    response_description="A page of subscriptions.",
    responses=openapi.problems(),
)
async def list_subscriptions(
    query: Annotated[SubscriptionsQuery, Query()], services: backends.Injected
) -> SubscriptionPage:
    """List the subscriptions that are not deleted, newest first."""
    request = pb.ListSubscriptionsRequest(
        tenant_id=services.everywhere(query.tenant),
        page_size=query.limit,
        page_token=query.cursor,
        name=query.name or "",
        metadata=query.pairs,
    )
    answer = await services.call(services.subscriptions.ListSubscriptions, request)
    return SubscriptionPage(
        items=[Subscription(**subscription_bodies.fields(message)) for message in answer.subscriptions],
        next_cursor=answer.next_page_token or None,
    )


@router.get(
    "/{subscription_id}",
    operation_id="get_subscription",
    summary="Get a subscription",
    response_description="The subscription.",
    responses={**openapi.problems(404), 200: etags.DESCRIBED},
)
async def get_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Return one subscription; 404 once it is deleted."""
    request = pb.GetSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.call(services.subscriptions.GetSubscription, request)
    return _answered(answer.subscription, response)


@router.put(
    "/{subscription_id}",
    operation_id="replace_subscription",
    summary="Replace a subscription",
    response_description="The subscription as stored.",
    responses=_UPDATED,
)
async def replace_subscription(
    subscription_id: models.SubscriptionId,
    body: SubscriptionBody,
    services: backends.Injected,
    response: Response,
    if_match: etags.IfMatch = None,
) -> Subscription:
    """Replace all fields with the body of a create request. An absent field gets its default, with these exceptions.

    If `secret_key`, `headers`, `verification_secrets`, `client_certificate`, or `template_secrets` is absent, the
    stored value is kept; null removes it. If `signature_scheme` or `verify` is absent or null, the stored value is
    kept. `event_types` is required if the subscription is limited to some types. The status and the `kind` never
    change. To change only some fields, use PATCH.
    """
    request = pb.UpdateSubscriptionRequest(
        subscription_id=subscription_id,
        spec=subscription_bodies.spec(body),
        etags=etags.wanted(if_match),
        all_event_types="event_types" in body.model_fields_set,
    )
    if "secret_key" in body.model_fields_set and body.secret_key is None:
        if body.signature_scheme not in {None, "none"}:
            raise errors.InvalidArgument.field("secret_key", "is required to sign with this signature_scheme")
        request.spec.signature_scheme = pb.SIGNATURE_SCHEME_NONE
    answer = await services.call(services.subscriptions.UpdateSubscription, request)
    return _answered(answer.subscription, response)


@router.patch(
    "/{subscription_id}",
    operation_id="update_subscription",
    summary="Update some fields of a subscription",
    response_description="The subscription as stored.",
    responses=_UPDATED,
)
async def update_subscription(
    subscription_id: models.SubscriptionId,
    body: SubscriptionPatch,
    services: backends.Injected,
    response: Response,
    if_match: etags.IfMatch = None,
) -> Subscription:
    """Apply a JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).

    An absent field keeps its value, and null resets it to its default or removes it. `headers`, `metadata`,
    `tag_paths`, and `retry_policy` are merged field by field: `{"headers": {"X-Old": null}}` removes one header and
    keeps the others.
    """
    request = pb.UpdateSubscriptionRequest(
        subscription_id=subscription_id,
        spec=subscription_bodies.spec(body),
        etags=etags.wanted(if_match),
        update_mask=subscription_bodies.update_mask(body),
        merge_metadata=body.metadata is not None,
        merge_tag_paths=body.tag_paths is not None,
    )
    answer = await services.call(services.subscriptions.UpdateSubscription, request)
    return _answered(answer.subscription, response)


@router.delete(
    "/{subscription_id}",
    status_code=204,
    operation_id="delete_subscription",
    summary="Delete a subscription",
    response_description="The subscription is deleted.",
    responses=openapi.problems(404, 412),
)
async def delete_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, if_match: etags.IfMatch = None
) -> None:
    """Delete a subscription and cancel its waiting deliveries. Its history stays readable."""
    request = pb.DeleteSubscriptionRequest(subscription_id=subscription_id, etags=etags.wanted(if_match))
    await services.call(services.subscriptions.DeleteSubscription, request)


@router.post(
    "/{subscription_id}/disable",
    operation_id="disable_subscription",
    summary="Disable a subscription",
    response_description="The subscription, now disabled.",
    responses=openapi.problems(404),
)
async def disable_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Stop deliveries until the subscription is enabled. Waiting deliveries are kept.

    New events are stored for it unless `keep_when_disabled` is false. No effect if it is already disabled.
    """
    return await _set_status(pb.SUBSCRIPTION_ACTION_DISABLE, subscription_id, services, response)


@router.post(
    "/{subscription_id}/enable",
    operation_id="enable_subscription",
    summary="Enable a subscription",
    response_description="The subscription, now active.",
    responses=openapi.problems(404, described={409: _PAUSED}),
)
async def enable_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Enable a disabled subscription, with its breaker closed. Waiting deliveries are sent.

    No effect if it is already active.
    """
    return await _set_status(pb.SUBSCRIPTION_ACTION_ENABLE, subscription_id, services, response)


@router.post(
    "/{subscription_id}/pause",
    operation_id="pause_subscription",
    summary="Pause a subscription",
    response_description="The subscription, now paused.",
    responses=openapi.problems(404, described={409: _DISABLED}),
)
async def pause_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Pause deliveries until the subscription is resumed. Events are stored meanwhile. No effect if already paused."""
    return await _set_status(pb.SUBSCRIPTION_ACTION_PAUSE, subscription_id, services, response)


@router.post(
    "/{subscription_id}/resume",
    operation_id="resume_subscription",
    summary="Resume a subscription",
    response_description="The subscription, now active.",
    responses=openapi.problems(404, described={409: _DISABLED}),
)
async def resume_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Resume a paused subscription. Waiting deliveries are sent. No effect if it is already active."""
    return await _set_status(pb.SUBSCRIPTION_ACTION_RESUME, subscription_id, services, response)


@router.post(
    "/{subscription_id}/verify",
    operation_id="verify_subscription",
    summary="Check the target of a subscription again",
    response_description="The subscription, whose target is sent a challenge now.",
    responses=openapi.problems(404, described={409: f"{_PAUSED} Or it is disabled (`SUBSCRIPTION_DISABLED`)."}),
)
async def verify_subscription(
    subscription_id: models.SubscriptionId, services: backends.Injected, response: Response
) -> Subscription:
    """Send the target of an `unverified` subscription another challenge. No effect if it is active.

    If `ENDPOINT_VERIFICATION` has been turned off since, the subscription becomes active at once.
    """
    return await _set_status(pb.SUBSCRIPTION_ACTION_VERIFY, subscription_id, services, response)


class Tested(models.Answer):
    """What became of a test event."""

    webhook_id: models.Uuid = Field(
        description="The `webhook-id` of the request.", examples=[models.EXAMPLE_DELIVERY_ID]
    )
    attempt: Attempt


@router.post(
    "/{subscription_id}/test",
    operation_id="test_subscription",
    summary="Send a test event to a subscription",
    response_description="The attempt, whether the receiver responded with 2xx or not.",
    responses=openapi.problems(404, described={409: _UNVERIFIED, 429: _TESTED_OFTEN}),
)
async def test_subscription(subscription_id: models.SubscriptionId, services: backends.Injected) -> Tested:
    """Send an event of the type `webhook.test` now, and wait for what the receiver responds.

    It is signed as every delivery is, and sent whether the subscription is active or not. It is no delivery: it is in
    no list and no statistics, is not retried, and does not count for the circuit breaker.
    """
    request = deliveries_pb2.TestSubscriptionRequest(subscription_id=subscription_id)
    answer = await services.call(services.deliveries.TestSubscription, request, timeout_seconds=TEST_TIMEOUT_SECONDS)
    return Tested(webhook_id=answer.webhook_id, attempt=Attempt(**attempt_fields(answer.attempt)))


@router.post(
    "/test",
    operation_id="test_new_subscription",
    summary="Try a subscription before it is created",
    response_description="The attempt, whether the receiver responded with 2xx or not.",
    responses=openapi.problems(*openapi.WITH_BODY, described={429: _TRIED_OFTEN}),
)
async def test_new_subscription(body: SubscriptionBody, services: backends.Injected) -> Tested:
    """Send an event of the type `webhook.test` to the target of a subscription that does not exist yet.

    The body is that of a create request, and is checked in the same way. The event is signed with its `secret_key`, or
    with one that is made for the test, and has its headers, its client certificate, and what its template makes. No
    subscription is created; what is secret is forgotten when the event was sent. Where targets have to answer a
    challenge first, nothing is sent, and the error of the attempt is `egress_denied`.
    """
    asked = pb.TestNewSubscriptionRequest(spec=subscription_bodies.spec(body))
    webhook_id = (await services.call(services.subscriptions.TestNewSubscription, asked)).webhook_id
    request = deliveries_pb2.GetSubscriptionTestRequest(webhook_id=webhook_id)
    answer = await services.call(services.deliveries.GetSubscriptionTest, request, timeout_seconds=TEST_TIMEOUT_SECONDS)
    return Tested(webhook_id=webhook_id, attempt=Attempt(**attempt_fields(answer.attempt)))


async def _set_status(
    action: pb.SubscriptionAction.ValueType, subscription_id: str, services: backends.Backends, response: Response
) -> Subscription:
    request = pb.SetSubscriptionStatusRequest(subscription_id=subscription_id, action=action)
    answer = await services.call(services.subscriptions.SetSubscriptionStatus, request)
    return _answered(answer.subscription, response)


def _answered(message: pb.Subscription, response: Response) -> Subscription:
    response.headers["etag"] = etags.of(message)
    return Subscription(**subscription_bodies.fields(message))
