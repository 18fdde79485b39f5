"""One run: a stack, a load, faults, and their evidence."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from dev.chaos import catalog, evidence, stack
from dev.chaos.evidence import Breakers, Evidence, Span
from dev.chaos.faults import Faults
from dev.chaos.generator import Generator, generating, subscribe
from dev.chaos.puller import PULLED, pulling
from dev.chaos.receiver import Receiver, receiving
from dev.chaos.schedule import ENDPOINTS, STALL, Fault

PROGRESS_SECONDS = 5.0
TICK_SECONDS = 0.1
# A loop this late is counted as late, until it has been on time for this long.
LATE_SECONDS = 0.25
CALM_SECONDS = 1.0
# Endpoints that also get the events for all subscriptions.
FAN_OUT_ENDPOINTS = ENDPOINTS[:2]
# Wait after everything has ended: a second request for a delivery would arrive in this time.
AFTERMATH_SECONDS = 2.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """The number of events, their rate, and how many of them are large ones for the slow endpoint."""

    events: int
    rate: float
    large: int

    @property
    def seconds(self) -> float:
        """Return how long it takes if nothing is refused."""
        return self.events / self.rate

    def lasting(self, seconds: float) -> "Load":
        """Return the same load, slowed down to last this long if it would be shorter."""
        return replace(self, rate=min(self.rate, self.events / max(seconds, self.seconds)))


async def run(
    the_plan: stack.Plan, load: Load, schedule: Sequence[Fault], say: Say, *, bystanders: int = 0
) -> Evidence:
    """Start everything, send the load during the faults, wait until every delivery has ended, and stop everything.

    The `bystanders` are other subscriptions of the tenant, which want none of the events and change all the time.
    """
    async with receiving(the_plan.receiver_port) as receiver, stack.running(the_plan, say) as running:
        if bystanders:
            await _make_bystanders(running.database_url, bystanders, the_plan.target_url(ENDPOINTS[0]))
            say(f"{bystanders} other subscriptions are there")
        targets: dict[str, str | None] = {name: the_plan.target_url(name) for name in (*ENDPOINTS, "slow")}
        targets[PULLED] = None
        subscribed = await subscribe(the_plan.gateway_url, the_plan.api_key, targets, FAN_OUT_ENDPOINTS)
        say("the stack serves")
        async with (
            generating(the_plan.gateway_url, the_plan.api_key, subscribed.by_name) as generator,
            pulling(the_plan.gateway_url, the_plan.api_key, subscribed.by_name[PULLED], receiver.requests),
        ):
            faults = Faults(running, receiver, say)
            breakers, conversions = Breakers(), catalog.Conversions(subscribed.versions)
            async with _task(breakers.watch(running.database_url)):
                async with (
                    _task(conversions.run(the_plan.gateway_url, the_plan.api_key)),
                    _task(_watch(generator, receiver, faults, say)),
                    _task(_notice_stalls(faults.spans, say)),
                    _task(_change_bystanders(running.database_url, bystanders)),
                ):
                    begun_at = time.monotonic()
                    await asyncio.gather(
                        generator.run(load.events, rate=load.rate, large=load.large), faults.run(schedule, begun_at)
                    )
                say("all events are sent and all faults are over; waiting for the last deliveries")
                left = await evidence.settle(running.database_url, _Settling(say))
            if left:
                say(f"{left} deliveries do not end")
            await asyncio.sleep(AFTERMATH_SECONDS)
        # Workers record what they hold when they stop.
        await running.stop_processes()
        deliveries, keys = await evidence.read(running.database_url)
    return Evidence(
        sends=generator.sends,
        requests=receiver.requests,
        spans=sorted(faults.spans, key=lambda span: span.began_at),
        openings=breakers.openings,
        deliveries=deliveries,
        event_keys=keys,
        filtered=frozenset(subscribed.filtered),
        templated=frozenset(subscribed.templated),
        pinned=frozenset(subscribed.pinned),
        conversions=conversions.changes,
    )


# They want a type that no event has, and have been there for a while.
_MAKE_BYSTANDERS = """
INSERT INTO subscriptions (id, tenant_id, target_url, event_types, updated_at)
SELECT uuidv7(), 'default', $2, ARRAY['chaos.bystander.' || n], now() - interval '1 hour'
FROM generate_series(1, $1) AS n
"""
_CHANGE_BYSTANDER = """
UPDATE subscriptions SET event_types = ARRAY['chaos.bystander.' || version], version = version + 1,
                         updated_at = statement_timestamp()
WHERE id = (SELECT id FROM subscriptions WHERE tenant_id = 'default' AND id > $1 AND deleted_at IS NULL
                AND event_types[1] LIKE 'chaos.bystander.%' ORDER BY id LIMIT 1)
RETURNING id
"""
_NONE = UUID(int=0)


async def _make_bystanders(database_url: str, number: int, target_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_MAKE_BYSTANDERS, number, target_url)
    finally:
        await connection.close()


async def _change_bystanders(database_url: str, number: int) -> None:
    """Change one after the other, ten a second, as long as Postgres is there."""
    last = _NONE
    while number:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(database_url, timeout=1.0, command_timeout=1.0)
            try:
                while True:
                    last = await connection.fetchval(_CHANGE_BYSTANDER, last) or _NONE
                    await asyncio.sleep(TICK_SECONDS)
            finally:
                connection.terminate()
        await asyncio.sleep(TICK_SECONDS)


class _Settling:
    """Print from time to time how many deliveries are left."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said_at = time.monotonic()

    def __call__(self, unfinished: int) -> None:
        if time.monotonic() - self._said_at >= PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            self._say(f"{unfinished} deliveries have not ended")


async def _watch(generator: Generator, receiver: Receiver, faults: Faults, say: Say) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        # All evidence is kept to the end. Garbage collection would stop everything for seconds to search it.
        gc.freeze()
        on = ", ".join(f"{fault.kind.name} {fault.subject}" for fault in faults.on) or "nothing"
        sent, seen = len(generator.sends), len(receiver.requests)
        say(f"sent {sent}, accepted {generator.accepted}, received {seen}, faults {len(faults.spans)}; on: {on}")


async def _notice_stalls(spans: list[Span], say: Say) -> None:
    """Record when this process got too little CPU time, which is a fault of every link at once.

    A request passes the event loop a dozen times, so a small lag of the loop delays it a lot.
    """
    stall: Span | None = None
    try:
        while True:
            asked_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if now - asked_at - TICK_SECONDS > LATE_SECONDS:
                began_at = stall.began_at if stall else asked_at
                stall = Span(kind=STALL, subject="harness", began_at=began_at, ended_at=now)
            elif stall and now - stall.ended_at > CALM_SECONDS:
                spans.append(stall)
                say(f"this machine is too busy: the harness was late for {stall.ended_at - stall.began_at:.1f} s")
                stall = None
    finally:
        if stall:
            spans.append(stall)


@contextlib.asynccontextmanager
async def _task(coroutine: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run it in the background until the context ends; raise what it failed with."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
