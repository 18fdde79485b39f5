"""The delivery process: python -m services.delivery. It serves the API and runs the dispatcher."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from protos.webhook.v1 import (
    deliveries_pb2,
    deliveries_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from services.delivery.api.endpoint_tests import EndpointTests, EndpointTestStore
from services.delivery.api.live import Watching
from services.delivery.api.retries import Retries
from services.delivery.api.service import DeliveryService
from services.delivery.api.store import DeliveryStore
from services.delivery.destinations.pull.idle import Idle
from services.delivery.destinations.pull.pulls import Pulls
from services.delivery.destinations.pull.requests import Requests
from services.delivery.destinations.pull.store import PullStore
from services.delivery.destinations.pull.waiting import Waiting
from services.delivery.destinations.templates import Templates
from services.delivery.dispatcher import metrics
from services.delivery.dispatcher.dispatcher import GUARD_SECONDS, Dispatcher
from services.delivery.dispatcher.limiter import Limiter
from services.delivery.dispatcher.store import DispatcherStore
from services.delivery.dispatcher.turns import Turns
from services.delivery.jobs import runner
from services.delivery.jobs.runner import Runner
from services.delivery.jobs.service import JobService
from services.delivery.jobs.store import JobStore
from services.delivery.operational_webhooks import events as operational
from services.delivery.operational_webhooks.events import OperationalEventStore as OperationalStore
from services.delivery.queue.service import QueueService
from services.delivery.settings import DeliverySettings
from services.delivery.worker.live import Live
from services.domain import doorbell, gates
from services.domain.notices.subscription_changes import Copies
from services.domain.secrets import encryption
from services.domain.secrets.vault import Vault
from services.domain.tenants import weights
from services.domain.tenants.scopes import Entry
from services.platform.auth import finder
from services.platform.auth.authenticator import Authenticator
from services.platform.grpc import server as grpc_server
from services.platform.process import background, lifecycle, presence
from services.platform.stores import duties, postgres, redis, signals
from services.platform.stores.processes import ProcessStore

SERVICES = (
    deliveries_pb2.DESCRIPTOR.services_by_name["DeliveryService"].full_name,
    jobs_pb2.DESCRIPTOR.services_by_name["JobService"].full_name,
    system_pb2.DESCRIPTOR.services_by_name["QueueService"].full_name,
)


@contextlib.asynccontextmanager
async def serve(process: lifecycle.Process, settings: DeliverySettings) -> AsyncIterator[None]:
    """Wire the service up, serve, and take it down."""
    async with (
        postgres.pool(process, settings) as pool,
        redis.of_process(process, settings) as client,
        signals.of_process(process, settings) as heard,
        gates.of_process(process, settings, rings=True) as closed,
        doorbell.ringer(process, settings, pool) as ringer,
        doorbell.ringer(process, settings, pool, doorbell.BACKLOG) as backlog,
        weights.of_process(process, pool) as known,
        finder.running(process, settings, pool) as callers,
        duties.shared(process, pool, "dispatch") as duty,
        presence.noted(process, ProcessStore(pool)),
        contextlib.AsyncExitStack() as stack,
    ):
        streams = doorbell.Streams.of(client)
        watching, live = Watching(client), Live(client)
        store = DispatcherStore(pool, lease_seconds=settings.lease_seconds, policy=settings.retry_policy, live=live)
        turns = Turns(store, Limiter(client, store.count_workers), closed, known.of)
        created = Dispatcher(store, turns, ringer, backlog, streams, heard)
        duty.on_change(taken=created.guard_leases, lost=_forget_gauges)
        process.health.add_shared("dispatcher", duty.checked(created.check, after_seconds=GUARD_SECONDS))
        deliveries = DeliveryStore(
            pool,
            expiry_hours=settings.delivery_expiry_hours,
            retention_hours=settings.log_retention_hours,
            recovery_hours=settings.recovery_hours,
            max_waiting=settings.quota_waiting_deliveries,
        )
        jobs = JobStore(
            pool,
            deliveries,
            retention_hours=settings.log_retention_hours,
            recovery_hours=settings.recovery_hours,
            expiry_hours=settings.delivery_expiry_hours,
            key_hours=settings.idempotency_key_hours,
        )
        loops = [process.spawn("redis_gauges", metrics.keep_redis(client))]
        with background.only_while(lambda: duty.held):
            loops += [process.spawn(name, run()) for name, run in created.loops.items()]
            loops += [
                process.spawn("queue_gauges", metrics.keep(store, turns, streams, heard)),
                process.spawn("doorbell_sweeper", metrics.sweep(streams)),
                process.spawn(
                    "operational_events",
                    operational.run(OperationalStore(pool, expiry_hours=settings.delivery_expiry_hours), heard),
                ),
            ]
            idle = Idle(pool, Copies(heard))
            loops.append(process.spawn("idle_subscriptions", idle.expire()))
            loops.append(process.spawn("job_gauges", runner.keep_gauges(jobs)))
        loops.append(process.spawn("jobs", Runner(jobs, ringer, heard).run()))
        loops += [process.spawn("watching", watching.run()), process.spawn("live", live.run())]
        pullable = PullStore(pool)
        waiting = Waiting(pullable, heard)
        loops += [process.spawn("pullers", waiting.run()), process.spawn("pulls_noted", idle.write())]
        process.on_drain(waiting.end)
        requests = Requests(process.tracer if settings.tracing_to_receivers else None)
        loops.append(process.spawn("encryption_keys", _learn_keys(process, pool, settings, requests)))
        pulls = Pulls(pullable, waiting, requests, idle, settings.retry_policy, heard, live)
        for loop in loops:
            stack.push_async_callback(process.cancel, loop)

        def register(server: grpc.aio.Server) -> None:
            jobs_pb2_grpc.add_JobServiceServicer_to_server(JobService(jobs, heard), server)
            tests = EndpointTests(EndpointTestStore(pool), heard)
            service = DeliveryService(deliveries, Retries(deliveries, ringer, closed), tests, watching, pulls)
            deliveries_pb2_grpc.add_DeliveryServiceServicer_to_server(service, server)
            queue = QueueService(store, client, streams, lambda: turns.sweeper.held if duty.held else None)
            system_pb2_grpc.add_QueueServiceServicer_to_server(queue, server)

        authenticator = Authenticator(settings, callers.find, callers.find_actor)
        async with grpc_server.serving(process, settings, SERVICES, register, authenticator, Entry(pool).enter):
            yield


async def _learn_keys(
    process: lifecycle.Process, pool: postgres.Pool, settings: DeliverySettings, requests: Requests
) -> None:
    """Sign what is pulled once the keys are known to be those of the database; all else is served before."""
    vault = Vault(await encryption.known_keys(process, pool, settings))
    requests.templates = Templates(pool, vault)
    requests.vault = vault
    try:
        await asyncio.Event().wait()  # until cancelled
    finally:
        await requests.templates.close()


def _forget_gauges() -> None:
    metrics.forget_queue()
    runner.forget_gauges()


ROLE = lifecycle.Role(name="delivery", settings=DeliverySettings, serve=serve, called=True)

if __name__ == "__main__":
    lifecycle.run(ROLE)
