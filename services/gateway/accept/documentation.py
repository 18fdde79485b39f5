"""The OpenAPI description of the plain ASGI routes: those that accept events, and those for operators."""

from typing import Any

import msgspec

from services.domain import event_versions, events, limits
from services.gateway.accept import envelope, routes
from services.gateway.resources import models
from services.gateway.web import openapi, problems
from services.platform import errors

_EVENT_TYPE = {"type": "string", "pattern": f"^{events.TYPE_PATTERN}$", "examples": ["order.created"]}
_TAGS = {
    "type": "object",
    "description": (
        f"By what the event is found: at most {events.MAX_TAGS} pairs. A key has 1 to 64 characters of "
        f"`A-Z a-z 0-9 . _ -`, a value 1 to {events.MAX_TAG_VALUE_LENGTH} printable characters."
    ),
    "maxProperties": events.MAX_TAGS,
    "propertyNames": {"pattern": f"^{events.TAG_KEY_PATTERN}$"},
    "additionalProperties": {"type": "string", "minLength": 1, "maxLength": events.MAX_TAG_VALUE_LENGTH},
    "examples": [{"order": "42"}],
}
TAGS_HEADER = {
    "name": routes.TAGS_HEADER,
    "in": "header",
    "description": (
        f"By what the event is found: at most {events.MAX_TAGS} pairs, separated by commas. A key has 1 to 64 "
        f"characters of `A-Z a-z 0-9 . _ -`, a value 1 to {events.MAX_TAG_VALUE_LENGTH} printable characters in UTF-8, "
        "without commas."
    ),
    "schema": {"type": "string", "examples": ["order=42, customer=acme"]},
}
_EVENT_VERSION: dict[str, Any] = {
    "type": ["integer", "null"],
    "minimum": event_versions.NUMBER.least,
    "maximum": event_versions.NUMBER.most,
    "description": (
        "The version of its type that the payload is of. Default: the current version if the type is in the catalog, "
        "and otherwise none."
    ),
    "examples": [2],
}
_EVENT_VERSION_HEADER = {
    "name": event_versions.HEADER,
    "in": "header",
    "description": (
        "The version of its type that the payload is of. Senders that cannot set headers have it in their URL, as "
        f"`?{routes.VERSION_PARAMETER}=2`. Default: the current version if the type is in the catalog, otherwise none."
    ),
    "schema": {**_EVENT_VERSION, "type": "integer"},
}
# Of an event that may state it itself.
EVENT_VERSION_HEADER = _EVENT_VERSION_HEADER | {
    "description": (
        "The version of its type that the payload is of, for senders that do not state it in the event itself. If both "
        "are there, they must be the same."
    ),
    "schema": {"type": "string", "examples": ["2"]},
}
_TIMES: dict[str, Any] = {
    "deliver_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": (
            "When the event becomes due, at most 30 days ahead. Until then it is scheduled: it has no deliveries, and "
            "can be cancelled. A time that has passed means at once. Not together with `delay_seconds`."
        ),
    },
    "delay_seconds": {
        "type": ["integer", "null"],
        "minimum": limits.DELAY_SECONDS.least,
        "maximum": limits.DELAY_SECONDS.most,
        "description": "The same, in seconds from now.",
        "examples": [900],
    },
    "deliver_within_seconds": {
        "type": ["integer", "null"],
        "minimum": limits.DELIVER_WITHIN_SECONDS.least,
        "maximum": limits.DELIVER_WITHIN_SECONDS.most,
        "description": (
            "For how long after it is accepted, or is due, the event may be delivered. Deliveries that are unfinished "
            "then fail with reason `expired`. Default, and the most: `DELIVERY_EXPIRY_HOURS`."
        ),
        "examples": [3600],
    },
}
_PAYLOAD = {
    "description": "Any JSON value. Its exact bytes are delivered, including key order, spacing, and number format."
}
_EXAMPLE_PAYLOAD = {"order": 42, "total": 9.90}


def accepted_as(name: str, example: dict[str, Any], links: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the response to what is stored."""
    return {
        "description": "The event is stored.",
        "headers": openapi.REPLAYED_HEADER,
        "content": {"application/json": {"schema": openapi.ref(name), "example": example}},
        "links": links,
    }


def _link(operation: str, description: str, field: str) -> dict[str, dict[str, Any]]:
    """Return a link from a field of the response to an operation that has it in its path."""
    parameters = {field: f"$response.body#/{field}"}
    return {operation: {"operationId": operation, "description": description, "parameters": parameters}}


_DELIVERY_LINKS = {
    **_link("get_delivery", "Get the delivery.", "delivery_id"),
    **_link("retry_delivery", "Retry the delivery.", "delivery_id"),
    **_link("cancel_delivery", "Cancel the delivery.", "delivery_id"),
}
EVENT_LINKS = {
    **_link("get_event", "Get the stored event.", "event_id"),
    **_link("list_event_deliveries", "List the event's deliveries.", "event_id"),
    **_link("cancel_event", "Cancel the event while it is scheduled.", "event_id"),
}
_UNAVAILABLE = (
    "A store or a service cannot be reached. With reason `UNAVAILABLE` the event was not stored. With reason "
    "`OUTCOME_UNKNOWN` it may have been stored: retry with the same `Idempotency-Key`."
)
_CONFLICT = f"{openapi.KEY_IN_USE} Or it is a system subscription (`SUBSCRIPTION_IS_SYSTEM`), which accepts no events."
_UNAUTHORIZED = (
    "The API key is missing, unknown, revoked, or expired. Or the signature that the subscription's `verify` requires "
    "is missing (`SIGNATURE_MISSING`), does not match (`SIGNATURE_MISMATCH`) or is too old (`SIGNATURE_EXPIRED`); "
    "`errors` names the header."
)

_HANDSHAKE = {
    "description": (
        "For Slack's URL verification: the response has its challenge, and nothing is stored. For Slack's slash "
        "commands and interactions: the event is stored, and the response has no body, because Slack would show it to "
        "the user."
    ),
    "headers": openapi.REPLAYED_HEADER,
    "content": {
        "application/json": {
            "schema": {
                "title": "Handshake",
                "type": "object",
                "required": ["challenge"],
                "properties": {"challenge": {"type": "string"}},
            },
            "example": {"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"},
        }
    },
}


def responses(*statuses: int, accepted: dict[str, Any], described: dict[int, str] | None = None) -> dict[str, Any]:
    """Return the responses of a route that stores something, and those in common."""
    described = {409: openapi.KEY_IN_USE, 422: openapi.KEY_REUSED, 503: _UNAVAILABLE} | (described or {})
    errors = openapi.problems(*statuses, described=described)
    return {"202": accepted, **{str(status): value for status, value in errors.items()}}


_WEBHOOK: dict[str, Any] = {
    "tags": ["webhooks"],
    "operationId": "ingest_webhook",
    "summary": "Send a webhook to a subscription",
    "description": (
        'The body `{"payload": …}` delivers the exact bytes of the value as `application/json`, whatever the '
        "Content-Type. Any other body is the payload itself and is delivered with its own Content-Type, so that "
        "webhooks of GitHub and others can be sent here. Without a Content-Type it is `application/json` if it "
        "is valid JSON, else `application/octet-stream`. A body that is empty, begins with a byte order mark, or has "
        "a `Content-Encoding` is delivered unchanged, with that encoding.\n\n"
        "Without `X-Event-Type` no filter applies, unless `verify` names a provider: an event without a readable type "
        "is then delivered only by subscriptions without `event_types`. If the subscription does not include the type, "
        "the response has status `filtered` and nothing is delivered; this is also the response while the subscription "
        "is disabled and `keep_when_disabled` is false.\n\n"
        "The subscription's `verify` determines which signature the request must have: `Stripe-Signature`, "
        "`X-Shopify-Hmac-Sha256`, `X-Slack-Signature` with `X-Slack-Request-Timestamp`, or `webhook-signature` with "
        "`webhook-id` and `webhook-timestamp`; timestamps may differ by 5 minutes. The event's type is then the "
        "provider's, and a repeated request of the provider gets the same response and is delivered once; "
        "`X-Event-Type` and `Idempotency-Key` apply if the provider sends no type or id."
    ),
    "parameters": [
        {
            "name": "subscription_id",
            "in": "path",
            "required": True,
            "description": "Id of the subscription.",
            "schema": {"type": "string", "format": "uuid"},
        },
        {
            "name": "X-Event-Type",
            "in": "header",
            "description": "The event's type; delivered in the same header.",
            "schema": _EVENT_TYPE,
        },
        {
            "name": "X-Hub-Signature-256",
            "in": "header",
            "description": (
                "`sha256=` and the hex HMAC-SHA256 of the raw request body under the secret's UTF-8 bytes. "
                "Without it the webhook is accepted without verification, unless `verify` requires one."
            ),
            "schema": {"type": "string", "pattern": "^sha256=[0-9a-fA-F]{64}$"},
        },
        {
            "name": "Content-Encoding",
            "in": "header",
            "description": "Encoding of the body; delivered in the same header. The body is not decoded.",
            "schema": {"type": "string", "maxLength": 64},
        },
        TAGS_HEADER,
        _EVENT_VERSION_HEADER,
        openapi.IDEMPOTENCY_KEY,
    ],
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {
                            "title": "Envelope",
                            "type": "object",
                            "required": ["payload"],
                            "properties": {"payload": _PAYLOAD},
                            "additionalProperties": False,
                        },
                        {"title": "The payload itself"},
                    ]
                },
                "examples": {
                    "envelope": {"summary": "Envelope", "value": {"payload": _EXAMPLE_PAYLOAD}},
                    "itself": {"summary": "The payload itself", "value": {"action": "opened", "number": 7}},
                },
            },
            # Or any other type; generators know no wildcard.
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {"200": _HANDSHAKE}
    | responses(
        *openapi.WITH_BODY,
        404,
        described={401: _UNAUTHORIZED, 409: _CONFLICT},
        accepted=accepted_as(
            "WebhookAccepted",
            {
                "delivery_id": models.EXAMPLE_DELIVERY_ID,
                "event_id": models.EXAMPLE_EVENT_ID,
                "status": "pending",
            },
            _DELIVERY_LINKS | EVENT_LINKS,
        ),
    ),
}

_WEBHOOK_WITH_TOKEN = _WEBHOOK | {
    "operationId": "ingest_webhook_with_token",
    "summary": "Send a webhook with an ingest token",
    "description": (
        "Like the operation without a token, but needs no API key: the token allows sending to this one subscription. "
        "An invalid token gets the same response as an unknown subscription."
    ),
    "parameters": [
        _WEBHOOK["parameters"][0],
        {
            "name": "token",
            "in": "path",
            "required": True,
            "description": "The subscription's ingest token.",
            "schema": {"type": "string"},
        },
        *_WEBHOOK["parameters"][1:],
    ],
}

_EVENT = {
    "tags": ["events"],
    "operationId": "publish_event",
    "summary": "Publish an event",
    "description": (
        "The payload is stored once, with a delivery for each subscription to its type that was created before. "
        "Its exact bytes are delivered as `application/json`.\n\n"
        "If the event goes to more than 100 subscriptions, its deliveries are created after the response, which has "
        "`expanding: true` in place of `deliveries`. `get_event` tells when that is done.\n\n"
        "With `deliver_at` or `delay_seconds` the event is scheduled: the response has `deliver_at` in place of "
        "`deliveries`, and the event goes to the subscriptions that match it when it is due. `cancel_event` cancels it "
        "until then.\n\n"
        f"Give tags in the body or in `{routes.TAGS_HEADER}`, not in both."
    ),
    "parameters": [TAGS_HEADER, EVENT_VERSION_HEADER, openapi.IDEMPOTENCY_KEY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "title": "EventBody",
                    "type": "object",
                    "required": ["event_type", "payload"],
                    "properties": {
                        "event_type": _EVENT_TYPE,
                        "event_version": _EVENT_VERSION,
                        "payload": _PAYLOAD,
                        "tags": _TAGS,
                        **_TIMES,
                    },
                    "additionalProperties": False,
                },
                "example": {"event_type": "order.created", "payload": _EXAMPLE_PAYLOAD},
            }
        },
    },
    "responses": responses(
        *openapi.WITH_BODY,
        accepted=accepted_as("EventAccepted", {"event_id": models.EXAMPLE_EVENT_ID, "deliveries": 3}, EVENT_LINKS),
    ),
}

_BATCH_KEY = openapi.IDEMPOTENCY_KEY | {
    "description": (
        "Identifies a batch and its retries: the event in place N, from 0, that has no `idempotency_key` gets this key "
        "with `:N` after it. So a repeated batch stores only the events that were not stored before."
    ),
    "schema": openapi.IDEMPOTENCY_KEY["schema"] | {"maxLength": routes.MAX_BATCH_KEY_LENGTH},
}
_REUSED = errors.InvalidArgument(
    "this idempotency key was used with a different request; use a new key",
    reason=errors.ErrorReason.IDEMPOTENCY_KEY_REUSED,
)
_BATCHED_EVENT = {
    "title": "BatchedEvent",
    "type": "object",
    "required": ["event_type", "payload"],
    "properties": {
        "event_type": _EVENT_TYPE,
        "event_version": _EVENT_VERSION,
        "payload": _PAYLOAD,
        "tags": _TAGS,
        **_TIMES,
        "idempotency_key": {
            "description": "As the header of a single event.",
            "examples": ["order-41-paid"],
            **openapi.IDEMPOTENCY_KEY["schema"],
        },
    },
    "additionalProperties": False,
}
_BATCH: dict[str, Any] = {
    "tags": ["events"],
    "operationId": "publish_events",
    "summary": "Publish a batch of events",
    "description": (
        f"Publishes up to {envelope.MAX_EVENTS:,} events, in a body of up to 8 MiB, as if each was published on its "
        "own: some may be stored and others refused. Their exact payload bytes are delivered.\n\n"
        "`results` has, in the order of the events, the response to each, or an `error`, which is a problem document. "
        "If its `status` is 429 or 503, or its `reason` is `IDEMPOTENCY_KEY_IN_USE`, send the event again after a "
        "second."
    ),
    "parameters": [_BATCH_KEY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "title": "EventBatchBody",
                    "type": "object",
                    "required": ["events"],
                    "properties": {
                        "events": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": envelope.MAX_EVENTS,
                            "items": {
                                "anyOf": [_BATCHED_EVENT, {"title": "Anything else gets an error as its result"}]
                            },
                        }
                    },
                    "additionalProperties": False,
                },
                "example": {
                    "events": [
                        {"event_type": "order.created", "payload": _EXAMPLE_PAYLOAD},
                        {"event_type": "order.paid", "payload": {"order": 41}, "idempotency_key": "order-41-paid"},
                    ]
                },
            }
        },
    },
    "responses": {
        "200": {
            "description": "Each event is stored or refused.",
            "headers": openapi.REPLAYED_HEADER,
            "content": {
                "application/json": {
                    "schema": {
                        "title": "BatchResults",
                        "type": "object",
                        "required": ["results"],
                        "properties": {
                            "results": {
                                "type": "array",
                                "items": {
                                    "anyOf": [openapi.ref("BatchedEventAccepted"), openapi.ref("BatchedEventRefused")]
                                },
                            }
                        },
                    },
                    "example": {
                        "results": [
                            {"event_id": models.EXAMPLE_EVENT_ID, "deliveries": 3},
                            {"error": msgspec.to_builtins(problems.document(_REUSED))},
                        ]
                    },
                }
            },
        },
        **{str(status): value for status, value in openapi.problems(*openapi.WITH_BODY).items()},
    },
}

_LIVENESS = {
    "title": "Liveness",
    "type": "object",
    "properties": {"status": {"title": "LivenessStatus", "enum": ["ok", "failing"]}},
}
_HEALTH = {
    "title": "Health",
    "type": "object",
    "properties": {
        "status": {"title": "HealthStatus", "enum": ["ok", "failing", "ready", "not ready"]},
        "failures": {"type": "object", "additionalProperties": {"type": "string"}},
        "degraded": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def _probe(name: str, summary: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _HEALTH}}
    return {
        "tags": ["operations"],
        "operationId": name,
        "summary": summary,
        "description": description,
        "responses": {
            "200": {"description": "Yes.", "content": content},
            "503": {"description": "No; `failures` gives the reasons.", "content": content},
        },
    }


_METRICS = {
    "tags": ["operations"],
    "operationId": "metrics",
    "summary": "Prometheus metrics",
    "description": "In the Prometheus text format; docs/reference/metrics.md lists them.",
    "responses": {"200": {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
}

PATHS: dict[str, dict[str, Any]] = {
    routes.WEBHOOK_PATH: {"post": _WEBHOOK},
    routes.TOKEN_PATH: {"post": _WEBHOOK_WITH_TOKEN},
    routes.EVENTS_PATH: {"post": _EVENT},
    routes.BATCH_PATH: {"post": _BATCH},
    "/livez": {
        "get": {
            "tags": ["operations"],
            "operationId": "livez",
            "summary": "Check liveness",
            "description": "For load balancers. The response gives no reasons.",
            "responses": {
                status: {"description": said, "content": {"application/json": {"schema": _LIVENESS}}}
                for status, said in (("200", "Yes."), ("503", "No."))
            },
        }
    },
}
# On the metrics port, and in development also on this one.
OPERATIONS: dict[str, dict[str, Any]] = {
    "/healthz": {"get": _probe("healthz", "Check health", "503 means that the process must be restarted.")},
    "/readyz": {
        "get": _probe(
            "readyz",
            "Check readiness",
            "503 until ingest has responded once, and while the process is stopping. `degraded` names services that "
            "cannot serve: requests that need them return 503.",
        )
    },
    "/metrics": {"get": _METRICS},
}
