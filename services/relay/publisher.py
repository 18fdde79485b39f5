"""Sends claimed rows to ingest, and tells which refusals another try cannot change."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from protos.webhook.v1 import ingest_pb2
from services.platform import clock, errors
from services.platform.grpc import errors as grpc_errors
from services.relay.store import Row

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.ingest_pb2_grpc import IngestServiceAsyncStub

CALL_SECONDS = 10.0
# About the whole call: ingest cannot be reached, has too much to do, or does not take the relay's key.
_OF_CALL = (errors.Unavailable, errors.Overloaded, errors.Unauthenticated, errors.PermissionDenied)
# About a row. Everything else, such as a quota that is used up, may be different later.
_FINAL = (
    errors.InvalidArgument,
    errors.NotFound,
    errors.Unauthenticated,
    errors.PermissionDenied,
    errors.Conflict,
)


def is_final(error: errors.WebhookError) -> bool:
    """Return whether a row is refused for good."""
    return isinstance(error, _FINAL) and not isinstance(error, errors.IdempotencyKeyInUse)


def described(error: errors.WebhookError) -> str:
    """Return an error as the outbox has it."""
    return f"{error.reason}: {error.message}"


class Publisher:
    """Sends rows by BatchIngest. `tenant_id` is that of rows that name none; empty for the tenant of the key."""

    def __init__(self, ingest: "IngestServiceAsyncStub", *, tenant_id: str = "") -> None:
        self._ingest = ingest
        self._tenant_id = tenant_id

    async def publish(self, rows: Sequence[Row]) -> list[ingest_pb2.Accepted | errors.WebhookError]:
        """Return what became of each row. Raise WebhookError if that is not known of any, or is no matter of a row."""
        sendable = [row for row in rows if row.payload is not None]
        results = dict(zip((row.id for row in sendable), await self._send(sendable), strict=True))
        too_large = errors.PayloadTooLarge.field("payload", "is larger than any service accepts")
        return [results.get(row.id, too_large) for row in rows]

    async def _send(self, rows: Sequence[Row]) -> list[ingest_pb2.Accepted | errors.WebhookError]:
        if not rows:
            return []
        request = ingest_pb2.BatchIngestRequest(items=[self._item(row) for row in rows])
        timeout_seconds = CALL_SECONDS + clock.extra_seconds(request.ByteSize())
        try:
            answer: ingest_pb2.BatchIngestResponse = await self._ingest.BatchIngest(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            refused = grpc_errors.from_rpc_error(error)
            if isinstance(refused, _OF_CALL):
                raise refused from None
            if len(rows) == 1:
                return [refused]
            # One row may be what the call failed for: the others must not fail with it.
            middle = len(rows) // 2
            return [*await self._send(rows[:middle]), *await self._send(rows[middle:])]
        if len(answer.results) != len(rows):
            raise errors.WebhookError("ingest returned a different number of results than items")
        return [_result(result) for result in answer.results]

    def _item(self, row: Row) -> ingest_pb2.IngestItem:
        """Return the same item each time: the idempotency key includes everything in it."""
        item = ingest_pb2.IngestItem(
            tenant_id=row.tenant_id or self._tenant_id,
            event_type=row.event_type or "",
            content_type=row.content_type,
            content_encoding=row.content_encoding or "",
            payload=row.payload or b"",
            idempotency_key=row.idempotency_key,
            traceparent=row.traceparent or "",
            tags=row.tags,
            event_version=row.event_version or 0,
        )
        if row.subscription_id is None:
            item.fan_out.SetInParent()
        else:
            item.subscription_id = str(row.subscription_id)
        return item


def _result(result: ingest_pb2.IngestResult) -> ingest_pb2.Accepted | errors.WebhookError:
    if result.HasField("accepted"):
        return result.accepted
    refused = result.error
    return grpc_errors.make(refused.code, refused.message, reason=refused.reason)
