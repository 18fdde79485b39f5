"""Subscriptions as the REST API has them: what is asked for, what is answered, and their messages of gRPC."""

import copy
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import AfterValidator, ConfigDict, Field

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import event_versions, events, limits
from services.domain.egress import targets
from services.gateway.resources import enums, models
from services.gateway.resources.subscriptions import parts
from services.platform.grpc import conversion

_EXAMPLE: dict[str, Any] = {
    "target_url": "https://example.com/hooks/orders",
    "secret_key": "It's a Secret to Everybody",
    "event_types": ["order.created", "invoice.*"],
    "description": "Orders to the warehouse",
    "name": "warehouse-orders",
    "metadata": {"team": "logistics", "customer": "acme"},
    "rate_limit_per_second": 50,
    "timeout_seconds": 10,
    "headers": {"Authorization": "Bearer token-of-the-warehouse"},
    "retry_policy": parts.EXAMPLE_RETRY_POLICY,
}
_VERIFIED_EXAMPLE: dict[str, Any] = {
    "target_url": "https://example.com/hooks/payments",
    "event_types": ["payment_intent.*"],
    "verify": "stripe",
    "verification_secrets": ["whsec_of-the-endpoint-at-stripe"],
    "tag_paths": {"payment": "/data/object/id"},
}

_PATCH_EXAMPLE: dict[str, Any] = {
    "event_types": ["order.created", "order.paid"],
    "rate_limit_per_second": None,
    "headers": {"X-Team": "billing", "X-Old": None},
    "metadata": {"customer": "acme", "team": None},
}

EXAMPLE_FILTER = "event.data.amount > 100 && event.data.country in ['DE', 'FR']"
_SPEC = pb.SubscriptionSpec.DESCRIPTOR.fields_by_name
# Where a field has another name over gRPC.
_SPEC_NAMES = {"verify": "verification"}


_Filter = Annotated[str, Field(min_length=1, max_length=limits.MAX_FILTER_LENGTH)]
_Url = Annotated[str, Field(max_length=targets.MAX_URL_LENGTH, json_schema_extra={"format": "uri"})]
_HeaderValue = Annotated[str, Field(min_length=1, max_length=limits.MAX_HEADER_VALUE_LENGTH)]
_Name = Annotated[str, Field(pattern=f"^{limits.SUBSCRIPTION_NAME_PATTERN}$")]
_TagPath = Annotated[
    str, Field(min_length=1, max_length=limits.MAX_TAG_PATH_LENGTH, pattern=f"^{limits.TAG_PATH_PATTERN}$")
]
TemplateSecrets = Annotated[
    dict[
        Annotated[str, Field(pattern=f"^{limits.TEMPLATE_SECRET_NAME_PATTERN}$")],
        Annotated[str, Field(min_length=1, max_length=limits.MAX_SECRET_LENGTH)],
    ],
    Field(max_length=limits.MAX_TEMPLATE_SECRETS),
]
EventVersions = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=events.MAX_TYPE_LENGTH)],
        Annotated[models.WholeNumber, models.Within(event_versions.NUMBER)],
    ],
    Field(max_length=event_versions.MAX_PINS),
]
_MetadataValue = Annotated[str, Field(min_length=1, max_length=limits.MAX_METADATA_VALUE_LENGTH)]


class SubscriptionBody(models.Request):
    """An endpoint and the events that it receives."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE, _VERIFIED_EXAMPLE]})

    destination: enums.Destination | None = Field(
        None,
        description=(
            "`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them (`POST …/pull`). It cannot be "
            "combined with `target_url`, `timeout_seconds`, `rate_limit_per_second`, and `client_certificate`. Absent "
            "or null: `http` on create, the stored value on update. It cannot be changed."
        ),
        examples=["http"],
    )
    expires_after_idle_seconds: Annotated[models.WholeNumber, models.Within(limits.IDLE_SECONDS)] | None = Field(
        None,
        description=(
            "With `destination` `pull`: the subscription is deleted when nobody has pulled from it, or changed it, for "
            "this long. Absent or null: never."
        ),
        examples=[3600],
    )
    target_url: _Url | None = Field(
        None,
        description=(
            "Absolute http or https URL without credentials, to which deliveries are POSTed. Its host must resolve to "
            "public addresses, and ports of services other than web servers are not allowed. Required unless "
            "`destination` is `pull`."
        ),
    )
    secret_key: str | None = Field(
        None,
        max_length=limits.MAX_SECRET_LENGTH,
        description=(
            "Secret that signs deliveries and verifies `X-Hub-Signature-256`; write-only. "
            f"{parts.RULES_OF_SECRETS} On create, if absent or null, a secret is generated and returned. On update, "
            "absent keeps the stored secret, null removes it, and another value replaces it at once; `rotate-secret` "
            "replaces it with an overlap."
        ),
        json_schema_extra={"writeOnly": True},
    )
    signature_scheme: enums.DeliveryScheme | None = Field(
        None,
        description=(
            "How deliveries are signed. `hmac-sha256`: with a secret that the receiver also has (`v1`, and "
            "`X-Hub-Signature-256`). `ed25519`: with a private key that stays in the service; the receiver verifies "
            "with the public key (`v1a`). `none`: not signed; removes a stored secret. Default: `hmac-sha256` on "
            "create, the stored scheme on update. To change it in an update, send `secret_key` with it; `rotate-secret`"
            " changes it with an overlap."
        ),
    )
    event_types: list[str] = Field(
        default_factory=list,
        max_length=events.MAX_TYPES,
        description=(
            "Event types to deliver. `order.*` means every type that begins with `order.`. Default, and an empty list: "
            "every type. A PUT must include it if the subscription filters event types."
        ),
    )
    filter: _Filter | None = Field(
        None,
        description=(
            "Condition in CEL (https://cel.dev) that an event has to fulfill in addition to its type, on `event.data`, "
            "which is the payload, `event.type`, `event.tags`, `event.time`, `event.id`, and `event.content_type`. 422 "
            "names the line and the column of what is wrong with it. Absent or null: none."
        ),
        examples=[EXAMPLE_FILTER],
    )
    filter_on_error: enums.FilterOnError | None = Field(
        None,
        description=(
            "What becomes of an event that `filter` cannot be evaluated for, such as one without a field that it names."
            " Absent or null: `deliver` on create, the stored value on update."
        ),
        examples=["deliver"],
    )
    description: str = Field("", max_length=limits.MAX_DESCRIPTION_LENGTH, description="Free-form description.")
    name: _Name | None = Field(
        None,
        description=(
            "Name to find the subscription by, such as the one that it has in your configuration: 1 to 64 characters "
            "of `a-z 0-9 . _ -`. Unique among the tenant's subscriptions that are not deleted; 409 `NAME_TAKEN` if "
            "another has it. Absent or null: none."
        ),
    )
    metadata: dict[str, _MetadataValue] | None = Field(
        None,
        max_length=limits.MAX_METADATA,
        description=(
            "Pairs to find the subscription by; the service does not use them. At most 20; a key has 1 to 64 "
            "characters of `A-Z a-z 0-9 . _ / -`, a value 1 to 512 characters. Absent or null: none."
        ),
    )
    tag_paths: dict[str, _TagPath] | None = Field(
        None,
        max_length=events.MAX_TAGS,
        description=(
            "Where in webhooks to this subscription tags are found, by which events are then searched: the key of each "
            "tag, and a JSON Pointer to a string, a number, or a boolean in the payload. At most 5; tags in "
            "`X-Webhook-Tags` come first. Absent or null: none."
        ),
        examples=[_VERIFIED_EXAMPLE["tag_paths"]],
    )
    keep_when_disabled: bool = Field(
        default=True,
        strict=True,
        description=(
            "Whether events are stored while the subscription is disabled, and delivered once it is enabled. If false, "
            "they get status `filtered`."
        ),
    )
    rate_limit_per_second: Annotated[models.Number, models.Within(limits.RATE_PER_SECOND)] | None = Field(
        None,
        description=(
            "Maximum requests per second, at least 0.001; deliveries over the limit wait. Absent or null: no limit."
        ),
    )
    rate_limit_burst: Annotated[models.WholeNumber, models.Within(limits.BURST)] | None = Field(
        None,
        description=(
            "Maximum requests at once; requires `rate_limit_per_second`. Absent or null: one second's worth of the "
            "rate, and at least 1."
        ),
    )
    timeout_seconds: Annotated[models.Number, models.Within(limits.TIMEOUT_SECONDS)] | None = Field(
        None,
        description="Timeout of one request. Absent or null: the service's default, 15 s unless configured.",
    )
    retry_policy: parts.RetryPolicyBody | None = Field(
        None, description="When failed deliveries are retried. Absent or null: the service's default policy."
    )
    headers: dict[str, _HeaderValue] | None = Field(
        None,
        max_length=limits.MAX_HEADERS,
        description=(
            "Headers that each request carries in addition to the service's own. Values are write-only, because they "
            "may be credentials. At most 20, which total at most 4,096 bytes; a value has 1 to 1,024 printable ASCII "
            "characters. Not allowed are headers of the connection (`Host`, `Connection`, `Content-Length`, …) and the "
            "service's own (`Content-Type`, `User-Agent`, `webhook-*`, `X-Webhook-*`, …), also with `_` for `-`. In an "
            "update: absent keeps the stored headers, null removes them."
        ),
        json_schema_extra={"writeOnly": True},
    )
    verify: enums.Verification | None = Field(
        None,
        description=(
            "Signature required on incoming webhooks; others return 401 and are not stored. `auto`: "
            "`X-Hub-Signature-256` is verified if present. `required`: it must be present. `github`, `stripe`, "
            "`shopify`, `slack`, `standard-webhooks`: the provider's signature; the event's type and id are read from "
            "the provider's headers or body. `none`: signatures are ignored. Absent or null: `auto` on create, the "
            "stored value on update; null in a PATCH resets it to `auto`."
        ),
    )
    verification_secrets: list[Annotated[str, Field(min_length=1, max_length=limits.MAX_SECRET_LENGTH)]] | None = Field(
        None,
        max_length=limits.MAX_VERIFICATION_SECRETS,
        description=(
            "The provider's secrets, which verify webhooks to this subscription; write-only. One, or two while the "
            "provider changes its secret: either may have signed. Required for `stripe`, `shopify`, `slack`, and "
            "`standard-webhooks` (there with the prefix `whsec_` or `v1,whsec_` and the base64 of the key); otherwise "
            "`secret_key` is used if there are none. At least 8 bytes, without white space around them; `warnings` "
            "reports fewer than 24. In an update: absent keeps the stored secrets, null removes them."
        ),
        json_schema_extra={"writeOnly": True},
    )
    relay_headers: bool | None = Field(
        None,
        strict=True,
        description=(
            "Whether the provider's own headers (`X-GitHub-Event`, `Stripe-Signature`, …) are kept with webhooks and "
            "sent with their deliveries, for receivers that use the provider's library. The provider's "
            "`X-Hub-Signature-256` then replaces the service's; `webhook-signature` stays. Requires `verify` to name a "
            "provider. Absent or null: false."
        ),
        examples=[False],
    )
    kind: enums.SubscriptionKind | None = Field(
        None,
        description=(
            "`normal`: receives the tenant's events. `system`: receives only events about the tenant's other "
            "subscriptions (`subscription.disabled`, `subscription.failing`, `subscription.recovered`, "
            "`subscription.filter_stopped`, `delivery.exhausted`); a tenant has at most one. Absent or null: `normal` "
            "on create, the stored value on update. It cannot be changed."
        ),
        examples=["normal"],
    )
    template: parts.TemplateBody | None = Field(
        None,
        description=(
            "What is sent in place of the payload, rendered at each attempt from the stored event. An update replaces "
            "it as a whole. Absent or null: the payload is sent."
        ),
    )
    template_secrets: TemplateSecrets | None = Field(
        None,
        description=(
            "Values that the template knows as `secrets.NAME`, such as the routing key of PagerDuty; write-only. At "
            "most 10; a name has 1 to 64 characters of `a-z 0-9 _`, a value 1 to 256 characters. In an update: absent "
            "keeps the stored values, null removes them, and other values replace all of them."
        ),
        json_schema_extra={"writeOnly": True},
    )
    event_versions: EventVersions | None = Field(
        None,
        description=(
            "The versions to get of events, by type; `invoice.*` means every type that begins with `invoice.`. The "
            "entry that names the type decides, or else the longest prefix. Payloads of later versions are converted "
            "by `down_conversion` of the catalog's versions; others are sent as they are. An update replaces all "
            "entries. Absent or null: events are sent as they are."
        ),
        examples=[{"invoice.*": 2}],
    )
    client_certificate: parts.ClientCertificateBody | None = Field(
        None,
        description=(
            "Client certificate for receivers that require one (mutual TLS). Requires a `target_url` with https; the "
            "key is write-only. In an update: absent keeps the stored certificate, null removes it."
        ),
    )


def _nullable(name: str) -> Any:
    """Return a field of SubscriptionBody that may be absent or null, for a patch."""
    field = copy.copy(SubscriptionBody.model_fields[name])
    field.default, field.default_factory = None, None
    return field


class SubscriptionPatch(SubscriptionBody):
    """The fields to change (JSON Merge Patch, RFC 7396): absent keeps the stored value, null removes it.

    `headers`, `metadata`, `tag_paths`, and `retry_policy` are merged field by field.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_PATCH_EXAMPLE]})

    # Null means the default, and is refused where there is none.
    event_types: list[str] | None = _nullable("event_types")  # type: ignore[assignment]
    description: str | None = _nullable("description")  # type: ignore[assignment]
    keep_when_disabled: bool | None = _nullable("keep_when_disabled")  # type: ignore[assignment]
    # Null removes one header.
    headers: dict[str, _HeaderValue | None] | None = _nullable("headers")  # type: ignore[assignment]
    # Null removes one pair.
    metadata: dict[str, _MetadataValue | None] | None = _nullable("metadata")  # type: ignore[assignment]
    tag_paths: dict[str, _TagPath | None] | None = _nullable("tag_paths")  # type: ignore[assignment]


class Breaker(models.Answer):
    """Circuit breaker: delays deliveries while the endpoint fails."""

    state: enums.BreakerState = Field(
        description="`closed`: deliveries are sent. `open`: they wait. `half_open`: one of them is tried.",
        examples=["closed"],
    )
    since: models.Timestamp | None = Field(
        description=(
            "When it entered this state, or when the endpoint first failed if it was never open; null if it never "
            "failed."
        ),
        examples=[None],
    )
    reason: str | None = Field(description="Why it opened; null while it is closed.", examples=[None])
    next_probe_at: models.Timestamp | None = Field(
        description="When one delivery may be tried, while it is open; otherwise null.", examples=[None]
    )
    consecutive_failures: int = Field(description="Failed attempts since the last success.", examples=[0])


class Subscription(models.Answer):
    """A stored subscription. Responses never contain its secrets, except one that was just generated."""

    id: models.Uuid = Field(examples=[models.EXAMPLE_SUBSCRIPTION_ID])
    tenant_id: str = Field(description="The subscription's tenant.", examples=["acme"])
    destination: enums.Destination = Field(
        description="`http`: deliveries are POSTed to `target_url`. `pull`: consumers pull them.", examples=["http"]
    )
    expires_after_idle_seconds: int | None = Field(
        description="It is deleted when nobody has pulled from it, or changed it, for this long; null for never.",
        examples=[None],
    )
    target_url: str | None = Field(description="null if `destination` is `pull`.", examples=[_EXAMPLE["target_url"]])
    event_types: list[str] = Field(examples=[_EXAMPLE["event_types"]])
    filter: str | None = Field(
        description="Condition in CEL that an event has to fulfill in addition to its type; null if there is none.",
        examples=[EXAMPLE_FILTER],
    )
    filter_on_error: enums.FilterOnError = Field(
        description="What becomes of an event that `filter` cannot be evaluated for.", examples=["deliver"]
    )
    filter_stopped_at: models.Timestamp | None = Field(
        description=(
            "When `filter` was stopped because evaluating it took more than 5 ms for 100 events within an hour; since "
            "then `filter_on_error` decides. Another `filter` starts it again. null while it is evaluated."
        ),
        examples=[None],
    )
    description: str = Field(examples=[_EXAMPLE["description"]])
    name: str | None = Field(
        description="Unique among the tenant's subscriptions; null if it has none.", examples=[_EXAMPLE["name"]]
    )
    metadata: dict[str, str] = Field(description="Pairs to find it by.", examples=[_EXAMPLE["metadata"]])
    tag_paths: dict[str, str] = Field(
        description="Where in webhooks to this subscription tags are found.", examples=[_VERIFIED_EXAMPLE["tag_paths"]]
    )
    has_secret: bool = Field(description="Whether deliveries are signed.", examples=[True])
    signature_scheme: enums.DeliveryScheme = Field(
        description="How deliveries are signed; `none` without a secret.", examples=["hmac-sha256"]
    )
    public_keys: list[parts.PublicKey] = Field(
        description="Public keys of the signing private keys, newest first; empty for `hmac-sha256`.", examples=[[]]
    )
    previous_secrets: list[parts.PreviousSecret] = Field(
        description="Replaced secrets that are still valid, newest first.", examples=[[]]
    )
    has_ingest_token: bool = Field(description="Whether it has an ingest token.", examples=[False])
    status: enums.SubscriptionStatus = Field(
        description=(
            "`paused` and `disabled`: deliveries wait until it is resumed or enabled. `unverified`: they wait until "
            "its target has answered a challenge."
        ),
        examples=["active"],
    )
    status_reason: enums.StatusReason | None = Field(
        description=(
            "Why it is disabled: `manual`, `gone` (the receiver responded with 410), or `failing` (all attempts failed "
            "for days); otherwise null."
        ),
        examples=[None],
    )
    status_since: models.Timestamp
    next_check_at: models.Timestamp | None = Field(
        description="When an `unverified` target is sent the next challenge; null if not before somebody asks for it."
    )
    check_error: str | None = Field(
        description="Why an `unverified` target is not verified yet; otherwise null.", examples=[None]
    )
    keep_when_disabled: bool = Field(description="Whether events are stored while it is disabled.", examples=[True])
    rate_limit_per_second: float | None = Field(description="null for no limit.", examples=[50.0])
    rate_limit_burst: int | None = Field(description="null for one second's worth of the rate.", examples=[None])
    timeout_seconds: float | None = Field(description="null for the service's default.", examples=[10.0])
    effective_timeout_seconds: float | None = Field(
        description="The timeout in effect: the subscription's own, or the service's default. null for `pull`.",
        examples=[10.0],
    )
    retry_policy: parts.RetryPolicy | None = Field(
        description=(
            "With the service's defaults for fields that the request did not set; null for the service's default "
            "policy."
        )
    )
    effective_retry_policy: parts.RetryPolicy = Field(
        description="The policy in effect: the subscription's own, or the service's default."
    )
    header_names: list[str] = Field(
        description="Names of the headers that each request carries in addition to the service's own.",
        examples=[["Authorization"]],
    )
    template: parts.Template | None = Field(
        description="What is sent in place of the payload; null for the payload.", examples=[None]
    )
    template_secret_names: list[str] = Field(description="Names of the template's secrets.", examples=[[]])
    event_versions: dict[str, int] = Field(
        description="The versions that it gets of events, by type.", examples=[{"invoice.*": 2}]
    )
    verify: enums.Verification = Field(description="Signature required on incoming webhooks.", examples=["stripe"])
    has_verification_secret: bool = Field(
        description="Whether webhooks are verified with `verification_secrets` instead of `secret_key`.",
        examples=[True],
    )
    relay_headers: bool = Field(
        description="Whether deliveries have the provider's own headers, too.", examples=[False]
    )
    kind: enums.SubscriptionKind = Field(
        description="`system`: receives only events about the tenant's other subscriptions.",
        examples=["normal"],
    )
    client_certificate: parts.ClientCertificate | None = Field(
        description="Client certificate for receivers that require one; null if there is none.", examples=[None]
    )
    breaker: Breaker
    warnings: list[str] = Field(
        description=(
            "Weaknesses, one sentence each, such as a secret of fewer than 24 bytes, or relayed signatures that are "
            "valid for only 5 minutes. After a request that sets it, also what the filter asks for that the schemas of "
            "the event types in the catalog rule out."
        ),
        examples=[[]],
    )
    created_at: models.Timestamp
    updated_at: models.Timestamp


class CreatedSubscription(Subscription):
    """A new subscription, with its secret if one was generated."""

    secret_key: str | None = Field(
        description=(
            "The generated secret, shown only in this response; null if the request had a secret or chose `none`, and "
            "in a repeated response. An `ed25519` private key is never returned: see `public_keys`."
        ),
        examples=[parts.EXAMPLE_SECRET],
    )


class SubscriptionPage(models.Answer):
    """A page of subscriptions, newest first."""

    items: list[Subscription]
    next_cursor: models.NextCursor


def _check_pairs(texts: list[str]) -> list[str]:
    keys = [text.partition("=") for text in texts]
    if not all(key and equals and value for key, equals, value in keys):
        raise ValueError("must be key=value, such as team=logistics")
    if len({key for key, _, _ in keys}) < len(keys):
        raise ValueError("must not have a key twice: a subscription has one value for a key")
    return texts


class SubscriptionsQuery(models.ListQuery):
    """The page of a list of subscriptions, and which of them it has."""

    name: _Name | None = Field(
        None, description="Only the subscription with this name. Not with `tenant=*`.", examples=["warehouse-orders"]
    )
    metadata: Annotated[list[str], AfterValidator(_check_pairs)] = Field(
        default_factory=list,
        max_length=limits.MAX_METADATA,
        description=(
            "`key=value`: only subscriptions with this pair in their metadata. Repeat the parameter for several pairs, "
            "which a subscription must all have. A page may then have fewer objects than `limit`, or none, and a "
            "`next_cursor`. Not with `tenant=*`."
        ),
        examples=[["team=logistics"]],
    )

    @property
    def pairs(self) -> dict[str, str]:
        """The pairs of `metadata`."""
        return {key: value for key, _, value in (text.partition("=") for text in self.metadata)}


def spec(body: SubscriptionBody) -> pb.SubscriptionSpec:
    """Return what a body asks for. A null is what the message has without the field."""
    return pb.SubscriptionSpec(**{_SPEC_NAMES.get(name, name): _asked(body, name) for name in body.model_fields_set})


# Fields that are messages over gRPC, made of a value or of null.
_MESSAGES: Mapping[str, Callable[[Any], Any]] = {
    "verification_secrets": lambda value: pb.VerificationSecrets(values=value or ()),
    "template": lambda value: value and pb.Template(**value.model_dump(exclude_none=True)),
    "template_secrets": lambda value: pb.TemplateSecrets(values=value or {}),
    "client_certificate": lambda value: pb.ClientCertificate(**value.model_dump() if value else {}),
    "retry_policy": lambda value: value and pb.RetryPolicy(**value.model_dump(exclude_none=True)),
}


def _asked(body: SubscriptionBody, name: str) -> Any:
    value = getattr(body, name)
    field = _SPEC[_SPEC_NAMES.get(name, name)]
    if name in {"headers", "metadata", "tag_paths"}:
        texts = {key: text or "" for key, text in (value or {}).items()}
        merge = isinstance(body, SubscriptionPatch) and value is not None
        return pb.CustomHeaders(values=texts, merge=merge) if name == "headers" else texts
    if name in _MESSAGES:
        return _MESSAGES[name](value)
    if value is not None and field.enum_type is not None:
        return conversion.numbers(field.enum_type)[value]
    return value


def update_mask(body: SubscriptionPatch) -> FieldMask:
    """Return the fields that a merge patch names, as UpdateSubscription does."""
    paths = []
    for name in sorted(body.model_fields_set):
        if name == "retry_policy" and body.retry_policy is not None:
            paths += [f"{name}.{nested}" for nested in sorted(body.retry_policy.model_fields_set)]
        else:
            paths.append(_SPEC_NAMES.get(name, name))
    return FieldMask(paths=paths)


def fields(message: pb.Subscription) -> dict[str, Any]:
    """Return the fields of a subscription of gRPC as REST has them."""
    found = models.values(message.spec) | models.values(message.status)
    for name in ("retry_policy", "effective_retry_policy"):
        policy = found[name]
        found[name] = policy and {key: value for key, value in policy.items() if value not in (None, "", [])}
    template = found["template"]
    found["template"] = template and {key: value or None for key, value in template.items()}
    found["target_url"] = found["target_url"] or None
    # Of an ingest of an earlier version.
    found["destination"] = found["destination"] or "http"
    found["filter_on_error"] = found["filter_on_error"] or "deliver"
    renamed = {name: found[other] for name, other in _SPEC_NAMES.items()}
    return found | renamed | {"id": message.id, "tenant_id": message.tenant_id}
