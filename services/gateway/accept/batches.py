"""Send events to ingest in batches: while one call is in flight, the next batch collects."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import msgspec

from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.gateway import metrics
from services.gateway.settings import GatewaySettings
from services.gateway.web import callers, problems
from services.gateway.web.callers import Caller
from services.gateway.web.retries import MIN_CALL_SECONDS, Retries, Unanswered
from services.platform import clock as transfer
from services.platform import errors
from services.platform.auth.authenticator import ACTOR_HEADER
from services.platform.clock import Clock
from services.platform.grpc import errors as grpc_errors
from services.platform.process import batching

# The least time between calls that are not full: a call costs as much as fifty events in it.
PACE_SECONDS = 0.006

# The field that ingest names if it refuses the time in an item's id.
EVENT_ID = "event_id"

NOT_STORED = "the event was not stored because the event store cannot be reached; try again"
NOT_SENT = "the event was not stored because there was no time left; try again"
CLOCK_OFF = "the event was not stored because the gateway's clock is wrong; try again"
MAY_BE_STORED = "the event may have been stored; retry with the same Idempotency-Key to avoid storing it twice"


class _Waiting(msgspec.Struct, frozen=True):
    item: ingest_pb2.IngestItem
    # On time.monotonic(), in seconds.
    deadline: float


Result = ingest_pb2.Accepted


class IngestBatches:
    """Sends events to ingest and returns the result of each."""

    def __init__(
        self,
        ingest: "ingest_pb2_grpc.IngestServiceAsyncStub",
        retries: Retries,
        settings: GatewaySettings,
        clock: Clock | None = None,
    ) -> None:
        self._ingest = ingest
        self._retries = retries
        self._clock = clock or Clock("ingest")
        self.new_id = self._clock.new_id
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
        # Separate, so that small events do not wait for a call that takes seconds.
        self._large: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush, bounds)

    async def accept(self, item: ingest_pb2.IngestItem, size_bytes: int) -> Result:
        """Wait for the commit; raise WebhookError if the item is refused or ingest does not respond in time.

        Items have ids made by the gateway, so it is safe to send a batch twice.
        """
        batcher = self._small if size_bytes <= self._large_bytes else self._large
        deadline = self._retries.deadline(transfer.extra_seconds(size_bytes))
        return await batcher.submit(_Waiting(item, deadline), size_bytes)

    async def accept_alone(self, item: ingest_pb2.IngestItem, caller: Caller) -> Result:
        """Wait for the commit of an item from an admin in another tenant, which ingest records in the audit log."""
        deadline = self._retries.deadline(transfer.extra_seconds(len(item.payload)))
        try:
            return await self._send_alone(item, caller, deadline)
        except errors.InvalidArgument as error:
            if not _is_stale(error):
                raise
        # An empty batch, only to learn the time of ingest.
        await self._send([], deadline)
        item.event_id = str(self.new_id())
        try:
            return await self._send_alone(item, caller, deadline)
        except errors.InvalidArgument as error:
            raise errors.Unavailable(CLOCK_OFF) if _is_stale(error) else error from None

    async def drained(self) -> None:
        """Wait until every item has its result."""
        await self._small.drained()
        await self._large.drained()

    async def _flush(self, batch: list[_Waiting]) -> Sequence[Result | Exception]:
        # An item that waited too long is not sent: its caller is told to try again, so it must not be committed.
        latest = time.monotonic() + MIN_CALL_SECONDS
        live = [waiting for waiting in batch if waiting.deadline > latest]
        if not live:
            return [errors.Unavailable(NOT_SENT) for _ in batch]
        metrics.BATCH_ITEMS.observe(len(live))
        results = iter(await self._send([waiting.item for waiting in live], min(waiting.deadline for waiting in live)))
        if len(live) == len(batch):
            return list(results)
        return [next(results) if one.deadline > latest else errors.Unavailable(NOT_SENT) for one in batch]

    async def _send(
        self, items: list[ingest_pb2.IngestItem], deadline: float, *, may_renew_ids: bool = True
    ) -> list[Result | Exception]:
        request = ingest_pb2.BatchIngestRequest(items=items)
        try:
            answer: ingest_pb2.BatchIngestResponse
            answer, may_be_stored = await self._ask(self._ingest.BatchIngest, request, deadline)
        except grpc.aio.AioRpcError as error:
            raise problems.refusal_of(error) from None
        if len(answer.results) != len(items):
            raise errors.WebhookError("ingest returned a different number of results than items")
        if answer.HasField("server_time"):
            self._clock.compare(answer.server_time.seconds + answer.server_time.nanos / 1e9)
        results = [_result(result) for result in answer.results]
        if any(result.HasField("accepted") for result in answer.results):
            self._retries.note_stored()
        # Ids are made here, so the only reason to refuse one is its time. These items are not stored, unless another
        # replica of ingest with another clock carried out an earlier call: then a new id would store them twice.
        stale = [place for place, result in enumerate(answer.results) if result.error.field == EVENT_ID]
        if stale:
            refusal = errors.OutcomeUnknown(MAY_BE_STORED) if may_be_stored else errors.Unavailable(CLOCK_OFF)
            made: list[Result | Exception] = [refusal] * len(stale)
            if may_renew_ids and not may_be_stored:
                made = await self._send_with_new_ids([items[place] for place in stale], deadline)
            for place, result in zip(stale, made, strict=True):
                results[place] = result
        return results

    async def _send_alone(self, item: ingest_pb2.IngestItem, caller: Caller, deadline: float) -> Result:
        method = functools.partial(self._ingest.Ingest, metadata=((ACTOR_HEADER, caller.key_id),))
        try:
            answer: ingest_pb2.IngestResponse
            answer, _ = await self._ask(method, ingest_pb2.IngestRequest(item=item), deadline)
        except grpc.aio.AioRpcError as error:
            raise problems.refusal_of(error, tenant_field=callers.TENANT) from None
        self._retries.note_stored()
        return answer.accepted

    async def _ask(self, method: Callable[..., Any], request: object, deadline: float) -> tuple[Any, bool]:
        try:
            return await self._retries.call(method, request, deadline)
        except Unanswered as error:
            raise errors.OutcomeUnknown(MAY_BE_STORED) if error.unknown else errors.Unavailable(NOT_STORED) from None

    async def _send_with_new_ids(self, items: list[ingest_pb2.IngestItem], deadline: float) -> list[Result | Exception]:
        """Send items with new ids from the corrected clock; return an error for each if the call fails."""
        for item in items:
            item.event_id = str(self.new_id())
        try:
            return await self._send(items, deadline, may_renew_ids=False)
        except errors.WebhookError as error:
            return [error] * len(items)


def _is_stale(error: errors.InvalidArgument) -> bool:
    """Return whether an item is refused because of the time in its id, which is made here."""
    return any(violation.field == EVENT_ID for violation in error.violations)


def _result(result: ingest_pb2.IngestResult) -> Result | Exception:
    if result.HasField("accepted"):
        return result.accepted
    refused = result.error
    violations = (errors.Violation(field=refused.field, description=refused.message),) if refused.field else ()
    return grpc_errors.make(refused.code, refused.message, reason=refused.reason, violations=violations)
