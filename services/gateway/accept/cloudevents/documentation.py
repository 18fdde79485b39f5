"""The OpenAPI description of the route that takes CloudEvents."""

from typing import Any

import msgspec

from services.domain import cloudevents, event_versions, events
from services.gateway.accept import documentation, envelope
from services.gateway.accept.cloudevents import formats, routes
from services.gateway.resources import models
from services.gateway.web import openapi, problems
from services.platform import errors

_EXAMPLE = {
    "specversion": cloudevents.SPECVERSION,
    "id": "A234-1234-1234",
    "source": "https://example.com/orders",
    "type": "com.example.order.created",
    "time": models.EXAMPLE_TIME,
    "data": {"order": 42, "total": 9.90},
}
_CLOUDEVENT = {
    "title": "CloudEvent",
    "description": (
        f"A CloudEvent in JSON, with at most {cloudevents.MAX_ATTRIBUTES} attributes. Extensions are strings, "
        f"booleans, or integers, whose names have 1 to {cloudevents.MAX_NAME_LENGTH} characters of `a-z 0-9`."
    ),
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": cloudevents.SPECVERSION},
        "id": {
            "type": "string",
            "minLength": 1,
            "description": "Unique for the source: an event with the same `source` and `id` is a repeat.",
        },
        "source": {"type": "string", "minLength": 1, "description": "URI or path of what the event happened in."},
        "type": {"type": "string", "pattern": f"^{events.TYPE_PATTERN}$", "description": "Type of the event."},
        "subject": {"type": ["string", "null"], "description": "What in the source the event is about."},
        "time": {"type": ["string", "null"], "description": "When it happened, in RFC 3339."},
        "datacontenttype": {
            "type": ["string", "null"],
            "description": "Content-Type with which the data is delivered; `application/json` if it is absent.",
        },
        "dataschema": {"type": ["string", "null"], "description": "URI of a schema of the data, which is not read."},
        cloudevents.EVENT_VERSION: {
            "type": ["integer", "null"],
            "minimum": event_versions.NUMBER.least,
            "maximum": event_versions.NUMBER.most,
            "description": "Extension: the version of its type that the data is of, as `event_version` of others.",
        },
        "data": {"description": "Any JSON value, whose exact bytes are delivered; a string if the type is not JSON."},
        "data_base64": {"type": "string", "description": "Bytes in base64, in place of `data`."},
    },
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
    "examples": [_EXAMPLE],
}
_ATTRIBUTES = ("id", "source", "type", "specversion")
_TAKEN: dict[str, Any] = {
    "tags": ["events"],
    "operationId": "publish_cloudevents",
    "summary": "Publish CloudEvents",
    "description": (
        f"Publishes a CloudEvent, or up to {envelope.MAX_EVENTS:,} of them, to all subscriptions of its type, as "
        "`publish_event` does. The data is the payload.\n\n"
        f"Structured, as `{formats.STRUCTURED}`; a batch, as `{formats.BATCH}`, of which some may be stored and others "
        "refused; or binary, with attributes in `ce-*` headers and the data as the body.\n\n"
        "`source` and `id` are the idempotency key: a repeated CloudEvent is stored once and gets the first response, "
        "and one with other data returns 422 `IDEMPOTENCY_KEY_REUSED`. Attributes are kept with the event."
    ),
    "parameters": [
        *(
            {
                "name": f"ce-{name}",
                "in": "header",
                "description": f"The attribute `{name}`, if the mode is binary. Other attributes are headers, too.",
                "schema": {"type": "string"},
            }
            for name in _ATTRIBUTES
        ),
        documentation.TAGS_HEADER,
        documentation.EVENT_VERSION_HEADER,
    ],
    "requestBody": {
        "required": False,
        "content": {
            formats.STRUCTURED: {"schema": _CLOUDEVENT},
            formats.BATCH: {
                "schema": {"type": "array", "maxItems": envelope.MAX_EVENTS, "items": openapi.ref("CloudEvent")},
                "example": [_EXAMPLE],
            },
            "application/json": {"schema": {"title": "The data itself"}, "example": _EXAMPLE["data"]},
            # Or any other type; generators know no wildcard.
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": documentation.responses(
        *openapi.WITH_BODY,
        accepted=documentation.accepted_as(
            "EventAccepted", {"event_id": models.EXAMPLE_EVENT_ID, "deliveries": 3}, documentation.EVENT_LINKS
        ),
        described={409: f"{openapi.KEY_IN_USE} The key is `source` and `id`."},
    )
    | {
        "200": {
            "description": "Each CloudEvent of a batch is stored or refused.",
            "headers": openapi.REPLAYED_HEADER,
            "content": {
                "application/json": {
                    "schema": openapi.ref("BatchResults"),
                    "example": {
                        "results": [
                            {"event_id": models.EXAMPLE_EVENT_ID, "deliveries": 3},
                            {
                                "error": msgspec.to_builtins(
                                    problems.document(errors.InvalidArgument.field("specversion", 'must be "1.0"'))
                                )
                            },
                        ]
                    },
                }
            },
        }
    },
}
PATHS: dict[str, dict[str, Any]] = {routes.PATH: {"post": _TAKEN}}
