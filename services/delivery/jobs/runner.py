"""Goes on with jobs, in every delivery process: whichever gets a job's row does its next chunk.

Nothing is lost with a process. A signal says that a job was created or resumed; who missed it looks every few seconds.
"""

import time

from prometheus_client import Counter, Gauge

from services.delivery.jobs.chunks import ChunkStore, Moved
from services.delivery.jobs.plans import WITHOUT_RESULTS
from services.domain.doorbell import Ringer
from services.domain.states import UNFINISHED_JOBS, JobKind, JobStatus
from services.platform.process import background
from services.platform.stores.signals import Signals

# The signal: a job can begin, or go on.
JOBS = "jobs"
INTERVAL_SECONDS = 1.0
# Of its time the runner leaves at least as much to others as it takes, so that live traffic comes first.
REST = 1.0
# Looks at what became of chunks between two chunks.
LOOKS = 4
# Until another look where another process does what is due.
BUSY_SECONDS = 0.1
MEASURE_SECONDS = 15.0

DELIVERIES = Counter(
    "webhook_job_deliveries_total",
    "Deliveries that jobs looked at, by kind of job and what was done; of jobs that erase, events.",
    ["kind", "outcome"],
)
ENDED = Counter("webhook_jobs_ended_total", "Jobs that ended by themselves, by kind and status.", ["kind", "status"])
UNFINISHED = Gauge("webhook_jobs", "Jobs that have not ended, by kind and status.", ["kind", "status"])
STILL = Gauge(
    "webhook_job_still_seconds", "Time for which the job that has stood still longest did nothing, by kind.", ["kind"]
)


class Runner:
    """Does chunks of jobs, one at a time."""

    def __init__(self, store: ChunkStore, ringer: Ringer, heard: Signals) -> None:
        self._store = store
        self._ringer = ringer
        self._heard = heard

    async def run(self) -> None:
        """Go on with jobs until cancelled."""
        await background.repeat(self._step, interval_seconds=INTERVAL_SECONDS, wake=self._heard.alarm(JOBS))

    async def _step(self) -> float:
        due_seconds = await self._store.next_seconds()
        if due_seconds is None:
            return self._heard.pace(INTERVAL_SECONDS)
        if due_seconds > 0:
            return min(due_seconds, self._heard.pace(INTERVAL_SECONDS))
        began_at = time.monotonic()
        moved = await self._store.move()
        if moved is not None:
            self._tell(moved)
        looks = 0
        while looks < LOOKS and await self._store.look():
            looks += 1
        if moved is None and not looks:
            return BUSY_SECONDS  # what is due is another process's
        return REST * (time.monotonic() - began_at)

    def _tell(self, moved: Moved) -> None:
        if moved.done and moved.job.kind not in WITHOUT_RESULTS:
            self._ringer.leave()
        for outcome, number in (("done", moved.done), ("skipped", moved.skipped), ("gone", moved.gone)):
            DELIVERIES.labels(moved.job.kind, outcome).inc(number)
        if moved.status is not JobStatus.RUNNING:
            ENDED.labels(moved.job.kind, moved.status).inc()


def forget_gauges() -> None:
    """Export nothing of what another process measures now."""
    UNFINISHED.clear()
    STILL.clear()


async def keep_gauges(store: ChunkStore) -> None:
    """Export what is unfinished, until cancelled."""

    async def step() -> None:
        rows = await store.measure()
        found = {(row["kind"], row["status"]): row for row in rows}
        for kind in JobKind:
            for status in UNFINISHED_JOBS:
                row = found.get((kind, status))
                UNFINISHED.labels(kind, status).set(row["jobs"] if row else 0)
            STILL.labels(kind).set(max((row["still_seconds"] for row in rows if row["kind"] == kind), default=0.0))

    await background.repeat(step, interval_seconds=MEASURE_SECONDS)
