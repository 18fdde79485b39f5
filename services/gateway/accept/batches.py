"""Send events to ingest in batches: while one call is in flight, the next batch collects.

Small events of all tenants share calls, filled in turns among the tenants. A tenant has calls of its own for its large
events, for those that waited much longer than others in their call would, and for all of them for a while after ingest
answered a call without its results. So nothing of one tenant is in the deadline of another.
"""

import dataclasses
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
from services.platform.auth.identity import ACTOR_HEADER
from services.platform.clock import Clock
from services.platform.grpc import errors as grpc_errors
from services.platform.process import batching
from services.platform.process.bounds import BoundedCache

# The least time between calls that are not full: a call costs as much as fifty events in it.
PACE_SECONDS = 0.006

# The field that ingest names if it refuses the time in an item's id.
EVENT_ID = "event_id"

NOT_STORED = "the event was not stored because the event store cannot be reached; try again"
NOT_SENT = "the event was not stored because there was no time left; try again"
CLOCK_OFF = "the event was not stored because the gateway's clock is wrong; try again"
MAY_BE_STORED = "the event may have been stored; retry with the same Idempotency-Key to avoid storing it twice"


# Larger events do not share calls.
SHARED_BYTES = 64 << 10
# What waited so much longer than the newest event of a call does not share it: the call ends at its earliest deadline.
MAX_SKEW_SECONDS = 0.25
# How long, and how many of, the tenants that ingest answered calls without are kept apart.
APART_SECONDS = 10.0
MAX_APART = 10_000
APART = object()


class _Waiting(msgspec.Struct, frozen=True):
    item: ingest_pb2.IngestItem
    tenant: str
    # On time.monotonic(), in seconds.
    deadline: float
    # Whether an earlier call had it.
    may_be_stored: bool = False


class _Apart(Exception):
    """An event has no result yet: it goes in a call of its tenant's own."""

    def __init__(self, *, may_be_stored: bool = False) -> None:
        super().__init__()
        self.may_be_stored = may_be_stored


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
        shared = batching.Bounds(
            batch_items=settings.ingest_batch_items,
            batch_bytes=settings.ingest_batch_bytes,
            waiting_items=settings.ingest_waiting_items,
            waiting_bytes=settings.ingest_waiting_bytes,
            concurrency=settings.ingest_batches_in_flight,
            spare=settings.ingest_batches_in_flight,
            pace_seconds=PACE_SECONDS,
        )
        self._shared: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush_shared, shared)
        apart = dataclasses.replace(shared, mixed=False)
        self._apart: batching.Batcher[_Waiting, Result] = batching.Batcher("ingest", self._flush, apart)
        self._kept_apart: BoundedCache[str, object] = BoundedCache(MAX_APART, ttl_seconds=APART_SECONDS)

    async def accept(self, item: ingest_pb2.IngestItem, size_bytes: int, tenant: str, weight: int = 1) -> Result:
        """Wait for the commit; raise WebhookError if the item is refused or ingest does not respond in time.

        Items have ids made by the gateway, so it is safe to send a batch twice.
        """
        waiting = _Waiting(item, tenant, self._retries.deadline(transfer.extra_seconds(size_bytes)))
        if size_bytes <= SHARED_BYTES and tenant not in self._kept_apart:
            try:
                return await self._shared.submit(waiting, size_bytes, tenant=tenant, weight=weight)
            except _Apart as apart:
                waiting = _Waiting(item, tenant, waiting.deadline, apart.may_be_stored)
        return await self._apart.submit(waiting, size_bytes, tenant=tenant, weight=weight)

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
        await self._shared.drained()
        await self._apart.drained()

    async def _flush_shared(self, batch: list[_Waiting]) -> Sequence[Result | Exception]:
        """Send events of any tenants. Those that must not hold up the others have _Apart for a result."""
        if all(waiting.tenant == batch[0].tenant for waiting in batch):
            return await self._flush(batch)
        earliest = max(waiting.deadline for waiting in batch) - MAX_SKEW_SECONDS
        sent = [waiting for waiting in batch if waiting.deadline >= earliest]
        results = iter(await self._flush(sent))
        return [self._apart_if_late(one, next(results)) if one.deadline >= earliest else _Apart() for one in batch]

    def _apart_if_late(self, waiting: _Waiting, result: Result | Exception) -> Result | Exception:
        """Return the result that ingest has for an event; _Apart if it has none, though it answered."""
        if not isinstance(result, errors.Unavailable):
            return result
        may_be_stored = isinstance(result, errors.OutcomeUnknown)
        if may_be_stored:
            self._kept_apart.put(waiting.tenant, APART)
        return _Apart(may_be_stored=may_be_stored)

    async def _flush(self, batch: list[_Waiting]) -> Sequence[Result | Exception]:
        # An item that waited too long is not sent: its caller is told to try again, so it must not be committed.
        latest = time.monotonic() + MIN_CALL_SECONDS
        live = [waiting for waiting in batch if waiting.deadline > latest]
        if not live:
            return [_not_sent(waiting) for waiting in batch]
        metrics.BATCH_ITEMS.observe(len(live))
        items, deadline = [waiting.item for waiting in live], min(waiting.deadline for waiting in live)
        may_be_stored = any(waiting.may_be_stored for waiting in live)
        results = iter(await self._send(items, deadline, may_be_stored=may_be_stored))
        return [next(results) if one.deadline > latest else _not_sent(one) for one in batch]

    async def _send(
        self,
        items: list[ingest_pb2.IngestItem],
        deadline: float,
        *,
        may_renew_ids: bool = True,
        may_be_stored: bool = False,
    ) -> list[Result | Exception]:
        request = ingest_pb2.BatchIngestRequest(items=items)
        try:
            answer: ingest_pb2.BatchIngestResponse
            answer, repeated = await self._ask(self._ingest.BatchIngest, request, deadline, may_be_stored=may_be_stored)
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
            may_be_stored = may_be_stored or repeated
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

    async def _ask(
        self, method: Callable[..., Any], request: object, deadline: float, *, may_be_stored: bool = False
    ) -> tuple[Any, bool]:
        try:
            return await self._retries.call(method, request, deadline)
        except Unanswered as error:
            unknown = error.unknown or may_be_stored
            raise errors.OutcomeUnknown(MAY_BE_STORED) if unknown else errors.Unavailable(NOT_STORED) from None

    async def _send_with_new_ids(self, items: list[ingest_pb2.IngestItem], deadline: float) -> list[Result | Exception]:
        """Send items with new ids from the corrected clock; return an error for each if the call fails."""
        for item in items:
            item.event_id = str(self.new_id())
        try:
            return await self._send(items, deadline, may_renew_ids=False)
        except errors.WebhookError as error:
            return [error] * len(items)


def _not_sent(waiting: _Waiting) -> errors.Unavailable:
    return errors.OutcomeUnknown(MAY_BE_STORED) if waiting.may_be_stored else errors.Unavailable(NOT_SENT)


def _is_stale(error: errors.InvalidArgument) -> bool:
    """Return whether an item is refused because of the time in its id, which is made here."""
    return any(violation.field == EVENT_ID for violation in error.violations)


def _result(result: ingest_pb2.IngestResult) -> Result | Exception:
    if result.HasField("accepted"):
        return result.accepted
    refused = result.error
    violations = tuple(errors.Violation(field=one.field, description=one.description) for one in refused.violations)
    if refused.field and not violations:
        violations = (errors.Violation(field=refused.field, description=refused.message),)
    return grpc_errors.make(refused.code, refused.message, reason=refused.reason, violations=violations)
