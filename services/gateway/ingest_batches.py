"""Sends events to ingest in batches: while one call is out, the next batch collects."""

import asyncio
import time
from collections.abc import Sequence

import grpc
import msgspec

from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.common import batching, errors, grpc_errors
from services.common.auth.authenticator import ACTOR_HEADER
from services.gateway import callers, metrics, refusals
from services.gateway.callers import Caller
from services.gateway.settings import GatewaySettings

# Less time than this is not worth a call.
MIN_CALL_SECONDS = 0.05
# The first call leaves time for a second one: to another copy of ingest, or to this one back again.
FIRST_CALL_SHARE = 0.6
RETRY_DELAY_SECONDS = 0.05
# Calls follow each other no sooner, unless they are full: below saturation a call costs as much as fifty events in it.
PACE_SECONDS = 0.006

_RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class _Waiting(msgspec.Struct, frozen=True):
    item: ingest_pb2.IngestItem
    # On time.monotonic(), in seconds.
    deadline: float


Result = ingest_pb2.Accepted


class IngestBatches:
    """Hands events to ingest and answers what became of each."""

    def __init__(self, ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", settings: GatewaySettings) -> None:
        self._call = ingest.BatchIngest
        self._ingest = ingest
        self._timeout_seconds = settings.accept_timeout_seconds
        bounds = batching.Bounds(
            batch_items=settings.ingest_batch_items,
            batch_bytes=settings.ingest_batch_bytes,
            waiting_items=settings.ingest_waiting_items,
            waiting_bytes=settings.ingest_waiting_bytes,
            concurrency=settings.ingest_batches_in_flight,
            pace_seconds=PACE_SECONDS,
        )
        self._batcher: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush, bounds)

    async def accept(self, item: ingest_pb2.IngestItem, size_bytes: int) -> Result:
        """Waits for the commit; WebhookError when the item is refused or ingest does not answer in time.

        Items carry the ids that the gateway made, so a batch may be sent twice.
        """
        deadline = time.monotonic() + self._timeout_seconds
        return await self._batcher.submit(_Waiting(item, deadline), size_bytes)

    async def accept_alone(self, item: ingest_pb2.IngestItem, caller: Caller) -> Result:
        """Wait for the commit of an item of an admin in another tenant, which ingest notes in the audit log."""
        try:
            answer = await self._ingest.Ingest(
                ingest_pb2.IngestRequest(item=item),
                timeout=self._timeout_seconds,
                metadata=((ACTOR_HEADER, caller.key_id),),
            )
        except grpc.aio.AioRpcError as error:
            raise refusals.of(error, tenant_field=callers.TENANT) from None
        return answer.accepted

    async def drained(self) -> None:
        """Waits until every item has its answer."""
        await self._batcher.drained()

    async def _flush(self, batch: list[_Waiting]) -> Sequence[Result | Exception]:
        # Items come in the order of their deadlines. One that waited too long is not sent at all, so that
        # "try again" is not said of an event that is then committed.
        latest = time.monotonic() + MIN_CALL_SECONDS
        live = [waiting for waiting in batch if waiting.deadline > latest]
        late: list[Result | Exception] = [_unavailable() for _ in range(len(batch) - len(live))]
        if not live:
            return late
        metrics.BATCH_ITEMS.observe(len(live))
        request = ingest_pb2.BatchIngestRequest(items=[waiting.item for waiting in live])
        answer = await self._send(request, live[0].deadline)
        if len(answer.results) != len(live):
            raise errors.WebhookError("ingest answered another number of results than it was sent items")
        return late + [_result(result) for result in answer.results]

    async def _send(self, request: ingest_pb2.BatchIngestRequest, deadline: float) -> ingest_pb2.BatchIngestResponse:
        try:
            try:
                return await self._call(request, timeout=(deadline - time.monotonic()) * FIRST_CALL_SHARE)
            except grpc.aio.AioRpcError as error:
                left = deadline - time.monotonic() - RETRY_DELAY_SECONDS
                if error.code() not in _RETRYABLE or left < MIN_CALL_SECONDS:
                    raise
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            return await self._call(request, timeout=left, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise refusals.of(error) from None


def _result(result: ingest_pb2.IngestResult) -> Result | Exception:
    if result.HasField("accepted"):
        return result.accepted
    refused = result.error
    violations = (errors.Violation(field=refused.field, description=refused.message),) if refused.field else ()
    return grpc_errors.make(refused.code, refused.message, reason=refused.reason, violations=violations)


def _unavailable() -> Exception:
    return errors.Unavailable("the event could not be stored in time, and was not; try again")
