"""The operations of the REST API, asynchronous.

Generated from the OpenAPI document by `make generate`; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from msgspec import UNSET, UnsetType

from webhook_service.calls import Call, segment
from webhook_service.async_transport import AsyncPages, AsyncResource, AsyncTransport
from webhook_service.models import (
    Action,
    ApiKey,
    ApiKeyPage,
    AuditEntry,
    AuditPage,
    BatchResults,
    BatchedEvent,
    CancelledEvent,
    Capability,
    CatalogDocument,
    CatalogFormat,
    CatalogImport,
    ClientCertificateBody,
    CreatedApiKey,
    CreatedSubscription,
    Delivery,
    DeliveryPage,
    DeliveryReason,
    DeliveryScheme,
    DeliveryStatus,
    DeliverySummary,
    DeliverySummaryPage,
    Destination,
    Event,
    EventAccepted,
    EventSummary,
    EventType,
    EventTypePage,
    EventTypeStatus,
    EventTypeVersion,
    EventTypeVersionList,
    FilterCheck,
    FilterOnError,
    FoundDeliveries,
    FoundEvents,
    Handshake,
    IngestToken,
    Job,
    JobFilter,
    JobKind,
    JobPage,
    JobPreview,
    JobStatus,
    ListOrder,
    PortalCapability,
    PortalLink,
    PortalLookPatch,
    PublicKeys,
    PullResult,
    PulledDeliveries,
    QuotasBody,
    Recovered,
    Refusals,
    ReplayedEvents,
    ReportedResults,
    ResourceType,
    RetryPolicyBody,
    Role,
    Rotated,
    Route,
    RoutePage,
    SchemaComparison,
    SearchedHold,
    SecretScheme,
    Session,
    SessionPage,
    Stats,
    StatsGrouping,
    StatsOverTime,
    StatsStep,
    Subscription,
    SubscriptionKind,
    SubscriptionPage,
    SummaryGroup,
    System,
    TemplateBody,
    TemplateEvent,
    TemplatePreview,
    Tenant,
    TenantPage,
    Tested,
    TriedEvent,
    Validation,
    Verification,
    WebhookAccepted,
)


class AsyncWebhooksResource(AsyncResource):
    """Operations on webhooks."""

    async def send(
        self,
        subscription_id: str,
        body: bytes | str,
        *,
        content_type: str = "application/json",
        event_type: str | None = None,
        hub_signature: str | None = None,
        content_encoding: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Handshake | WebhookAccepted:
        """Send a webhook to a subscription.

        The body `{"payload": …}` delivers the exact bytes of the value as `application/json`,
        whatever the Content-Type. Any other body is the payload itself and is delivered with its
        own Content-Type, so that webhooks of GitHub and others can be sent here. Without a
        Content-Type it is `application/json` if it is valid JSON, else `application/octet-stream`.
        A body that is empty, begins with a byte order mark, or has a `Content-Encoding` is
        delivered unchanged, with that encoding.

        Without `X-Event-Type` no filter applies, unless `verify` names a provider: an event without
        a readable type is then delivered only by subscriptions without `event_types`. If the
        subscription does not include the type, the response has status `filtered` and nothing is
        delivered; this is also the response while the subscription is disabled and
        `keep_when_disabled` is false.

        The subscription's `verify` determines which signature the request must have:
        `Stripe-Signature`, `X-Shopify-Hmac-Sha256`, `X-Slack-Signature` with
        `X-Slack-Request-Timestamp`, or `webhook-signature` with `webhook-id` and
        `webhook-timestamp`; timestamps may differ by 5 minutes. The event's type is then the
        provider's, and a repeated request of the provider gets the same response and is delivered
        once; `X-Event-Type` and `Idempotency-Key` apply if the provider sends no type or id.
        """
        call = Call(
            "POST",
            f"/api/v1/webhooks/ingest/{segment(subscription_id)}",
            responses={200: Handshake, 202: WebhookAccepted},
            raw=body,
            content_type=content_type,
            headers={
                "X-Event-Type": event_type,
                "X-Hub-Signature-256": hub_signature,
                "Content-Encoding": content_encoding,
                "X-Webhook-Tags": tags,
                "X-Webhook-Event-Version": event_version,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Handshake | WebhookAccepted", await self._transport.call(call))

    async def send_with_token(
        self,
        subscription_id: str,
        token: str,
        body: bytes | str,
        *,
        content_type: str = "application/json",
        event_type: str | None = None,
        hub_signature: str | None = None,
        content_encoding: str | None = None,
        tags: Mapping[str, str] | None = None,
        event_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Handshake | WebhookAccepted:
        """Send a webhook with an ingest token.

        Like the operation without a token, but needs no API key: the token allows sending to this
        one subscription. An invalid token gets the same response as an unknown subscription.
        """
        call = Call(
            "POST",
            f"/api/v1/webhooks/ingest/{segment(subscription_id)}/{segment(token)}",
            responses={200: Handshake, 202: WebhookAccepted},
            raw=body,
            content_type=content_type,
            headers={
                "X-Event-Type": event_type,
                "X-Hub-Signature-256": hub_signature,
                "Content-Encoding": content_encoding,
                "X-Webhook-Tags": tags,
                "X-Webhook-Event-Version": event_version,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Handshake | WebhookAccepted", await self._transport.call(call))


class AsyncEventsResource(AsyncResource):
    """Operations on events."""

    async def publish(
        self,
        event_type: str,
        payload: Any,
        *,
        event_version: int | None | UnsetType = UNSET,
        tags: Mapping[str, str] | UnsetType = UNSET,
        deliver_at: datetime | str | UnsetType = UNSET,
        delay_seconds: int | None | UnsetType = UNSET,
        deliver_within_seconds: int | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> EventAccepted:
        """Publish an event.

        The payload is stored once, with a delivery for each subscription to its type that was
        created before. Its exact bytes are delivered as `application/json`.

        If the event goes to more than 100 subscriptions, its deliveries are created after the
        response, which has `expanding: true` in place of `deliveries`. `get_event` tells when that
        is done.

        With `deliver_at` or `delay_seconds` the event is scheduled: the response has `deliver_at`
        in place of `deliveries`, and the event goes to the subscriptions that match it when it is
        due. `cancel_event` cancels it until then.

        Give tags in the body or in `X-Webhook-Tags`, not in both.
        """
        call = Call(
            "POST",
            "/api/v1/events",
            responses={202: EventAccepted},
            body={
                "event_type": event_type,
                "payload": payload,
                "event_version": event_version,
                "tags": tags,
                "deliver_at": deliver_at,
                "delay_seconds": delay_seconds,
                "deliver_within_seconds": deliver_within_seconds,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("EventAccepted", await self._transport.call(call))

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        event_type: Sequence[str] | None = None,
        idempotency_key: Sequence[str] | None = None,
        provider_id: Sequence[str] | None = None,
        tag: Sequence[str] | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
        order: ListOrder | str | None = None,
        scheduled: bool | None = None,
    ) -> AsyncPages[EventSummary]:
        """Search events.

        Find events, newest first, without payloads.

        Give a parameter several times to find what has one of the values; different parameters must
        all match. Events are ordered by when they were accepted, so a cursor stays valid while
        others arrive.
        """
        call = Call(
            "GET",
            "/api/v1/events",
            responses={200: FoundEvents},
            query={
                "limit": limit,
                "cursor": cursor,
                "event_type": event_type,
                "idempotency_key": idempotency_key,
                "provider_id": provider_id,
                "tag": tag,
                "from": from_,
                "to": to,
                "order": order,
                "scheduled": scheduled,
            },
            reads=True,
        )
        return AsyncPages(self._transport, call, FoundEvents)

    async def publish_batch(
        self, events: Sequence[BatchedEvent | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> BatchResults:
        """Publish a batch of events.

        Publishes up to 1,000 events, in a body of up to 8 MiB, as if each was published on its own:
        some may be stored and others refused. Their exact payload bytes are delivered.

        `results` has, in the order of the events, the response to each, or an `error`, which is a
        problem document. If its `status` is 429 or 503, or its `reason` is
        `IDEMPOTENCY_KEY_IN_USE`, send the event again after a second.
        """
        call = Call(
            "POST",
            "/api/v1/events/batch",
            responses={200: BatchResults},
            body={"events": events},
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("BatchResults", await self._transport.call(call))

    async def get(self, event_id: str) -> Event:
        """Get an event.

        Get an event with the exact bytes of its payload.

        Returns 404 if it is no longer retained, and 410 if it was erased.
        """
        call = Call("GET", f"/api/v1/events/{segment(event_id)}", responses={200: Event}, reads=True)
        return cast("Event", await self._transport.call(call))

    async def cancel(self, event_id: str) -> CancelledEvent:
        """Cancel a scheduled event.

        Cancel an event that is scheduled: it is deleted, and never delivered.

        A repeated request has the same response. Once the event is due, cancel its deliveries
        instead.
        """
        call = Call("POST", f"/api/v1/events/{segment(event_id)}/cancel", responses={200: CancelledEvent})
        return cast("CancelledEvent", await self._transport.call(call))

    def routing(
        self, event_id: str, *, limit: int | None = None, cursor: str | None = None, subscription_id: str | None = None
    ) -> AsyncPages[Route]:
        """Explain which subscriptions got an event.

        List the subscriptions that are not deleted, with why each got the event or did not.

        The reasons are found again from the event's deliveries and from the subscriptions as they
        are now.
        """
        call = Call(
            "GET",
            f"/api/v1/events/{segment(event_id)}/routing",
            responses={200: RoutePage},
            query={"limit": limit, "cursor": cursor, "subscription_id": subscription_id},
            reads=True,
        )
        return AsyncPages(self._transport, call, RoutePage)

    def deliveries(
        self,
        event_id: str,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        status: DeliveryStatus | str | None = None,
    ) -> AsyncPages[DeliverySummary]:
        """List deliveries of an event.

        List deliveries, without attempts.
        """
        call = Call(
            "GET",
            f"/api/v1/events/{segment(event_id)}/deliveries",
            responses={200: DeliveryPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "status": status},
            reads=True,
        )
        return AsyncPages(self._transport, call, DeliveryPage)


class AsyncSubscriptionsResource(AsyncResource):
    """Operations on subscriptions."""

    async def create(
        self,
        *,
        destination: Destination | str | None | UnsetType = UNSET,
        expires_after_idle_seconds: int | None | UnsetType = UNSET,
        target_url: str | None | UnsetType = UNSET,
        secret_key: str | None | UnsetType = UNSET,
        signature_scheme: DeliveryScheme | str | None | UnsetType = UNSET,
        event_types: Sequence[str] | UnsetType = UNSET,
        filter: str | None | UnsetType = UNSET,
        filter_on_error: FilterOnError | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        name: str | None | UnsetType = UNSET,
        metadata: Mapping[str, str] | None | UnsetType = UNSET,
        tag_paths: Mapping[str, str] | None | UnsetType = UNSET,
        keep_when_disabled: bool | UnsetType = UNSET,
        rate_limit_per_second: float | None | UnsetType = UNSET,
        rate_limit_burst: int | None | UnsetType = UNSET,
        timeout_seconds: float | None | UnsetType = UNSET,
        retry_policy: RetryPolicyBody | Mapping[str, Any] | None | UnsetType = UNSET,
        headers: Mapping[str, str] | None | UnsetType = UNSET,
        verify: Verification | str | None | UnsetType = UNSET,
        verification_secrets: Sequence[str] | None | UnsetType = UNSET,
        relay_headers: bool | None | UnsetType = UNSET,
        kind: SubscriptionKind | str | None | UnsetType = UNSET,
        template: TemplateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        template_secrets: Mapping[str, Any] | None | UnsetType = UNSET,
        event_versions: Mapping[str, int] | None | UnsetType = UNSET,
        client_certificate: ClientCertificateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> CreatedSubscription:
        """Create a subscription.

        Create a subscription. It receives matching events that are accepted after this response.

        If `secret_key` is absent, a secret is generated. Only this response shows it; an `ed25519`
        private key is never shown.
        """
        call = Call(
            "POST",
            "/api/v1/subscriptions",
            responses={201: CreatedSubscription},
            body={
                "destination": destination,
                "expires_after_idle_seconds": expires_after_idle_seconds,
                "target_url": target_url,
                "secret_key": secret_key,
                "signature_scheme": signature_scheme,
                "event_types": event_types,
                "filter": filter,
                "filter_on_error": filter_on_error,
                "description": description,
                "name": name,
                "metadata": metadata,
                "tag_paths": tag_paths,
                "keep_when_disabled": keep_when_disabled,
                "rate_limit_per_second": rate_limit_per_second,
                "rate_limit_burst": rate_limit_burst,
                "timeout_seconds": timeout_seconds,
                "retry_policy": retry_policy,
                "headers": headers,
                "verify": verify,
                "verification_secrets": verification_secrets,
                "relay_headers": relay_headers,
                "kind": kind,
                "template": template,
                "template_secrets": template_secrets,
                "event_versions": event_versions,
                "client_certificate": client_certificate,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("CreatedSubscription", await self._transport.call(call))

    def list(
        self,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        name: str | None = None,
        metadata: Sequence[str] | None = None,
    ) -> AsyncPages[Subscription]:
        """List subscriptions.

        List the subscriptions that are not deleted, newest first.
        """
        call = Call(
            "GET",
            "/api/v1/subscriptions",
            responses={200: SubscriptionPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "name": name, "metadata": metadata},
            reads=True,
        )
        return AsyncPages(self._transport, call, SubscriptionPage)

    async def get(self, subscription_id: str) -> Subscription:
        """Get a subscription.

        Return one subscription; 404 once it is deleted.
        """
        call = Call(
            "GET", f"/api/v1/subscriptions/{segment(subscription_id)}", responses={200: Subscription}, reads=True
        )
        return cast("Subscription", await self._transport.call(call))

    async def replace(
        self,
        subscription_id: str,
        *,
        destination: Destination | str | None | UnsetType = UNSET,
        expires_after_idle_seconds: int | None | UnsetType = UNSET,
        target_url: str | None | UnsetType = UNSET,
        secret_key: str | None | UnsetType = UNSET,
        signature_scheme: DeliveryScheme | str | None | UnsetType = UNSET,
        event_types: Sequence[str] | UnsetType = UNSET,
        filter: str | None | UnsetType = UNSET,
        filter_on_error: FilterOnError | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        name: str | None | UnsetType = UNSET,
        metadata: Mapping[str, str] | None | UnsetType = UNSET,
        tag_paths: Mapping[str, str] | None | UnsetType = UNSET,
        keep_when_disabled: bool | UnsetType = UNSET,
        rate_limit_per_second: float | None | UnsetType = UNSET,
        rate_limit_burst: int | None | UnsetType = UNSET,
        timeout_seconds: float | None | UnsetType = UNSET,
        retry_policy: RetryPolicyBody | Mapping[str, Any] | None | UnsetType = UNSET,
        headers: Mapping[str, str] | None | UnsetType = UNSET,
        verify: Verification | str | None | UnsetType = UNSET,
        verification_secrets: Sequence[str] | None | UnsetType = UNSET,
        relay_headers: bool | None | UnsetType = UNSET,
        kind: SubscriptionKind | str | None | UnsetType = UNSET,
        template: TemplateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        template_secrets: Mapping[str, Any] | None | UnsetType = UNSET,
        event_versions: Mapping[str, int] | None | UnsetType = UNSET,
        client_certificate: ClientCertificateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        if_match: str | None = None,
    ) -> Subscription:
        """Replace a subscription.

        Replace all fields with the body of a create request. An absent field gets its default, with
        these exceptions.

        If `secret_key`, `headers`, `verification_secrets`, `client_certificate`, or
        `template_secrets` is absent, the stored value is kept; null removes it. If
        `signature_scheme` or `verify` is absent or null, the stored value is kept. `event_types` is
        required if the subscription is limited to some types. The status and the `kind` never
        change. To change only some fields, use PATCH.
        """
        call = Call(
            "PUT",
            f"/api/v1/subscriptions/{segment(subscription_id)}",
            responses={200: Subscription},
            body={
                "destination": destination,
                "expires_after_idle_seconds": expires_after_idle_seconds,
                "target_url": target_url,
                "secret_key": secret_key,
                "signature_scheme": signature_scheme,
                "event_types": event_types,
                "filter": filter,
                "filter_on_error": filter_on_error,
                "description": description,
                "name": name,
                "metadata": metadata,
                "tag_paths": tag_paths,
                "keep_when_disabled": keep_when_disabled,
                "rate_limit_per_second": rate_limit_per_second,
                "rate_limit_burst": rate_limit_burst,
                "timeout_seconds": timeout_seconds,
                "retry_policy": retry_policy,
                "headers": headers,
                "verify": verify,
                "verification_secrets": verification_secrets,
                "relay_headers": relay_headers,
                "kind": kind,
                "template": template,
                "template_secrets": template_secrets,
                "event_versions": event_versions,
                "client_certificate": client_certificate,
            },
            headers={"If-Match": if_match},
        )
        return cast("Subscription", await self._transport.call(call))

    async def update(
        self,
        subscription_id: str,
        *,
        destination: Destination | str | None | UnsetType = UNSET,
        expires_after_idle_seconds: int | None | UnsetType = UNSET,
        target_url: str | None | UnsetType = UNSET,
        secret_key: str | None | UnsetType = UNSET,
        signature_scheme: DeliveryScheme | str | None | UnsetType = UNSET,
        event_types: Sequence[str] | None | UnsetType = UNSET,
        filter: str | None | UnsetType = UNSET,
        filter_on_error: FilterOnError | str | None | UnsetType = UNSET,
        description: str | None | UnsetType = UNSET,
        name: str | None | UnsetType = UNSET,
        metadata: Mapping[str, str | None] | None | UnsetType = UNSET,
        tag_paths: Mapping[str, str | None] | None | UnsetType = UNSET,
        keep_when_disabled: bool | None | UnsetType = UNSET,
        rate_limit_per_second: float | None | UnsetType = UNSET,
        rate_limit_burst: int | None | UnsetType = UNSET,
        timeout_seconds: float | None | UnsetType = UNSET,
        retry_policy: RetryPolicyBody | Mapping[str, Any] | None | UnsetType = UNSET,
        headers: Mapping[str, str | None] | None | UnsetType = UNSET,
        verify: Verification | str | None | UnsetType = UNSET,
        verification_secrets: Sequence[str] | None | UnsetType = UNSET,
        relay_headers: bool | None | UnsetType = UNSET,
        kind: SubscriptionKind | str | None | UnsetType = UNSET,
        template: TemplateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        template_secrets: Mapping[str, Any] | None | UnsetType = UNSET,
        event_versions: Mapping[str, int] | None | UnsetType = UNSET,
        client_certificate: ClientCertificateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        if_match: str | None = None,
    ) -> Subscription:
        """Update some fields of a subscription.

        Apply a JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).

        An absent field keeps its value, and null resets it to its default or removes it. `headers`,
        `metadata`, `tag_paths`, and `retry_policy` are merged field by field: `{"headers":
        {"X-Old": null}}` removes one header and keeps the others.
        """
        call = Call(
            "PATCH",
            f"/api/v1/subscriptions/{segment(subscription_id)}",
            responses={200: Subscription},
            body={
                "destination": destination,
                "expires_after_idle_seconds": expires_after_idle_seconds,
                "target_url": target_url,
                "secret_key": secret_key,
                "signature_scheme": signature_scheme,
                "event_types": event_types,
                "filter": filter,
                "filter_on_error": filter_on_error,
                "description": description,
                "name": name,
                "metadata": metadata,
                "tag_paths": tag_paths,
                "keep_when_disabled": keep_when_disabled,
                "rate_limit_per_second": rate_limit_per_second,
                "rate_limit_burst": rate_limit_burst,
                "timeout_seconds": timeout_seconds,
                "retry_policy": retry_policy,
                "headers": headers,
                "verify": verify,
                "verification_secrets": verification_secrets,
                "relay_headers": relay_headers,
                "kind": kind,
                "template": template,
                "template_secrets": template_secrets,
                "event_versions": event_versions,
                "client_certificate": client_certificate,
            },
            headers={"If-Match": if_match},
        )
        return cast("Subscription", await self._transport.call(call))

    async def delete(self, subscription_id: str, *, if_match: str | None = None) -> None:
        """Delete a subscription.

        Delete a subscription and cancel its waiting deliveries. Its history stays readable.
        """
        call = Call(
            "DELETE",
            f"/api/v1/subscriptions/{segment(subscription_id)}",
            responses={204: None},
            headers={"If-Match": if_match},
        )
        return cast("None", await self._transport.call(call))

    async def disable(self, subscription_id: str) -> Subscription:
        """Disable a subscription.

        Stop deliveries until the subscription is enabled. Waiting deliveries are kept.

        New events are stored for it unless `keep_when_disabled` is false. No effect if it is
        already disabled.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/disable", responses={200: Subscription})
        return cast("Subscription", await self._transport.call(call))

    async def enable(self, subscription_id: str) -> Subscription:
        """Enable a subscription.

        Enable a disabled subscription, with its breaker closed. Waiting deliveries are sent.

        No effect if it is already active.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/enable", responses={200: Subscription})
        return cast("Subscription", await self._transport.call(call))

    async def pause(self, subscription_id: str) -> Subscription:
        """Pause a subscription.

        Pause deliveries until the subscription is resumed. Events are stored meanwhile. No effect
        if already paused.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/pause", responses={200: Subscription})
        return cast("Subscription", await self._transport.call(call))

    async def resume(self, subscription_id: str) -> Subscription:
        """Resume a subscription.

        Resume a paused subscription. Waiting deliveries are sent. No effect if it is already
        active.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/resume", responses={200: Subscription})
        return cast("Subscription", await self._transport.call(call))

    async def verify(self, subscription_id: str) -> Subscription:
        """Check the target of a subscription again.

        Send the target of an `unverified` subscription another challenge. No effect if it is
        active.

        If `ENDPOINT_VERIFICATION` has been turned off since, the subscription becomes active at
        once.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/verify", responses={200: Subscription})
        return cast("Subscription", await self._transport.call(call))

    async def test(self, subscription_id: str) -> Tested:
        """Send a test event to a subscription.

        Send an event of the type `webhook.test` now, and wait for what the receiver responds.

        It is signed as every delivery is, and sent whether the subscription is active or not. It is
        no delivery: it is in no list and no statistics, is not retried, and does not count for the
        circuit breaker.
        """
        call = Call("POST", f"/api/v1/subscriptions/{segment(subscription_id)}/test", responses={200: Tested})
        return cast("Tested", await self._transport.call(call))

    async def test_new(
        self,
        *,
        destination: Destination | str | None | UnsetType = UNSET,
        expires_after_idle_seconds: int | None | UnsetType = UNSET,
        target_url: str | None | UnsetType = UNSET,
        secret_key: str | None | UnsetType = UNSET,
        signature_scheme: DeliveryScheme | str | None | UnsetType = UNSET,
        event_types: Sequence[str] | UnsetType = UNSET,
        filter: str | None | UnsetType = UNSET,
        filter_on_error: FilterOnError | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        name: str | None | UnsetType = UNSET,
        metadata: Mapping[str, str] | None | UnsetType = UNSET,
        tag_paths: Mapping[str, str] | None | UnsetType = UNSET,
        keep_when_disabled: bool | UnsetType = UNSET,
        rate_limit_per_second: float | None | UnsetType = UNSET,
        rate_limit_burst: int | None | UnsetType = UNSET,
        timeout_seconds: float | None | UnsetType = UNSET,
        retry_policy: RetryPolicyBody | Mapping[str, Any] | None | UnsetType = UNSET,
        headers: Mapping[str, str] | None | UnsetType = UNSET,
        verify: Verification | str | None | UnsetType = UNSET,
        verification_secrets: Sequence[str] | None | UnsetType = UNSET,
        relay_headers: bool | None | UnsetType = UNSET,
        kind: SubscriptionKind | str | None | UnsetType = UNSET,
        template: TemplateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        template_secrets: Mapping[str, Any] | None | UnsetType = UNSET,
        event_versions: Mapping[str, int] | None | UnsetType = UNSET,
        client_certificate: ClientCertificateBody | Mapping[str, Any] | None | UnsetType = UNSET,
    ) -> Tested:
        """Try a subscription before it is created.

        Send an event of the type `webhook.test` to the target of a subscription that does not exist
        yet.

        The body is that of a create request, and is checked in the same way. The event is signed
        with its `secret_key`, or with one that is made for the test, and has its headers, its
        client certificate, and what its template makes. No subscription is created; what is secret
        is forgotten when the event was sent. Where targets have to answer a challenge first,
        nothing is sent, and the error of the attempt is `egress_denied`.
        """
        call = Call(
            "POST",
            "/api/v1/subscriptions/test",
            responses={200: Tested},
            body={
                "destination": destination,
                "expires_after_idle_seconds": expires_after_idle_seconds,
                "target_url": target_url,
                "secret_key": secret_key,
                "signature_scheme": signature_scheme,
                "event_types": event_types,
                "filter": filter,
                "filter_on_error": filter_on_error,
                "description": description,
                "name": name,
                "metadata": metadata,
                "tag_paths": tag_paths,
                "keep_when_disabled": keep_when_disabled,
                "rate_limit_per_second": rate_limit_per_second,
                "rate_limit_burst": rate_limit_burst,
                "timeout_seconds": timeout_seconds,
                "retry_policy": retry_policy,
                "headers": headers,
                "verify": verify,
                "verification_secrets": verification_secrets,
                "relay_headers": relay_headers,
                "kind": kind,
                "template": template,
                "template_secrets": template_secrets,
                "event_versions": event_versions,
                "client_certificate": client_certificate,
            },
        )
        return cast("Tested", await self._transport.call(call))

    async def rotate_secret(
        self,
        subscription_id: str,
        *,
        secret_key: str | None | UnsetType = UNSET,
        signature_scheme: SecretScheme | str | None | UnsetType = UNSET,
        overlap_hours: float | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> Rotated:
        """Replace the signing secret.

        Replace the secret. The old ones stay valid for a while.

        Until then, `webhook-signature` carries a signature of each, newest first, and inbound
        webhooks signed with any of them are accepted. `X-Hub-Signature-256` carries one signature:
        of the newest secret that is not `ed25519`. At most 10 old secrets are kept. To change the
        scheme, set `signature_scheme`.
        """
        call = Call(
            "POST",
            f"/api/v1/subscriptions/{segment(subscription_id)}/rotate-secret",
            responses={200: Rotated},
            body={"secret_key": secret_key, "signature_scheme": signature_scheme, "overlap_hours": overlap_hours},
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Rotated", await self._transport.call(call))

    async def public_keys(self, subscription_id: str) -> PublicKeys:
        """List the public keys that verify deliveries.

        List the public keys that receivers need to verify `ed25519` signatures.

        While a rotation overlaps there are several, and a delivery carries a signature of each.
        Empty for `hmac-sha256`.
        """
        call = Call(
            "GET",
            f"/api/v1/subscriptions/{segment(subscription_id)}/public-keys",
            responses={200: PublicKeys},
            reads=True,
        )
        return cast("PublicKeys", await self._transport.call(call))

    async def create_ingest_token(self, subscription_id: str, *, idempotency_key: str | None = None) -> IngestToken:
        """Create an ingest token.

        Create a token for the path of webhooks to this subscription. It replaces the previous one.

        The token only allows sending events to this subscription.
        """
        call = Call(
            "POST",
            f"/api/v1/subscriptions/{segment(subscription_id)}/ingest-token",
            responses={201: IngestToken},
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("IngestToken", await self._transport.call(call))

    async def delete_ingest_token(self, subscription_id: str) -> None:
        """Delete the ingest token.

        Delete the ingest token. Requests with it then return 404.
        """
        call = Call("DELETE", f"/api/v1/subscriptions/{segment(subscription_id)}/ingest-token", responses={204: None})
        return cast("None", await self._transport.call(call))

    def deliveries(
        self,
        subscription_id: str,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        status: DeliveryStatus | str | None = None,
    ) -> AsyncPages[DeliverySummary]:
        """List deliveries to a subscription.

        List deliveries, newest first, without attempts. Also works for a deleted subscription.
        """
        call = Call(
            "GET",
            f"/api/v1/subscriptions/{segment(subscription_id)}/deliveries",
            responses={200: DeliveryPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "status": status},
            reads=True,
        )
        return AsyncPages(self._transport, call, DeliveryPage)

    async def pull(
        self,
        subscription_id: str,
        *,
        max_deliveries: int | UnsetType = UNSET,
        wait_seconds: float | UnsetType = UNSET,
        lease_seconds: float | UnsetType = UNSET,
    ) -> PulledDeliveries:
        """Pull deliveries.

        Lease due deliveries of a subscription whose `destination` is `pull`, the longest due first.

        Report what became of each. One whose lease expires without a result has a failed attempt,
        and is retried by the retry policy. While the subscription is paused or disabled there are
        none.
        """
        call = Call(
            "POST",
            f"/api/v1/subscriptions/{segment(subscription_id)}/pull",
            responses={200: PulledDeliveries},
            body={"max_deliveries": max_deliveries, "wait_seconds": wait_seconds, "lease_seconds": lease_seconds},
            wait_seconds=wait_seconds,
        )
        return cast("PulledDeliveries", await self._transport.call(call))

    async def report(self, subscription_id: str, results: Sequence[PullResult | Mapping[str, Any]]) -> ReportedResults:
        """Report what became of pulled deliveries.

        Record results, each for itself. A repeated request changes nothing, and gets the same
        response.
        """
        call = Call(
            "POST",
            f"/api/v1/subscriptions/{segment(subscription_id)}/pull/results",
            responses={200: ReportedResults},
            body={"results": results},
        )
        return cast("ReportedResults", await self._transport.call(call))

    async def recover(
        self,
        subscription_id: str,
        from_: datetime | str,
        *,
        to: datetime | str | None | UnsetType = UNSET,
        only: Recovered | str | UnsetType = UNSET,
        rate_per_second: int | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> Job:
        """Recover what a subscription did not get.

        Create a job for what one subscription did not get in a time.

        It retries deliveries that failed, or replays events: those that the subscription has no
        delivery of, or all that it wants. Events that were sent only to another subscription are
        not among them.
        """
        call = Call(
            "POST",
            f"/api/v1/subscriptions/{segment(subscription_id)}/recover",
            responses={202: Job},
            body={"from": from_, "to": to, "only": only, "rate_per_second": rate_per_second},
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Job", await self._transport.call(call))

    async def stats(self, subscription_id: str, *, tenant: str | None = None, window: str | None = None) -> Stats:
        """Get statistics of a subscription.

        Get statistics of one subscription over a window that ends now. Also works for a deleted
        subscription.
        """
        call = Call(
            "GET",
            f"/api/v1/subscriptions/{segment(subscription_id)}/stats",
            responses={200: Stats},
            query={"tenant": tenant, "window": window},
            reads=True,
        )
        return cast("Stats", await self._transport.call(call))


class AsyncTemplatesResource(AsyncResource):
    """Operations on templates."""

    async def preview(
        self,
        *,
        template: TemplateBody | Mapping[str, Any] | None | UnsetType = UNSET,
        template_secrets: Mapping[str, Any] | None | UnsetType = UNSET,
        event: TemplateEvent | Mapping[str, Any] | None | UnsetType = UNSET,
        event_id: str | None | UnsetType = UNSET,
        subscription_id: str | None | UnsetType = UNSET,
    ) -> TemplatePreview:
        """Preview a template.

        Render a template from an event, without storing or sending anything.

        A template that fails is a response with `error`, not an error. Stored secrets are never
        used.
        """
        call = Call(
            "POST",
            "/api/v1/templates/preview",
            responses={200: TemplatePreview},
            body={
                "template": template,
                "template_secrets": template_secrets,
                "event": event,
                "event_id": event_id,
                "subscription_id": subscription_id,
            },
        )
        return cast("TemplatePreview", await self._transport.call(call))


class AsyncEventTypesResource(AsyncResource):
    """Operations on event types."""

    async def create(
        self,
        schema: Mapping[str, Any],
        name: str,
        *,
        status: EventTypeStatus | str | UnsetType = UNSET,
        sunset_at: datetime | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        example: Any | UnsetType = UNSET,
        down_conversion: str | None | UnsetType = UNSET,
        validation: Validation | str | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> EventType:
        """Create an event type.

        Add an event type to the catalog, with version 1 of its schema.
        """
        call = Call(
            "POST",
            "/api/v1/event-types",
            responses={201: EventType},
            body={
                "schema": schema,
                "name": name,
                "status": status,
                "sunset_at": sunset_at,
                "description": description,
                "example": example,
                "down_conversion": down_conversion,
                "validation": validation,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("EventType", await self._transport.call(call))

    def list(
        self, *, limit: int | None = None, cursor: str | None = None, name: str | None = None
    ) -> AsyncPages[EventType]:
        """List event types.

        List the event types of the catalog by name, or look one up by its name.
        """
        call = Call(
            "GET",
            "/api/v1/event-types",
            responses={200: EventTypePage},
            query={"limit": limit, "cursor": cursor, "name": name},
            reads=True,
        )
        return AsyncPages(self._transport, call, EventTypePage)

    async def get(self, event_type_id: str) -> EventType:
        """Get an event type.

        Return an event type with its newest version.
        """
        call = Call("GET", f"/api/v1/event-types/{segment(event_type_id)}", responses={200: EventType}, reads=True)
        return cast("EventType", await self._transport.call(call))

    async def update(
        self,
        event_type_id: str,
        *,
        description: str | UnsetType = UNSET,
        validation: Validation | str | None | UnsetType = UNSET,
    ) -> EventType:
        """Change an event type.

        Change the description or the validation of an event type.
        """
        call = Call(
            "PATCH",
            f"/api/v1/event-types/{segment(event_type_id)}",
            responses={200: EventType},
            body={"description": description, "validation": validation},
        )
        return cast("EventType", await self._transport.call(call))

    async def delete(self, event_type_id: str) -> None:
        """Delete an event type.

        Delete an event type with its versions. Its events stay, and new ones are not validated.
        """
        call = Call("DELETE", f"/api/v1/event-types/{segment(event_type_id)}", responses={204: None})
        return cast("None", await self._transport.call(call))

    async def create_version(
        self,
        event_type_id: str,
        schema: Mapping[str, Any],
        *,
        status: EventTypeStatus | str | UnsetType = UNSET,
        sunset_at: datetime | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        example: Any | UnsetType = UNSET,
        down_conversion: str | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> EventTypeVersion:
        """Add a version.

        Add the next version to an event type. If it is `live`, events are validated against it from
        now on.
        """
        call = Call(
            "POST",
            f"/api/v1/event-types/{segment(event_type_id)}/versions",
            responses={201: EventTypeVersion},
            body={
                "schema": schema,
                "status": status,
                "sunset_at": sunset_at,
                "description": description,
                "example": example,
                "down_conversion": down_conversion,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("EventTypeVersion", await self._transport.call(call))

    async def list_versions(self, event_type_id: str) -> EventTypeVersionList:
        """List the versions of an event type.

        Return all versions of an event type, of which there are at most 50.
        """
        call = Call(
            "GET",
            f"/api/v1/event-types/{segment(event_type_id)}/versions",
            responses={200: EventTypeVersionList},
            reads=True,
        )
        return cast("EventTypeVersionList", await self._transport.call(call))

    async def check_version(
        self, event_type_id: str, schema: Mapping[str, Any], *, version: int | None | UnsetType = UNSET
    ) -> SchemaComparison:
        """Compare a schema with a version.

        List what would be breaking in a new version: what lets through payloads that the version
        promises not to have.

        A member that is no longer required, a new value of an enum, and a wider range are breaking;
        a new member is not. Nothing is stored.
        """
        call = Call(
            "POST",
            f"/api/v1/event-types/{segment(event_type_id)}/versions/check",
            responses={200: SchemaComparison},
            body={"schema": schema, "version": version},
        )
        return cast("SchemaComparison", await self._transport.call(call))

    async def get_version(self, event_type_id: str, number: str) -> EventTypeVersion:
        """Get a version.

        Return a version of an event type.
        """
        call = Call(
            "GET",
            f"/api/v1/event-types/{segment(event_type_id)}/versions/{segment(number)}",
            responses={200: EventTypeVersion},
            reads=True,
        )
        return cast("EventTypeVersion", await self._transport.call(call))

    async def update_version(
        self,
        event_type_id: str,
        number: str,
        *,
        schema: Mapping[str, Any] | None | UnsetType = UNSET,
        status: EventTypeStatus | str | UnsetType = UNSET,
        sunset_at: datetime | str | None | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        example: Any | UnsetType = UNSET,
        down_conversion: str | None | UnsetType = UNSET,
    ) -> EventTypeVersion:
        """Change a version.

        Publish a draft, deprecate a version, or change what is said about it. A published schema
        never changes.
        """
        call = Call(
            "PATCH",
            f"/api/v1/event-types/{segment(event_type_id)}/versions/{segment(number)}",
            responses={200: EventTypeVersion},
            body={
                "schema": schema,
                "status": status,
                "sunset_at": sunset_at,
                "description": description,
                "example": example,
                "down_conversion": down_conversion,
            },
        )
        return cast("EventTypeVersion", await self._transport.call(call))


class AsyncCatalogResource(AsyncResource):
    """Operations on catalog."""

    async def export_document(
        self, *, format: CatalogFormat | str | None = None, event_type: Sequence[str] | None = None
    ) -> CatalogDocument:
        """Export the catalog.

        Describe the current versions of event types in a format that code generators and
        documentation pages read.

        Event types that have only drafts are left out. 422 if the document would have more than 2
        MiB: then select fewer with `event_type`.
        """
        call = Call(
            "GET",
            "/api/v1/catalog",
            responses={200: CatalogDocument},
            query={"format": format, "event_type": event_type},
            reads=True,
        )
        return cast("CatalogDocument", await self._transport.call(call))

    async def import_document(self, document: Mapping[str, Any], *, dry_run: bool | UnsetType = UNSET) -> CatalogImport:
        """Import a document to the catalog.

        Create event types and versions from an OpenAPI or AsyncAPI document, as requests one by one
        would.

        After that, the current version of each event type is as in the document; importing it again
        changes nothing. Event types that are refused do not keep others from being imported, and
        event types that are not in the document stay.
        """
        call = Call(
            "POST",
            "/api/v1/catalog/import",
            responses={200: CatalogImport},
            body={"document": document, "dry_run": dry_run},
        )
        return cast("CatalogImport", await self._transport.call(call))


class AsyncFiltersResource(AsyncResource):
    """Operations on filters."""

    async def check(
        self,
        filter: str,
        *,
        event: TriedEvent | Mapping[str, Any] | None | UnsetType = UNSET,
        event_ids: Sequence[str] | UnsetType = UNSET,
        subscription_id: str | None | UnsetType = UNSET,
        last: int | UnsetType = UNSET,
    ) -> FilterCheck:
        """Try a filter on events.

        Evaluate a filter on an event, on stored events, or on the latest events for a subscription.

        Nothing is stored. 422 names the line and the column of what is wrong with the filter.
        """
        call = Call(
            "POST",
            "/api/v1/filters/check",
            responses={200: FilterCheck},
            body={
                "filter": filter,
                "event": event,
                "event_ids": event_ids,
                "subscription_id": subscription_id,
                "last": last,
            },
        )
        return cast("FilterCheck", await self._transport.call(call))


class AsyncDeliveriesResource(AsyncResource):
    """Operations on deliveries."""

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        event_type: Sequence[str] | None = None,
        idempotency_key: Sequence[str] | None = None,
        provider_id: Sequence[str] | None = None,
        tag: Sequence[str] | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
        order: ListOrder | str | None = None,
        subscription_id: Sequence[str] | None = None,
        status: Sequence[DeliveryStatus | str] | None = None,
        reason: Sequence[DeliveryReason | str] | None = None,
        status_code: Sequence[str] | None = None,
        error_kind: Sequence[str] | None = None,
        held_by: Sequence[SearchedHold | str] | None = None,
        min_attempts: int | None = None,
    ) -> AsyncPages[DeliverySummary]:
        """Search deliveries.

        Find deliveries to any subscription, newest first, without attempts.

        Give a parameter several times to find what has one of the values; different parameters must
        all match. Deliveries are ordered by when they were accepted, so a cursor stays valid while
        others arrive.
        """
        call = Call(
            "GET",
            "/api/v1/deliveries",
            responses={200: FoundDeliveries},
            query={
                "limit": limit,
                "cursor": cursor,
                "event_type": event_type,
                "idempotency_key": idempotency_key,
                "provider_id": provider_id,
                "tag": tag,
                "from": from_,
                "to": to,
                "order": order,
                "subscription_id": subscription_id,
                "status": status,
                "reason": reason,
                "status_code": status_code,
                "error_kind": error_kind,
                "held_by": held_by,
                "min_attempts": min_attempts,
            },
            reads=True,
        )
        return AsyncPages(self._transport, call, FoundDeliveries)

    async def summary(
        self,
        *,
        group_by: SummaryGroup | str,
        limit: int | None = None,
        cursor: str | None = None,
        event_type: Sequence[str] | None = None,
        idempotency_key: Sequence[str] | None = None,
        provider_id: Sequence[str] | None = None,
        tag: Sequence[str] | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
        order: ListOrder | str | None = None,
        subscription_id: Sequence[str] | None = None,
        status: Sequence[DeliveryStatus | str] | None = None,
        reason: Sequence[DeliveryReason | str] | None = None,
        status_code: Sequence[str] | None = None,
        error_kind: Sequence[str] | None = None,
        held_by: Sequence[SearchedHold | str] | None = None,
        min_attempts: int | None = None,
    ) -> DeliverySummaryPage:
        """Count deliveries in groups.

        Count the deliveries that a search finds, 10,000 at a time from the newest on.

        If there are more, `scanned_to` says how far the count got, and `next_cursor` counts on from
        there: add the groups of both. `limit`, `order` and `format` have no meaning here.
        """
        call = Call(
            "GET",
            "/api/v1/deliveries/summary",
            responses={200: DeliverySummaryPage},
            query={
                "limit": limit,
                "cursor": cursor,
                "event_type": event_type,
                "idempotency_key": idempotency_key,
                "provider_id": provider_id,
                "tag": tag,
                "from": from_,
                "to": to,
                "order": order,
                "subscription_id": subscription_id,
                "status": status,
                "reason": reason,
                "status_code": status_code,
                "error_kind": error_kind,
                "held_by": held_by,
                "min_attempts": min_attempts,
                "group_by": group_by,
            },
            reads=True,
        )
        return cast("DeliverySummaryPage", await self._transport.call(call))

    async def get(self, delivery_id: str) -> Delivery:
        """Get a delivery and its attempts.

        Get a delivery with every attempt, oldest first.
        """
        call = Call("GET", f"/api/v1/deliveries/{segment(delivery_id)}", responses={200: Delivery}, reads=True)
        return cast("Delivery", await self._transport.call(call))

    async def retry(self, delivery_id: str) -> Delivery:
        """Retry a delivery now.

        Make a delivery pending now, whatever its status, with its full retry schedule.

        A scheduled retry is replaced. While the subscription's circuit breaker is open this
        delivery is its probe, and is sent now unless another probe is in progress. Returns 409
        while a worker is sending the delivery or its subscription is disabled, and 410 if its
        payload was erased, is no longer retained, or is about to be removed.
        """
        call = Call("POST", f"/api/v1/deliveries/{segment(delivery_id)}/retry", responses={200: Delivery})
        return cast("Delivery", await self._transport.call(call))

    async def cancel(self, delivery_id: str) -> Delivery:
        """Cancel a delivery.

        Cancel a delivery that is pending or scheduled. A cancelled delivery stays cancelled.
        """
        call = Call("POST", f"/api/v1/deliveries/{segment(delivery_id)}/cancel", responses={200: Delivery})
        return cast("Delivery", await self._transport.call(call))


class AsyncJobsResource(AsyncResource):
    """Operations on jobs."""

    async def create(
        self,
        *,
        kind: JobKind | str | None | UnsetType = UNSET,
        filter: JobFilter | Mapping[str, Any] | None | UnsetType = UNSET,
        to_subscription_id: str | None | UnsetType = UNSET,
        only: ReplayedEvents | str | None | UnsetType = UNSET,
        rate_per_second: int | None | UnsetType = UNSET,
        dry_run: bool | UnsetType = UNSET,
        token: str | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> Job | JobPreview:
        """Retry, replay, or cancel many deliveries, or erase events.

        Create a job, or with `dry_run` count what it would do.

        A job works through its deliveries a few hundred at a time, at its rate, and survives
        restarts. Each delivery is changed at most once. Rate limits, circuit breakers, and pauses
        of subscriptions apply as always. The deliveries of a job are those that match when it is
        created, or when its dry run was made. A repeated request with the same `Idempotency-Key`
        returns the job of the first one as it is now; a dry run ignores the key.
        """
        call = Call(
            "POST",
            "/api/v1/jobs",
            responses={202: Job, 200: JobPreview},
            body={
                "kind": kind,
                "filter": filter,
                "to_subscription_id": to_subscription_id,
                "only": only,
                "rate_per_second": rate_per_second,
                "dry_run": dry_run,
                "token": token,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Job | JobPreview", await self._transport.call(call))

    def list(
        self,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        status: JobStatus | str | None = None,
    ) -> AsyncPages[Job]:
        """List jobs.

        List jobs, newest first. They are kept for 30 days after they end.
        """
        call = Call(
            "GET",
            "/api/v1/jobs",
            responses={200: JobPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "status": status},
            reads=True,
        )
        return AsyncPages(self._transport, call, JobPage)

    async def get(self, job_id: str) -> Job:
        """Get a job and its progress.

        Get a job: what it has done, what became of it, and when it will be complete.
        """
        call = Call("GET", f"/api/v1/jobs/{segment(job_id)}", responses={200: Job}, reads=True)
        return cast("Job", await self._transport.call(call))

    async def pause(self, job_id: str) -> Job:
        """Pause a job.

        Pause a job that is queued or running. What it has made pending is still sent.
        """
        call = Call("POST", f"/api/v1/jobs/{segment(job_id)}/pause", responses={200: Job})
        return cast("Job", await self._transport.call(call))

    async def resume(self, job_id: str) -> Job:
        """Resume a job.

        Go on with a job that is paused.
        """
        call = Call("POST", f"/api/v1/jobs/{segment(job_id)}/resume", responses={200: Job})
        return cast("Job", await self._transport.call(call))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job.

        End a job before it is complete. What it has done stays done.
        """
        call = Call("POST", f"/api/v1/jobs/{segment(job_id)}/cancel", responses={200: Job})
        return cast("Job", await self._transport.call(call))


class AsyncStatsResource(AsyncResource):
    """Operations on stats."""

    async def get(self, *, tenant: str | None = None, window: str | None = None) -> Stats:
        """Get statistics of all subscriptions.

        Get statistics of all subscriptions over a window that ends now.
        """
        call = Call(
            "GET", "/api/v1/stats", responses={200: Stats}, query={"tenant": tenant, "window": window}, reads=True
        )
        return cast("Stats", await self._transport.call(call))

    async def series(
        self,
        *,
        tenant: str | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
        step: StatsStep | str | None = None,
        group_by: StatsGrouping | str | None = None,
        subscription_id: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> StatsOverTime:
        """Get statistics over time.

        Get statistics in steps of a minute to a day, in total and by outcome, subscription, or
        event type.

        The 200 largest event types of each minute (of each hour, for steps of `1h` and `1d`) are
        counted by name. All others belong to the group `other`.
        """
        call = Call(
            "GET",
            "/api/v1/stats/series",
            responses={200: StatsOverTime},
            query={
                "tenant": tenant,
                "from": from_,
                "to": to,
                "step": step,
                "group_by": group_by,
                "subscription_id": subscription_id,
                "limit": limit,
            },
            reads=True,
        )
        return cast("StatsOverTime", await self._transport.call(call))

    async def refusals(
        self,
        *,
        tenant: str | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
        subscription_id: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Refusals:
        """Count refused events.

        Count the events that were refused as they came in over REST, by subscription and reason.

        A refused event is a request to send a webhook, an event, or a batch that got an error, or
        an event of a batch that has an error. Requests without a valid API key or ingest token are
        of no tenant, and not counted.
        """
        call = Call(
            "GET",
            "/api/v1/stats/refusals",
            responses={200: Refusals},
            query={"tenant": tenant, "from": from_, "to": to, "subscription_id": subscription_id, "limit": limit},
            reads=True,
        )
        return cast("Refusals", await self._transport.call(call))


class AsyncPortalLinksResource(AsyncResource):
    """Operations on portal links."""

    async def create(
        self,
        capabilities: Sequence[PortalCapability | str],
        *,
        tenant_id: str | None | UnsetType = UNSET,
        subscriptions: Sequence[str] | None | UnsetType = UNSET,
        expires_in_seconds: int | UnsetType = UNSET,
        origin: str | None | UnsetType = UNSET,
    ) -> PortalLink:
        """Create a portal link.

        Create an address where a customer sees and manages their own webhooks, in your page or in
        one of its own.
        """
        call = Call(
            "POST",
            "/api/v1/portal-links",
            responses={201: PortalLink},
            body={
                "capabilities": capabilities,
                "tenant_id": tenant_id,
                "subscriptions": subscriptions,
                "expires_in_seconds": expires_in_seconds,
                "origin": origin,
            },
        )
        return cast("PortalLink", await self._transport.call(call))

    async def revoke(self, link_id: str) -> None:
        """Revoke a portal link.

        End a portal link before its time. Within 5 seconds its holder is refused everywhere.
        """
        call = Call("DELETE", f"/api/v1/portal-links/{segment(link_id)}", responses={204: None})
        return cast("None", await self._transport.call(call))


class AsyncTenantsResource(AsyncResource):
    """Operations on tenants."""

    async def create(
        self,
        id: str,
        *,
        name: str | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        weight: int | UnsetType = UNSET,
        quotas: QuotasBody | Mapping[str, Any] | UnsetType = UNSET,
        validation: Validation | str | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> Tenant:
        """Create a tenant.

        Create a tenant, which has no API keys yet.
        """
        call = Call(
            "POST",
            "/api/v1/admin/tenants",
            responses={201: Tenant},
            body={
                "id": id,
                "name": name,
                "description": description,
                "weight": weight,
                "quotas": quotas,
                "validation": validation,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("Tenant", await self._transport.call(call))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> AsyncPages[Tenant]:
        """List tenants.

        List tenants that are not deleted, in the order of their ids.
        """
        call = Call(
            "GET",
            "/api/v1/admin/tenants",
            responses={200: TenantPage},
            query={"limit": limit, "cursor": cursor},
            reads=True,
        )
        return AsyncPages(self._transport, call, TenantPage)

    async def get(self, tenant_id: str) -> Tenant:
        """Get a tenant.

        Return a tenant with its quotas and what it uses of them.
        """
        call = Call("GET", f"/api/v1/admin/tenants/{segment(tenant_id)}", responses={200: Tenant}, reads=True)
        return cast("Tenant", await self._transport.call(call))

    async def update(
        self,
        tenant_id: str,
        *,
        name: str | UnsetType = UNSET,
        description: str | UnsetType = UNSET,
        weight: int | UnsetType = UNSET,
        validation: Validation | str | UnsetType = UNSET,
        publishes_catalog: bool | UnsetType = UNSET,
        quotas: QuotasBody | Mapping[str, Any] | UnsetType = UNSET,
        portal: PortalLookPatch | Mapping[str, Any] | UnsetType = UNSET,
    ) -> Tenant:
        """Change a tenant.

        Change a tenant. Every process applies new quotas within 2 seconds, and a new weight within
        10.
        """
        call = Call(
            "PATCH",
            f"/api/v1/admin/tenants/{segment(tenant_id)}",
            responses={200: Tenant},
            body={
                "name": name,
                "description": description,
                "weight": weight,
                "validation": validation,
                "publishes_catalog": publishes_catalog,
                "quotas": quotas,
                "portal": portal,
            },
        )
        return cast("Tenant", await self._transport.call(call))

    async def delete(self, tenant_id: str) -> None:
        """Delete a tenant.

        Delete a tenant and revoke its API keys. Its id cannot be used again.
        """
        call = Call("DELETE", f"/api/v1/admin/tenants/{segment(tenant_id)}", responses={204: None})
        return cast("None", await self._transport.call(call))


class AsyncApiKeysResource(AsyncResource):
    """Operations on api keys."""

    async def create(
        self,
        name: str,
        role: Role | str,
        *,
        tenant_id: str | None | UnsetType = UNSET,
        capabilities: Sequence[Capability | str] | UnsetType = UNSET,
        pull_subscription_ids: Sequence[str] | UnsetType = UNSET,
        expires_at: datetime | str | None | UnsetType = UNSET,
        requests_per_second: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> CreatedApiKey:
        """Create an API key.

        Create an API key. Only its digest is stored, so only this response shows it.
        """
        call = Call(
            "POST",
            "/api/v1/admin/api-keys",
            responses={201: CreatedApiKey},
            body={
                "name": name,
                "role": role,
                "tenant_id": tenant_id,
                "capabilities": capabilities,
                "pull_subscription_ids": pull_subscription_ids,
                "expires_at": expires_at,
                "requests_per_second": requests_per_second,
            },
            idempotency_key=idempotency_key,
            keyed=True,
        )
        return cast("CreatedApiKey", await self._transport.call(call))

    def list(
        self,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        tenant_id: str | None = None,
    ) -> AsyncPages[ApiKey]:
        """List API keys.

        List the API keys of one tenant or of all, newest first, including revoked and expired keys.
        """
        call = Call(
            "GET",
            "/api/v1/admin/api-keys",
            responses={200: ApiKeyPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "tenant_id": tenant_id},
            reads=True,
        )
        return AsyncPages(self._transport, call, ApiKeyPage)

    async def revoke(self, key_id: str) -> None:
        """Revoke an API key.

        Revoke an API key permanently. It is refused everywhere within 5 seconds, and stays in the
        list.
        """
        call = Call("DELETE", f"/api/v1/admin/api-keys/{segment(key_id)}", responses={204: None})
        return cast("None", await self._transport.call(call))


class AsyncSessionsResource(AsyncResource):
    """Operations on sessions."""

    def list(
        self,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        tenant_id: str | None = None,
    ) -> AsyncPages[Session]:
        """List sessions.

        List who is signed in at the console, newest first, including sessions that were revoked in
        the last 12 hours.
        """
        call = Call(
            "GET",
            "/api/v1/admin/sessions",
            responses={200: SessionPage},
            query={"tenant": tenant, "limit": limit, "cursor": cursor, "tenant_id": tenant_id},
            reads=True,
        )
        return AsyncPages(self._transport, call, SessionPage)

    async def revoke(self, session_id: str) -> None:
        """Revoke a session.

        Revoke a session permanently. It is refused everywhere within 5 seconds; its key remains
        valid.
        """
        call = Call("DELETE", f"/api/v1/admin/sessions/{segment(session_id)}", responses={204: None})
        return cast("None", await self._transport.call(call))


class AsyncAuditResource(AsyncResource):
    """Operations on audit."""

    def list(
        self,
        *,
        tenant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        tenant_id: str | None = None,
        actor: str | None = None,
        action: Action | str | None = None,
        resource_type: ResourceType | str | None = None,
        resource_id: str | None = None,
        from_: datetime | str | None = None,
        to: datetime | str | None = None,
    ) -> AsyncPages[AuditEntry]:
        """List audit entries.

        List changes to subscriptions, secrets, deliveries, tenants and API keys, and who made them,
        newest first.

        An entry is written in the transaction of its change and kept for `AUDIT_RETENTION_HOURS`.
        It contains no secrets, tokens or headers, and only the scheme, host and port of a target
        URL. Requests that were refused or failed are not recorded, nor is the sending of events. If
        an admin reads in another tenant, that is recorded as `tenant.enter`.
        """
        call = Call(
            "GET",
            "/api/v1/admin/audit",
            responses={200: AuditPage},
            query={
                "tenant": tenant,
                "limit": limit,
                "cursor": cursor,
                "tenant_id": tenant_id,
                "actor": actor,
                "action": action,
                "resource_type": resource_type,
                "resource_id": resource_id,
                "from": from_,
                "to": to,
            },
            reads=True,
        )
        return AsyncPages(self._transport, call, AuditPage)


class AsyncSystemResource(AsyncResource):
    """Operations on system."""

    async def get(self) -> System:
        """Get what the service runs on.

        Get the processes of the service with their versions, the stores, the queue of all tenants,
        and the partitions.

        A service that does not respond is listed in `unavailable`, and its part is missing.
        Everybody who asks within 5 seconds gets the same.
        """
        call = Call("GET", "/api/v1/system", responses={200: System}, reads=True)
        return cast("System", await self._transport.call(call))


class AsyncApi(AsyncTransport):
    """Every operation of the REST API, by resource."""

    def _add_resources(self) -> None:
        self.webhooks = AsyncWebhooksResource(self)
        self.events = AsyncEventsResource(self)
        self.subscriptions = AsyncSubscriptionsResource(self)
        self.templates = AsyncTemplatesResource(self)
        self.event_types = AsyncEventTypesResource(self)
        self.catalog = AsyncCatalogResource(self)
        self.filters = AsyncFiltersResource(self)
        self.deliveries = AsyncDeliveriesResource(self)
        self.jobs = AsyncJobsResource(self)
        self.stats = AsyncStatsResource(self)
        self.portal_links = AsyncPortalLinksResource(self)
        self.tenants = AsyncTenantsResource(self)
        self.api_keys = AsyncApiKeysResource(self)
        self.sessions = AsyncSessionsResource(self)
        self.audit = AsyncAuditResource(self)
        self.system = AsyncSystemResource(self)
