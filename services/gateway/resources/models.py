"""Parts that the models of resources share."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Header, Path
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp as ProtoTimestamp
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

from services.domain import events, limits
from services.gateway.resources import enums
from services.gateway.web import openapi
from services.platform import errors, ids, paging
from services.platform.grpc import conversion

# Headers of a response with something that is shown only once, so that no proxy keeps it.
NO_STORE = {"cache-control": "no-store"}
EXAMPLE_TIME = "2026-03-14T15:09:26.535Z"
EXAMPLE_SUBSCRIPTION_ID = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
EXAMPLE_EVENT_ID = "019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5"
EXAMPLE_DELIVERY_ID = "019ced70-1c5d-7f02-a3d9-7c1e5b8f2046"


class Request(BaseModel):
    """A request of a client, in which unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """A response to a client."""


Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=[EXAMPLE_TIME])]


def timestamp(moment: ProtoTimestamp) -> str:
    """Return a time in RFC 3339, in UTC with milliseconds."""
    return f"{moment.ToDatetime().isoformat(timespec='milliseconds')}Z"


def values(message: Message) -> dict[str, Any]:
    """Return the fields of a message by their names, as answers have them: null for one that is unset."""
    made: dict[str, Any] = {}
    for name, may_be_unset, of in _readers(message.DESCRIPTOR):
        if may_be_unset and not message.HasField(name):
            made[name] = None
        else:
            value = getattr(message, name)
            made[name] = value if of is None else of(value)
    return made


_Reader: TypeAlias = Callable[[Any], Any] | None


@functools.cache
def _readers(descriptor: Descriptor) -> tuple[tuple[str, bool, _Reader], ...]:
    """Return of each field its name, whether it may be unset, and what its value becomes; None if it stays."""
    return tuple((field.name, field.has_presence, _reader(field)) for field in descriptor.fields)


def _reader(field: FieldDescriptor) -> _Reader:
    kind = field.message_type
    if field.enum_type is not None:
        texts = conversion.texts(field.enum_type)
        return (lambda items: [texts[one] for one in items if one in texts]) if field.is_repeated else texts.get
    if kind is not None and kind.GetOptions().map_entry:
        return dict
    if kind is None:
        return list if field.is_repeated else None
    of = timestamp if kind.full_name == ProtoTimestamp.DESCRIPTOR.full_name else values
    return (lambda items: [of(one) for one in items]) if field.is_repeated else of


_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:.+")


def _check_time(value: object) -> object:
    # pydantic would also accept numbers, as seconds or milliseconds depending on their size.
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError(f"must be an RFC 3339 time, such as {EXAMPLE_TIME}")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time in the years 1 to 9999") from None


# A time in a request, in RFC 3339.
Moment = Annotated[AwareDatetime, BeforeValidator(_check_time), AfterValidator(_in_utc)]


def _check_uuid(text: str) -> str:
    try:
        return str(ids.parse("id", text))
    except errors.InvalidArgument as error:
        raise ValueError(error.violations[0].description) from None


Uuid = Annotated[str, AfterValidator(_check_uuid), Field(json_schema_extra={"format": "uuid"})]
SubscriptionId = Annotated[Uuid, Path(description="Id of the subscription.", examples=[EXAMPLE_SUBSCRIPTION_ID])]
EventId = Annotated[Uuid, Path(description="Id of the event.", examples=[EXAMPLE_EVENT_ID])]
DeliveryId = Annotated[Uuid, Path(description="Id of the delivery.", examples=[EXAMPLE_DELIVERY_ID])]
TenantName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9_-]{0,62}$"), Field(examples=["acme"])]


@dataclass(frozen=True)
class Within:
    """Marks a number that must be in a range; an error names both ends."""

    range: limits.Range

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the number after its type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Show the range in OpenAPI."""
        return handler(schema) | {"minimum": self.range.least, "maximum": self.range.most}

    def _check(self, number: float) -> float:
        if not self.range.allows(number):
            raise ValueError(self.range.expected)
        return number


# Numbers in the body of a request, strictly: neither "5" nor true is one.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
WholeNumber = Annotated[int, Field(strict=True)]
PAGE_SIZE = limits.Range(1, paging.MAX_PAGE_SIZE)


class PageQuery(Request):
    """The page of a list."""

    limit: Annotated[int, Within(PAGE_SIZE)] = Field(paging.DEFAULT_PAGE_SIZE, description="Objects per page.")
    cursor: str = Field("", max_length=256, description="`next_cursor` of the previous page. Default: the first page.")


NextCursor = Annotated[
    str | None,
    Field(
        description="`cursor` of the next page, an opaque string; null on the last page.",
        examples=["AZztcBxdfwKj2XwexY8gRg"],
    ),
]


class SearchQuery(PageQuery):
    """What searches have in common: their page, the time of acceptance, and what is known of an event."""

    event_type: list[str] = Field(
        default_factory=list,
        description="Of this type; `order.*` stands for all types that begin with `order.`.",
        examples=[["order.created"], ["order.*"]],
    )
    idempotency_key: list[str] = Field(
        default_factory=list,
        description="Accepted under this idempotency key, for as long as keys are kept (default: 24 hours).",
        examples=[["order-42"]],
    )
    provider_id: list[str] = Field(
        default_factory=list,
        description="With this id of the provider that sent it, which is kept as long.",
        examples=[["evt_1NG8Du2eZvKYlo2CUI79vXWy"]],
    )
    tag: list[str] = Field(
        default_factory=list, description="With this tag: a key and a value.", examples=[["order=42"]]
    )
    from_: Moment | None = Field(
        None,
        alias="from",
        description=(
            "Accepted at this time or later. Default: 24 hours ago, or 24 hours before `to` if that is in the past; "
            "any time if there is a `subscription_id`, `idempotency_key`, `provider_id` or `tag`."
        ),
    )
    to: Moment | None = Field(None, description="Accepted before this time. Default: any time.")
    format: enums.ListFormat = Field(
        "json",
        description="`ndjson`: everything that is found from `cursor` on, an object a line, whatever `limit` is.",
    )
    order: enums.ListOrder = Field("newest", description="Whether the newest or the oldest come first.")

    def check_period(self) -> None:
        """Raise InvalidArgument unless `to` is after `from`."""
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise errors.InvalidArgument.field("to", "must be after from")


class SearchPage(Answer):
    """What was searched, beside the page that was found."""

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    next_cursor: NextCursor
    from_: Timestamp | None = Field(
        alias="from", description="What was searched: from this time on; null if from the beginning."
    )
    to: Timestamp | None = Field(description="And before this time; null if up to now.", examples=[None])
    scanned_to: Timestamp | None = Field(
        description=(
            "How far the search got, if it stopped before the page was full because few of many are wanted; "
            "`next_cursor` goes on from there. Otherwise null."
        ),
        examples=[None],
    )


def searched(answer: Message) -> dict[str, Any]:
    """Return the fields of a SearchPage that a page of a search has."""
    found = values(answer)
    return {
        "next_cursor": found["next_page_token"] or None,
        "from_": found["from_time"],
        "to": found["to_time"],
        "scanned_to": found["scanned_to"],
    }


AllTenants = Annotated[
    Literal["*"] | None,
    Field(description="`*` lists all tenants. Requires a key with role `admin`."),
]


class TenantsQuery(Request):
    """Whether to include all tenants."""

    tenant: AllTenants = None


class ListQuery(PageQuery, TenantsQuery):
    """The page of a list, and whether to include all tenants."""


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=events.MAX_TEXT_LENGTH,
        pattern="^[ -~]+$",
        description=openapi.IDEMPOTENCY_KEY["description"],
    ),
]
