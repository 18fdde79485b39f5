"""A worker process: python -m services worker."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from services.common import lifecycle, postgres
from services.common.settings import load
from services.delivery.dispatcher.store import Store as Turns
from services.delivery.settings import WorkerSettings
from services.delivery.worker import http_sender
from services.delivery.worker.bells import Bells
from services.delivery.worker.deliverer import Deliverer
from services.delivery.worker.egress import Policy
from services.delivery.worker.outcomes import Recorder
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.store import Store


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: WorkerSettings, policy: Policy) -> AsyncIterator[None]:
    """Wires the worker up, delivers, and at the end hands back what it holds."""
    async with (
        postgres.pool(process, settings) as pool,
        http_sender.sender(policy, max_response_bytes=settings.max_response_bytes) as sender,
    ):
        store = Store(pool, settings)
        recorder = Recorder(store, bound=8 * settings.worker_concurrency)
        scheduler = Scheduler(store, Deliverer(store, sender, settings), recorder, settings)
        bells = Bells(settings, scheduler, Turns(pool, lease_seconds=settings.lease_seconds))
        claiming = process.spawn("claims", scheduler.run())
        process.spawn("lease_renewals", scheduler.renew_leases())
        looking = process.spawn("due_look_ups", bells.look())
        listening = process.spawn("doorbells", bells.listen())
        try:
            yield
        finally:
            process.disown(listening)
            process.disown(claiming)
            # First, so that nobody waits for room any more: what was heard and not claimed is handed back.
            scheduler.stop_claiming()
            bells.stop()
            await process.cancel(looking)
            await asyncio.wait({listening, claiming}, timeout=2)
            await scheduler.stop(pool, grace_seconds=settings.shutdown_grace_seconds - 2, unheard=bells.unheard)
            await recorder.stop(grace_seconds=1)


def main() -> None:
    """Runs until told to stop."""
    settings = load(WorkerSettings)
    try:
        policy = Policy.parse(settings.egress_allowed)
    except ValueError as error:
        sys.exit(str(error))
    lifecycle.run("worker", settings, lambda process: serve(process, settings, policy))


if __name__ == "__main__":
    main()
