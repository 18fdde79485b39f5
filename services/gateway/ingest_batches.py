"""Sends events to ingest in batches: while one call is out, the next batch collects."""

import time
from collections.abc import Sequence

import grpc
import msgspec

from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.common import batching, errors, grpc_errors, transfer
from services.gateway import metrics, refusals
from services.gateway.patience import MIN_CALL_SECONDS, Patience, Unanswered
from services.gateway.settings import GatewaySettings

# Calls follow each other no sooner, unless they are full: below saturation a call costs as much as fifty events in it.
PACE_SECONDS = 0.006

NOT_STORED = "the event was not stored, because its store cannot be reached; try again"
NOT_SENT = "the event could not be stored in time, and was not; try again"
MAY_BE_STORED = (
    "the event may have been stored; retry with the same Idempotency-Key, or a retry may store it a second time"
)


class _Waiting(msgspec.Struct, frozen=True):
    item: ingest_pb2.IngestItem
    # On time.monotonic(), in seconds.
    deadline: float


Result = ingest_pb2.Accepted


class IngestBatches:
    """Hands events to ingest and returns what became of each."""

    def __init__(
        self, ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", patience: Patience, settings: GatewaySettings
    ) -> None:
        self._call = ingest.BatchIngest
        self._patience = patience
        self._large_bytes = settings.ingest_batch_bytes
        bounds = batching.Bounds(
            batch_items=settings.ingest_batch_items,
            batch_bytes=settings.ingest_batch_bytes,
            waiting_items=settings.ingest_waiting_items,
            waiting_bytes=settings.ingest_waiting_bytes,
            concurrency=settings.ingest_batches_in_flight,
            pace_seconds=PACE_SECONDS,
        )
        self._small: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush, bounds)
        # Apart, so that nothing small waits for a call that takes seconds.
        self._large: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush, bounds)

    async def accept(self, item: ingest_pb2.IngestItem, size_bytes: int) -> Result:
        """Wait for the commit; WebhookError when the item is refused or ingest does not answer in time.

        Items carry the ids that the gateway made, so a batch may be sent twice.
        """
        batcher = self._small if size_bytes <= self._large_bytes else self._large
        deadline = self._patience.deadline(transfer.extra_seconds(size_bytes))
        return await batcher.submit(_Waiting(item, deadline), size_bytes)

    async def drained(self) -> None:
        """Wait until every item has its answer."""
        await self._small.drained()
        await self._large.drained()

    async def _flush(self, batch: list[_Waiting]) -> Sequence[Result | Exception]:
        # One that waited too long is not sent, so that "try again" is not said of an event that is then committed.
        latest = time.monotonic() + MIN_CALL_SECONDS
        live = [waiting for waiting in batch if waiting.deadline > latest]
        if not live:
            return [errors.Unavailable(NOT_SENT) for _ in batch]
        metrics.BATCH_ITEMS.observe(len(live))
        results = iter(await self._send([waiting.item for waiting in live], min(waiting.deadline for waiting in live)))
        if len(live) == len(batch):
            return list(results)
        return [next(results) if one.deadline > latest else errors.Unavailable(NOT_SENT) for one in batch]

    async def _send(self, items: list[ingest_pb2.IngestItem], deadline: float) -> list[Result | Exception]:
        request = ingest_pb2.BatchIngestRequest(items=items)
        try:
            answer: ingest_pb2.BatchIngestResponse = await self._patience.ask(self._call, request, deadline)
        except Unanswered as error:
            raise errors.OutcomeUnknown(MAY_BE_STORED) if error.unknown else errors.Unavailable(NOT_STORED) from None
        except grpc.aio.AioRpcError as error:
            raise refusals.of(error) from None
        if len(answer.results) != len(items):
            raise errors.WebhookError("ingest answered another number of results than it was sent items")
        return [_result(result) for result in answer.results]


def _result(result: ingest_pb2.IngestResult) -> Result | Exception:
    if result.HasField("accepted"):
        return result.accepted
    refused = result.error
    violations = (errors.Violation(field=refused.field, description=refused.message),) if refused.field else ()
    return grpc_errors.make(refused.code, refused.message, reason=refused.reason, violations=violations)
