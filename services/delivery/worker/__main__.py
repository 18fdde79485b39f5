"""A worker process: python -m services worker."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

from services.delivery.destinations import registry
from services.delivery.destinations.registry import Destinations
from services.delivery.destinations.templates import Templates
from services.delivery.dispatcher.limiter import Limiter
from services.delivery.dispatcher.store import DispatcherStore
from services.delivery.dispatcher.turns import Turns
from services.delivery.settings import WorkerSettings
from services.delivery.worker.bells import Bells
from services.delivery.worker.checks import CheckStore, EndpointChecks
from services.delivery.worker.deliverer import Deliverer
from services.delivery.worker.endpoint_tests import EndpointTests, EndpointTestStore
from services.delivery.worker.health import EndpointHealth
from services.delivery.worker.live import Live
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.store import WorkerStore
from services.domain import deliveries, gates
from services.domain.egress import policy as egress
from services.domain.egress.policy import Policy
from services.domain.notices.activity import Activity
from services.domain.notices.subscription_changes import Copies
from services.domain.secrets import encryption
from services.domain.secrets.vault import Vault
from services.domain.tenants import weights
from services.platform import ids
from services.platform.process import background, lifecycle, presence
from services.platform.stores import postgres, redis, signals
from services.platform.stores.availability import STORE_AWAY
from services.platform.stores.processes import ProcessStore

# A worker that starts or stops changes the count within 15 s.
PRESENCE_SECONDS = 5.0
# What is kept of the time to stop for outcomes, and for what was learned of endpoints. With the time that the scheduler
# takes to hand back these are 3 s; requests may take what is left.
RECORDING_SECONDS = 1.0
LAST_WORDS_SECONDS = 0.5


@contextlib.asynccontextmanager
async def serve(
    process: lifecycle.Process, settings: WorkerSettings, *, policy: Policy | None = None
) -> AsyncIterator[None]:
    """Wire up the worker, deliver, and finally hand back its claims; `policy` replaces the settings' policy."""
    async with (
        postgres.pool(process, settings) as pool,
        redis.of_process(process, settings) as client,
        signals.of_process(process, settings) as heard,
        gates.of_process(process, settings, rings=False) as closed,
        weights.of_process(process, pool) as known,
        _destinations(process, settings, pool, policy or egress.policy(settings)) as destinations,
        deliveries.handover(process) as handover,
        presence.noted(process, ProcessStore(pool)),
    ):
        store = WorkerStore(pool, settings)
        live = Live(client)
        recorder = Recorder(store, heard, bound=8 * settings.worker_concurrency, live=live)
        health = EndpointHealth(store, settings, Copies(heard), heard)
        activity = Activity.of("failed attempts", settings)
        deliverer = Deliverer(store, destinations, settings, process.tracer, activity, known.of)
        scheduler = Scheduler(store, deliverer, recorder, closed, heard, settings, health.note, known.of)
        found = DispatcherStore(pool, lease_seconds=settings.lease_seconds, policy=settings.retry_policy)
        turns = Turns(found, Limiter(client, found.count_workers), closed, known.of)
        bells = Bells(client, scheduler, turns)
        claiming = process.spawn("claims", scheduler.run())
        loops = [
            process.spawn("lease_renewals", scheduler.renew_leases()),
            process.spawn("handing_back", scheduler.hand_back()),
            process.spawn("endpoints", scheduler.watch_endpoints()),
            process.spawn("idle_lanes", scheduler.forget_idle_lanes()),
            process.spawn("presence", _be_counted(store, scheduler)),
            process.spawn("live", live.run()),
        ]
        if settings.checks_endpoints:
            checks = EndpointChecks(CheckStore(pool), destinations, scheduler, heard, settings, known.of)
            loops.append(process.spawn("endpoint_checks", checks.run()))
        asked = EndpointTestStore(pool, only_verified=settings.checks_endpoints)
        tests = EndpointTests(asked, destinations, scheduler, heard, settings, known.of)
        loops.append(process.spawn("endpoint_tests", tests.run()))
        watching = process.spawn("health", health.run(scheduler.hold))
        looking = process.spawn("due_look_ups", bells.look())
        listening = process.spawn("doorbells", bells.listen())
        handover.worker = scheduler
        process.whole.load = scheduler.load
        try:
            yield
        finally:
            handover.worker = None
            process.disown(listening)
            process.disown(claiming)
            # First, so that nobody waits for room any more: what was heard and not claimed is handed back.
            scheduler.stop_claiming()
            bells.stop()
            await process.cancel(looking)
            left_seconds = functools.partial(process.seconds_to_stop, settings.shutdown_grace_seconds)
            await asyncio.wait({listening, claiming}, timeout=min(2.0, left_seconds()))
            finish_seconds = left_seconds() - RECORDING_SECONDS - LAST_WORDS_SECONDS
            await scheduler.stop(grace_seconds=finish_seconds)
            await recorder.stop(grace_seconds=RECORDING_SECONDS)
            await process.cancel(watching)
            with contextlib.suppress(*STORE_AWAY):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await health.flush()
            for loop in loops:  # before what they use is closed
                await process.cancel(loop)


@contextlib.asynccontextmanager
async def _destinations(
    process: lifecycle.Process, settings: WorkerSettings, pool: postgres.Pool, policy: Policy
) -> AsyncIterator[Destinations]:
    keys = await encryption.known_keys(process, pool, settings)
    vault = Vault(keys)
    async with registry.opened(settings, policy, vault, Templates(pool, vault)) as destinations:
        yield destinations


async def _be_counted(store: WorkerStore, scheduler: Scheduler) -> None:
    """Say every few seconds that this worker is there, until it is not, and share the bounds with those that are."""
    worker_id = ids.new()

    async def step() -> None:
        scheduler.share_bounds(await store.keep_worker(worker_id))

    try:
        await background.repeat(step, interval_seconds=PRESENCE_SECONDS, quiet=True)
    finally:
        with contextlib.suppress(*STORE_AWAY):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await store.remove_worker(worker_id)


ROLE = lifecycle.Role(name="worker", settings=WorkerSettings, serve=serve)

if __name__ == "__main__":
    lifecycle.run(ROLE)
