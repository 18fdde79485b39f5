"""The `webhooks` section of the OpenAPI document: the requests that receivers get."""

from collections.abc import Sequence
from typing import Any

from services.gateway.web import openapi

_EVENT_ID = "019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5"
_DELIVERY_ID = "019ced70-1c5d-7f02-a3d9-7c1e5b8f2046"
_SUBSCRIPTION_ID = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
_TIME = "2026-03-14T15:09:26.535Z"
_UUID = {"type": "string", "format": "uuid"}
_TIMESTAMP = {"type": "string", "format": "date-time"}
_MAYBE = {"type": ["string", "null"]}


def _header(name: str, description: str, example: str, *, required: bool = True, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", "examples": [example]} | schema,
    }


HEADERS = (
    _header("webhook-id", "Id of the delivery, the same for every attempt: recognize duplicates by it.", _DELIVERY_ID),
    _header("webhook-timestamp", "Unix time of this attempt in seconds.", "1773500966", pattern="^[0-9]+$"),
    _header(
        "webhook-signature",
        "Signatures by Standard Webhooks, separated by spaces, one for each valid secret: `v1,` and the base64 of an "
        "HMAC-SHA256, or `v1a,` and that of an Ed25519 signature, of `{webhook-id}.{webhook-timestamp}.{body}`. "
        "Absent if the subscription has no secret.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        required=False,
    ),
    _header(
        "X-Hub-Signature-256",
        "`sha256=` and the hex HMAC-SHA256 of the body, as GitHub signs; not with `ed25519`.",
        "sha256=b2f1…",
        required=False,
    ),
    _header("X-Event-Type", "Type of the event; absent if it has none.", "order.created", required=False),
    _header(
        "X-Webhook-Event-Version",
        "Version of its type that the payload is of, as the catalog has it; absent if it has none.",
        "2",
        required=False,
    ),
    _header("X-Webhook-Delivery-Id", "As `webhook-id`.", _DELIVERY_ID),
    _header("X-Webhook-Event-Id", "Id of the event, the same for all subscriptions that it goes to.", _EVENT_ID),
    _header("X-Webhook-Attempt", "Number of the attempt, from 1.", "1", pattern="^[1-9][0-9]*$"),
    _header(
        "X-Webhook-Replay",
        "`true` if a job replayed the event: the receiver may know it by another `webhook-id`. Otherwise absent.",
        "true",
        required=False,
        enum=["true"],
    ),
)

# Of CloudEvents in binary mode, besides those of every request.
_ATTRIBUTES = (
    _header(
        "ce-specversion",
        "With the template `cloudevents-binary`, as all headers that begin with `ce-`: one for each attribute of the "
        "CloudEvent, those of extensions included.",
        "1.0",
        required=False,
    ),
    _header("ce-id", "Its `id`.", _EVENT_ID, required=False),
    _header("ce-source", "Its `source`.", "/tenants/default", required=False),
    _header("ce-type", "Its `type`.", "order.created", required=False),
    _header("ce-time", "Its `time`.", _TIME, required=False),
)
_CLOUDEVENT_EXAMPLE = {
    "specversion": "1.0",
    "id": _EVENT_ID,
    "source": "/tenants/default",
    "type": "order.created",
    "time": _TIME,
    "datacontenttype": "application/json",
    "data": {"order": 42, "total": 9.90},
}

_CONCERNED = {
    "subscription_id": _UUID | {"description": "The subscription concerned."},
    "target_host": {"type": "string", "description": "Host of its current target."},
    "reason": _MAYBE | {"description": "Why; null if there is no reason."},
    "last_error": _MAYBE | {"description": "Error of the last attempt, or null."},
}
_EXHAUSTED = {
    "deliveries": {"type": "integer", "description": "How many deliveries failed since the previous event."},
    "since": _TIMESTAMP | {"description": "When the first of them failed."},
    "last_delivery_id": _UUID,
    "last_event_id": _UUID,
    "last_attempts": {"type": "integer", "description": "Attempts of the last of them."},
}
_CONCERNED_EXAMPLE = {
    "subscription_id": _SUBSCRIPTION_ID,
    "target_host": "hooks.example.com",
    "reason": "10 failures in a row; the last: the receiver responded with 503",
    "last_error": "the receiver responded with 503",
}
_EXHAUSTED_EXAMPLE = {
    "deliveries": 17,
    "since": "2026-03-14T15:08:41.002Z",
    "last_delivery_id": _DELIVERY_ID,
    "last_event_id": _EVENT_ID,
    "last_attempts": 6,
}


def _object(description: str, properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "examples": [example],
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "OperationalEventType": {
        "type": "string",
        "description": "What happened to a subscription.",
        "enum": [
            "subscription.disabled",
            "subscription.failing",
            "subscription.recovered",
            "subscription.filter_stopped",
        ],
    },
    "OperationalEvent": _object(
        "What a system subscription gets when an endpoint fails, recovers, or is disabled.",
        {
            "type": openapi.ref("OperationalEventType"),
            "timestamp": _TIMESTAMP,
            "data": openapi.ref("OperationalEventData"),
        },
        {"type": "subscription.failing", "timestamp": _TIME, "data": _CONCERNED_EXAMPLE},
    ),
    "OperationalEventData": _object("The subscription concerned.", _CONCERNED, _CONCERNED_EXAMPLE),
    "ExhaustedEvent": _object(
        "What a system subscription gets when deliveries ended as failed, at most once a minute for a subscription.",
        {
            "type": {"type": "string", "const": "delivery.exhausted"},
            "timestamp": _TIMESTAMP,
            "data": openapi.ref("ExhaustedEventData"),
        },
        {"type": "delivery.exhausted", "timestamp": _TIME, "data": _CONCERNED_EXAMPLE | _EXHAUSTED_EXAMPLE},
    ),
    "ExhaustedEventData": _object(
        "The failed deliveries of a subscription since the previous event.",
        _CONCERNED | _EXHAUSTED,
        _CONCERNED_EXAMPLE | _EXHAUSTED_EXAMPLE,
    ),
    "Challenge": _object(
        "What a new target gets where targets are verified. Respond with the challenge.",
        {
            "type": {"type": "string", "const": "url_verification"},
            "challenge": {"type": "string", "description": "What to respond with."},
        },
        {"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO"},
    ),
}
_RESPONSES = {
    "2XX": {"description": "Received: the delivery is `delivered`. The body is not read beyond its first 64 KiB."},
    "410": {"description": "Not wanted any more: the subscription is disabled."},
    "default": {
        "description": (
            "The attempt failed, as without a response within the timeout, and is retried. `Retry-After` is respected."
        )
    },
}


def _received(
    name: str,
    summary: str,
    description: str,
    schema: dict[str, Any],
    example: Any,
    *,
    content_type: str = "application/json",
    headers: Sequence[dict[str, Any]] = HEADERS,
) -> dict[str, Any]:
    return {
        "post": {
            "operationId": f"receive_{name}",
            "tags": ["received"],
            "summary": summary,
            "description": description,
            "security": [],
            "parameters": list(headers),
            "requestBody": {
                "required": True,
                "content": {content_type: {"schema": schema, "example": example}},
            },
            "responses": _RESPONSES,
        }
    }


WEBHOOKS: dict[str, dict[str, Any]] = {
    "delivery": _received(
        "delivery",
        "A delivery",
        "The payload of an event, byte for byte as it was sent, with its own Content-Type and Content-Encoding. "
        "Verify `webhook-signature`, and respond with 2xx within the timeout. A delivery can arrive more than once. "
        "If the subscription has a `template`, body and Content-Type are those that it makes of the event, at each "
        "attempt; with `cloudevents-binary` the body is the payload, and `ce-` headers have the attributes.",
        {"description": "Any JSON value, what was sent with another Content-Type, or what a template makes of it."},
        {"order": 42, "total": 9.90},
        headers=(*HEADERS, *_ATTRIBUTES),
    ),
    "cloudevent": _received(
        "cloudevent",
        "A delivery as a CloudEvent",
        "What a subscription with the template `cloudevents` gets: the event as a CloudEvent in structured mode. "
        "`webhook-signature` signs the whole document.",
        openapi.ref("CloudEvent"),
        _CLOUDEVENT_EXAMPLE,
        content_type="application/cloudevents+json",
    ),
    "operational_event": _received(
        "operational_event",
        "An operational event",
        "Sent to system subscriptions only.",
        openapi.ref("OperationalEvent"),
        SCHEMAS["OperationalEvent"]["examples"][0],
    ),
    "exhausted_event": _received(
        "exhausted_event",
        "Failed deliveries",
        "Sent to system subscriptions only.",
        openapi.ref("ExhaustedEvent"),
        SCHEMAS["ExhaustedEvent"]["examples"][0],
    ),
    "challenge": _received(
        "challenge",
        "A challenge",
        "Sent to a new target if `ENDPOINT_VERIFICATION` is `echo`. Respond with 2xx and the value of `challenge`.",
        openapi.ref("Challenge"),
        SCHEMAS["Challenge"]["examples"][0],
    ),
}
