"""The attributes of CloudEvents, to and from their messages."""

from protos.webhook.v1 import ingest_pb2
from services.domain import cloudevents
from services.domain.cloudevents import Attributes, Value
from services.domain.sender_context import NOTHING, SenderContext
from services.platform import errors


def context_of(item: ingest_pb2.IngestItem) -> SenderContext:
    """Return what is kept of an item that is a CloudEvent, and nothing of any other; InvalidArgument naming fields."""
    if not item.cloudevent:
        return NOTHING
    if item.WhichOneof("target") == "subscription_id":
        raise errors.InvalidArgument.field("cloudevent", "requires fan_out")
    if item.idempotency_key:
        raise errors.InvalidArgument.field("idempotency_key", "cannot be combined with cloudevent")
    attributes: dict[str, Value] = {}
    wrong: list[errors.Violation] = []
    for name, value in item.cloudevent.items():
        kind = value.WhichOneof("value")
        if name in cloudevents.COLUMNS or kind is None:
            why = "must have a value" if kind is None else "has a field of its own"
            wrong.append(errors.Violation(field=f"cloudevent.{name}", description=why))
        attributes[name] = "" if kind is None else getattr(value, kind)
    wrong = wrong or cloudevents.violations(attributes, lambda name: f"cloudevent.{name}")
    if wrong:
        raise errors.InvalidArgument.of(*wrong)
    return SenderContext(cloudevent=attributes)


def key_of(attributes: Attributes) -> str:
    """Return the idempotency key of a CloudEvent that was checked."""
    return cloudevents.key(str(attributes["source"]), str(attributes["id"]))


def values(attributes: Attributes) -> dict[str, ingest_pb2.CloudEventValue]:
    """Return attributes as messages have them."""
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Value) -> ingest_pb2.CloudEventValue:
    if isinstance(value, bool):
        return ingest_pb2.CloudEventValue(boolean=value)
    if isinstance(value, int):
        return ingest_pb2.CloudEventValue(integer=value)
    return ingest_pb2.CloudEventValue(text=value)
