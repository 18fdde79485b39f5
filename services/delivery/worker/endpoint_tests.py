"""Test events: what somebody sends to an endpoint at once, to see what it answers.

They are asked for by rows (services/delivery/api/endpoint_tests.py), which any worker takes in hand, and their
attempts go back the same way. They are no deliveries: they have no retries, no statistics, and no part in the breaker,
and are sent whatever holds the deliveries of their subscription. They keep to the bounds of their tenant and their
host, as deliveries do. Those of a subscription that is not created bring what is known of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

import msgspec
import structlog

from services.delivery.destinations.destination import Answer, SendError
from services.delivery.destinations.details import Trail
from services.delivery.destinations.registry import Destinations
from services.delivery.settings import WorkerSettings
from services.delivery.worker.claims import Attempt, Claim, claim_of_message
from services.delivery.worker.deliverer import described
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.shares import share
from services.delivery.worker.store import SQL
from services.domain.deliveries import ENDPOINT_TESTS
from services.domain.states import AttemptOutcome
from services.platform.process import background
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores import postgres
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

EVENT_TYPE = "webhook.test"
# Test events of a worker that are out. Tenants share them.
AT_ONCE = 32
# One that nobody took within this time is not sent: its caller was told so, or is gone.
FRESH_SECONDS = 10.0
# Rows are kept for so long, for the rate, and are deleted by a look after that.
KEPT_SECONDS = 60.0
INTERVAL_SECONDS = 1.0
# Where its tenant or its host has no room, it is looked at again after this.
NO_ROOM_SECONDS = 0.25
UNVERIFIED = "the subscription's target has not answered a challenge yet; resume or enable the subscription first"
NEW_UNVERIFIED = (
    "here a target must answer a challenge before anything else is sent to it; create the subscription first"
)
MESSAGE = "This is a test event. Somebody sent it to see whether this endpoint works; nothing happened."


class EndpointTestStore:
    """What test events ask of Postgres. Every method raises STORE_AWAY when it is away."""

    def __init__(self, pool: postgres.Pool, *, only_verified: bool = False) -> None:
        self._pool = pool
        # Whether targets have to answer a challenge before anything is sent to them.
        self._only_verified = only_verified

    async def take(self, number: int, *, without: Sequence[str]) -> list[tuple[Claim, bool]]:
        """Take up to so many test events in hand, of no tenant of these; return with each whether it may be sent."""
        asked_at = time.monotonic()
        arguments = without, number, FRESH_SECONDS, KEPT_SECONDS, self._only_verified
        rows = await self._pool.fetch(SQL["take_tests"], *arguments)
        return [(claim_of_message(row, asked_at, row["message_id"], EVENT_TYPE), row["may_be_sent"]) for row in rows]

    async def put_back(self, test_id: UUID) -> None:
        """Put a test event back, for another worker."""
        await self._pool.execute(SQL["put_back_test"], test_id)

    async def record(self, test_id: UUID, attempt: Attempt) -> None:
        """Note how a test event ended."""
        await self._pool.execute(
            SQL["record_test"],
            test_id,
            attempt.started_at,
            attempt.duration_ms,
            attempt.status_code,
            attempt.outcome,
            attempt.error_message,
            attempt.response_body,
            attempt.details,
        )


class EndpointTests:
    """Sends test events."""

    def __init__(
        self,
        store: EndpointTestStore,
        destinations: Destinations,
        scheduler: Scheduler,
        heard: Signals,
        settings: WorkerSettings,
        weight_of: WeightOf = same_weight,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._scheduler = scheduler
        self._signals = heard
        self._timeout_seconds = settings.delivery_timeout_seconds
        self._stored_bytes = settings.stored_response_bytes
        self._weight_of = weight_of
        self._out: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = heard.alarm(ENDPOINT_TESTS)

    async def run(self) -> None:
        """Send what is asked for until cancelled."""
        try:
            await background.repeat(self._step, interval_seconds=INTERVAL_SECONDS, wake=self._wake, quiet=True)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _step(self) -> float:
        """Begin as many as may be out; return the seconds until the next look."""
        free = AT_ONCE - len(self._tasks)
        if not free:
            return INTERVAL_SECONDS  # whichever ends first wakes it
        full = [name for name, out in self._out.items() if not share(free, out, self._weight_of(name))]
        # One at a time while somebody has some out, so that nobody takes more than a share at once.
        found = await self._store.take(free if not self._out else 1, without=full)
        for claim, may_be_sent in found:
            self._out[claim.tenant_id] += 1
            task = asyncio.create_task(self._test(claim, may_be_sent=may_be_sent), name="endpoint_test")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return 0.0 if found else self._signals.pace(INTERVAL_SECONDS)

    async def _test(self, claim: Claim, *, may_be_sent: bool) -> None:
        try:
            with self._scheduler.slot(claim) as has_room:
                attempt = await self._send(claim, may_be_sent=may_be_sent) if has_room else None
            if attempt is None:
                await self._store.put_back(claim.id)
                self._wake.set(NO_ROOM_SECONDS)
            else:
                await self._store.record(claim.id, attempt)
        except Exception as failed:  # noqa: BLE001 - its caller is told that nothing is known of it
            log.warning("a test event was lost", subscription_id=str(claim.subscription_id), error=repr(failed))
        finally:
            self._out[claim.tenant_id] -= 1
            if not self._out[claim.tenant_id]:
                del self._out[claim.tenant_id]
            self._wake.set()

    async def _send(self, claim: Claim, *, may_be_sent: bool) -> Attempt:
        """Send it on a new connection, which is what is to be seen; return what became of it."""
        timeout = self._timeout_seconds if claim.timeout_seconds is None else claim.timeout_seconds
        started = time.monotonic()
        answer: Answer | None = None
        failure: SendError | None = None
        trail = Trail()
        try:
            if not may_be_sent:
                raise SendError(AttemptOutcome.EGRESS_DENIED, NEW_UNVERIFIED if claim.is_of_new else UNVERIFIED)
            answer = await self._destinations.of(claim).send(
                claim, payload_of(claim), timeout_seconds=timeout, fresh=True, trail=trail
            )
        except SendError as error:
            failure = error
        return described(claim, started, time.monotonic(), answer, failure, trail, stored_bytes=self._stored_bytes)


def payload_of(claim: Claim) -> bytes:
    """Return the body of a test event, in the form of Standard Webhooks."""
    moment = claim.created_at.astimezone(UTC).replace(tzinfo=None)
    return msgspec.json.encode(
        {
            "type": EVENT_TYPE,
            "timestamp": f"{moment.isoformat(timespec='milliseconds')}Z",
            "data": {"subscription_id": None if claim.is_of_new else claim.subscription_id, "message": MESSAGE},
        }
    )
