"""What callers are told of the results of items: messages, counts, and lines of the activity."""

from collections.abc import Iterable, Sequence

from protos.webhook.v1 import ingest_pb2
from services.domain.notices.activity import Activity
from services.ingest import metrics
from services.ingest.events.records import Accepted, Answer, Handshake, NewEvent
from services.platform import errors
from services.platform.grpc import conversion
from services.platform.grpc import errors as grpc_errors


def accepted_message(answer: Accepted | Handshake) -> ingest_pb2.Accepted:
    """Return the message of what was accepted, or of a handshake."""
    if isinstance(answer, Handshake):
        return ingest_pb2.Accepted(status=ingest_pb2.INGEST_STATUS_HANDSHAKE, challenge=answer.challenge)
    return _accepted(answer)


def _accepted(accepted: Accepted) -> ingest_pb2.Accepted:
    return ingest_pb2.Accepted(
        event_id=str(accepted.event_id),
        delivery_id=str(accepted.delivery_id) if accepted.delivery_id else "",
        status=_status(accepted),
        deliveries=accepted.deliveries,
        expanding=accepted.expanding,
        replayed=accepted.repeated,
        empty_answer=accepted.empty_answer,
        deliver_at=conversion.stamp(accepted.deliver_at),
    )


def _status(accepted: Accepted) -> "ingest_pb2.IngestStatus.ValueType":
    if accepted.deliver_at is not None:
        return ingest_pb2.INGEST_STATUS_SCHEDULED
    return ingest_pb2.INGEST_STATUS_PENDING if accepted.wanted else ingest_pb2.INGEST_STATUS_FILTERED


def result_message(result: Answer) -> ingest_pb2.IngestResult:
    """Return the message of a result in a batch, which may be an error."""
    if not isinstance(result, errors.WebhookError):
        return ingest_pb2.IngestResult(accepted=accepted_message(result))
    return ingest_pb2.IngestResult(
        error=ingest_pb2.ItemError(
            code=grpc_errors.code_number(result),
            reason=result.reason,
            message=result.message,
            field=result.violations[0].field if result.violations else "",
            violations=[
                ingest_pb2.FieldViolation(field=one.field, description=one.description) for one in result.violations
            ]
            if len(result.violations) > 1
            else (),
        )
    )


def count(results: Sequence[Answer]) -> None:
    """Count the results in the metrics."""
    accepted = filtered = repeated = scheduled = 0
    for result in results:
        if isinstance(result, errors.WebhookError):
            metrics.REJECTED.labels(result.reason).inc()
        elif isinstance(result, Handshake):
            pass  # no event
        elif result.repeated:
            repeated += 1
        elif result.deliver_at is not None:
            scheduled += 1
        elif result.wanted:
            accepted += 1
        else:
            filtered += 1
    counted = (
        (metrics.ACCEPTED, accepted),
        (metrics.FILTERED, filtered),
        (metrics.REPEATED, repeated),
        (metrics.SCHEDULED, scheduled),
    )
    for counter, number in counted:
        if number:
            counter.inc(number)


def tell(activity: Activity, new: Iterable[tuple[NewEvent, Accepted]]) -> None:
    """Print a line for each new event, where somebody watches."""
    for event, result in new:
        deliveries = "1 delivery" if result.deliveries == 1 else f"{result.deliveries or 'no'} deliveries"
        if result.expanding:
            deliveries = "its deliveries follow"
        if event.deliver_at is not None:
            deliveries = f"scheduled for {event.deliver_at.isoformat(timespec='milliseconds')}"
        activity.say("accepted %s as event %s: %s", event.event_type or "an untyped event", event.id, deliveries)
