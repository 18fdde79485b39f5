"""The scenario `recovery`: a job retries what failed in an outage, while the processes that run it are killed.

The ledger of the receiver is compared with what the job counts and with the database: each delivery must come once.
`--measure` also measures what depends on the machine: the job's pace, how soon it stops, and the latency of others.
"""

import asyncio
import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from dev.chaos import stack
from dev.chaos.evidence import settle
from dev.chaos.receiver import Receiver, receiving
from dev.chaos.run import AFTERMATH_SECONDS, Say
from dev.chaos.stack import Plan, Stack, in_thread, wait_ready
from dev.harness.waiting import wait_until

KILLS = 3
# Of the job that is killed: so that it lasts as long as the processes take to start again.
SECONDS_PER_KILL = 5.0
MAX_RATE = 10_000
STATEMENT_TIMEOUT_SECONDS = 120.0
# For all that a job does.
PATIENCE_SECONDS = 900.0
REQUEST_TIMEOUT_SECONDS = 30.0
AT_ONCE = 10_000
# What is measured: a slow job, for so long, once it goes.
PACE, PACE_TOLERANCE, PACE_SECONDS, PACE_BEGIN_SECONDS = 50, 2, 30.0, 3.0
STOP_SECONDS = 2.0
WATCH_SECONDS = 3.0
# And others beside it: webhooks a second, in slices beside it, alone, and beside as many ordinary webhooks in turn.
OTHERS_RATE, SLICE_SECONDS, SLICES, MOST_RATIO = 50.0, 10.0, 4, 1.2
MEASURED = 20_000
ENDPOINTS = ("a", "b", "c")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many deliveries failed, how often a process is killed, and whether times are measured."""

    deliveries: int
    kills: int
    measure: bool = False


@dataclass(kw_only=True)
class Report:
    """What was found, in words, and what of it is wrong."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a count that must be as expected."""
        self.lines.append(f"{what:<58}{found!s:>12}")
        if found != expected:
            self.wrong.append(f"{what}: {found}, expected {expected}")

    def bound(self, what: str, found: float, least: float, most: float) -> None:
        """Note a measured number that must be between two."""
        self.lines.append(f"{what:<58}{found:>12.3f}")
        if not least <= found <= most:
            self.wrong.append(f"{what}: {found:.3f}, expected {least:g} to {most:g}")


async def run(the_plan: Plan, options: Options, say: Say) -> Report:
    """Start everything, let a job recover what failed, and judge."""
    report = Report()
    async with (
        receiving(the_plan.receiver_port) as receiver,
        stack.running(the_plan, say) as running,
        _connected(running.database_url) as connection,
        aiohttp.ClientSession(
            the_plan.gateway_url,
            headers={"Authorization": f"Bearer {the_plan.api_key}"},
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
        ) as http,
    ):
        api = _Api(http)
        subscriptions = {name: await api.subscribe(the_plan.target_url(name)) for name in ENDPOINTS}
        await connection.execute("INSERT INTO tenants (id, name) VALUES ('other', 'other')")
        recovery = _Recovery(running, receiver, connection, api, report, say)
        await recovery.killed(UUID(subscriptions["a"]), options.deliveries, options.kills)
        if options.measure:
            await recovery.measured(UUID(subscriptions["b"]), subscriptions["c"])
    return report


def as_text(report: Report) -> str:
    """Return what was found, and what is wrong."""
    last = ["Each delivery came once, and every count agrees."] if not report.wrong else report.wrong
    return "\n".join(["", *report.lines, "", *last])


class _Api:
    """The REST API, whose calls are repeated while what they need is being restarted."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def subscribe(self, target_url: str) -> str:
        """Create a subscription that gets no event without its id; return that."""
        body = {"target_url": target_url, "event_types": ["chaos.none"]}
        return str((await self.call("POST", "/api/v1/subscriptions/", body))["id"])

    async def send(self, subscription_id: str, key: str) -> None:
        """Send a webhook."""
        body = {"payload": {"key": key, "filling": ""}}
        await self.call("POST", f"/api/v1/webhooks/ingest/{subscription_id}", body)

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the content of the response."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, content = 0, {}
            with contextlib.suppress(aiohttp.ClientConnectionError, TimeoutError):
                async with self._http.request(method, path, json=body) as answer:
                    status, content = answer.status, await answer.json()
            if 200 <= status < 300:  # noqa: PLR2004
                return content
            # A killed process leaves it open whether a job was created: that is not asked for again.
            if status not in {0, 502, 503} or method == "POST" or time.monotonic() > give_up_at:
                raise AssertionError(f"{method} {path}: {status} {content}")
            await asyncio.sleep(0.1)

    async def status(self, path: str, *, tenant: str) -> int:
        """Return the status of a response in another tenant."""
        async with self._http.get(path, headers={"X-Tenant": tenant}) as answer:
            return answer.status


class _Recovery:
    def __init__(
        self,
        running: Stack,
        receiver: Receiver,
        connection: asyncpg.Connection,
        api: _Api,
        report: Report,
        say: Say,
    ) -> None:
        self._stack = running
        self._receiver = receiver
        self._connection = connection
        self._api = api
        self._report = report
        self._say = say

    async def killed(self, subscription_id: UUID, deliveries: int, kills: int) -> None:
        """Retry what failed of a subscription while processes are killed; compare everything."""
        report, say = self._report, self._say
        made = await self._fail(subscription_id, deliveries)
        wanted = {"subscription_id": [str(subscription_id)], "from": _hours_ago(1)}
        preview = await self._api.call("POST", "/api/v1/jobs", {"kind": "retry", "filter": wanted, "dry_run": True})
        rate = min(MAX_RATE, max(1, math.ceil(deliveries / (max(kills, 1) * SECONDS_PER_KILL))))
        began_at = time.monotonic()
        job = await self._api.call("POST", "/api/v1/jobs", {"token": preview["token"], "rate_per_second": rate})
        path = f"/api/v1/jobs/{job['id']}"
        say(f"job {job['id']} retries {deliveries} deliveries, {rate} a second")
        victims = itertools.cycle(self._runners())
        during = 0
        for number in range(1, kills + 1):
            await self._progress(UUID(job["id"]), number * deliveries // (kills + 1))
            part = self._stack.parts[next(victims)]
            during += await self._is_running(UUID(job["id"]))
            await in_thread(part.child.kill)
            say(f"{part.name} is killed, the {number}. time; {len(self._receiver.requests)} requests came")
            await wait_ready(part)
        job = await self._ended(path)
        say(f"the job ended after {time.monotonic() - began_at:.0f} s; waiting for the last deliveries")
        left = await settle(self._stack.database_url, lambda _: None)
        job = await self._settled(path)
        await asyncio.sleep(AFTERMATH_SECONDS)
        counts, results = job["counts"], job["results"]
        report.expect("deliveries that failed", len(made), deliveries)
        report.expect("processes killed while the job ran", during, kills)
        report.expect("status of the job", job["status"], "succeeded")
        report.expect("matched in the preview", preview["counts"]["matched"], deliveries)
        report.expect("would be done, in the preview", preview["counts"]["done"], deliveries)
        report.expect("matched", counts["matched"], deliveries)
        report.expect("done", counts["done"], deliveries)
        report.expect("done, skipped and gone", sum(counts[name] for name in ("done", "skipped", "gone")), deliveries)
        report.expect("delivered, as the job counts", results["delivered"], deliveries)
        report.expect("failed again or waiting, as the job counts", results["failed"] + results["waiting"], 0)
        report.expect("deliveries that have not ended", left, 0)
        came = Counter(request.delivery_id for request in self._receiver.requests)
        report.expect("requests, in the receiver's ledger", sum(came.values()), deliveries)
        report.expect("deliveries in the ledger that came once", sum(n == 1 for n in came.values()), deliveries)
        report.expect("deliveries in the ledger that did not fail", len(came.keys() - made), 0)
        attempts = {row["attempts"]: row["deliveries"] for row in await self._connection.fetch(_ATTEMPTS, made)}
        report.expect("deliveries with one new attempt, which succeeded", attempts, {1: deliveries})
        report.expect("the job of another tenant", await self._api.status(path, tenant="other"), 404)

    async def measured(self, subscription_id: UUID, others: str) -> None:
        """Measure a job's pace, how soon it stops, and the latency of webhooks to others beside it."""
        report = self._report
        await self._fail(subscription_id, MEASURED)
        wanted = {"subscription_id": [str(subscription_id)], "from": _hours_ago(1)}
        body = {"kind": "retry", "filter": wanted, "rate_per_second": PACE}
        path = f"/api/v1/jobs/{(await self._api.call('POST', '/api/v1/jobs', body))['id']}"
        await asyncio.sleep(PACE_BEGIN_SECONDS)
        # From one chunk to another, so that no part of a chunk counts.
        first_at, first = await self._next_chunk(path)
        await asyncio.sleep(PACE_SECONDS)
        last_at, last = await self._next_chunk(path)
        pace = (last - first) / (last_at - first_at)
        report.bound("deliveries a second, at 50 a second", pace, PACE - PACE_TOLERANCE, PACE + PACE_TOLERANCE)
        report.bound("seconds until a pause stopped it", await self._stopped(path, "pause"), 0, STOP_SECONDS)
        await self._api.call("POST", f"{path}/resume")
        await self._next_chunk(path)
        report.bound("seconds until a cancellation stopped it", await self._stopped(path, "cancel"), 0, STOP_SECONDS)
        path = f"/api/v1/jobs/{(await self._api.call('POST', '/api/v1/jobs', body))['id']}"
        alone, beside, ordinary = list[float](), list[float](), list[float]()
        for number in range(SLICES):
            beside += await self._latencies(others, f"beside-{number}")
            await self._api.call("POST", f"{path}/pause")
            await settle(self._stack.database_url, lambda _: None)
            alone += await self._latencies(others, f"alone-{number}")
            async with asyncio.TaskGroup() as group:
                measuring = group.create_task(self._latencies(others, f"ordinary-{number}"))
                group.create_task(self._send(str(subscription_id), f"besides-{number}", float(PACE)))
            ordinary += measuring.result()
            await self._api.call("POST", f"{path}/resume")
        await self._api.call("POST", f"{path}/cancel")
        report.lines.append(f"{'webhooks to others beside the job, and alone':<58}{len(beside):>6}{len(alone):>6}")
        report.bound("their p99 alone, in ms", 1000 * _p99(alone), 0, math.inf)
        report.bound("their p99 beside as many ordinary webhooks, in ms", 1000 * _p99(ordinary), 0, math.inf)
        report.bound("their p99 beside the job, in ms", 1000 * _p99(beside), 0, math.inf)
        report.bound("their p99 beside it, to that beside ordinary ones", _p99(beside) / _p99(ordinary), 0, math.inf)
        report.bound("their p99 beside it, to that alone", _p99(beside) / _p99(alone), 0, MOST_RATIO)

    def _runners(self) -> Sequence[str]:
        """Return the processes that run jobs."""
        return [name for name in self._stack.instances if name.startswith("delivery")]

    async def _fail(self, subscription_id: UUID, number: int) -> set[UUID]:
        """Make deliveries that failed; return their ids."""
        made: set[UUID] = set()
        for first in range(0, number, AT_ONCE):
            most = min(AT_ONCE, number - first)
            rows = await self._connection.fetch(_FAIL, subscription_id, most, f"{subscription_id}-{first}")
            made |= {row["id"] for row in rows}
        await self._connection.execute("ANALYZE webhook_deliveries, unsuccessful_deliveries, webhook_events")
        return made

    async def _progress(self, job_id: UUID, done: int) -> None:
        async def there() -> bool:
            row = await self._connection.fetchrow("SELECT status, done FROM jobs WHERE id = $1", job_id)
            return row is None or row["done"] >= done or row["status"] not in {"queued", "running"}

        await wait_until(there, PATIENCE_SECONDS, what=f"the job to have done {done}")

    async def _is_running(self, job_id: UUID) -> bool:
        return bool(
            await self._connection.fetchval("SELECT status IN ('queued', 'running') FROM jobs WHERE id = $1", job_id)
        )

    async def _ended(self, path: str) -> dict[str, Any]:
        async def ended() -> dict[str, Any] | None:
            job = await self._api.call("GET", path)
            return job if job["status"] not in {"queued", "running"} else None

        return await wait_until(ended, PATIENCE_SECONDS, what="the job to end") or {}

    async def _settled(self, path: str) -> dict[str, Any]:
        """Wait until the job knows what became of everything."""

        async def settled() -> dict[str, Any] | None:
            job = await self._api.call("GET", path)
            return job if not job["results"]["waiting"] else None

        return await wait_until(settled, PATIENCE_SECONDS, what="the job to know its results") or {}

    async def _done(self, path: str) -> int:
        return int((await self._api.call("GET", path))["counts"]["done"])

    async def _next_chunk(self, path: str) -> tuple[float, int]:
        """Wait for the job to do something; return when, and how much it has done then."""
        before = await self._done(path)

        async def more() -> int | None:
            done = await self._done(path)
            return done if done > before else None

        done = await wait_until(more, PATIENCE_SECONDS, what="the job to do something")
        return time.monotonic(), int(done or 0)

    async def _stopped(self, path: str, how: str) -> float:
        """Pause or cancel a job; return the seconds from then until it did the last of what it did."""
        asked_at = stopped_at = time.monotonic()
        await self._api.call("POST", f"{path}/{how}")
        answered_at = time.monotonic()
        before = await self._done(path)
        while time.monotonic() < answered_at + WATCH_SECONDS:
            done = await self._done(path)
            if done != before:
                before, stopped_at = done, time.monotonic()
            await asyncio.sleep(0.05)
        return max(answered_at, stopped_at) - asked_at

    async def _send(self, subscription_id: str, name: str, rate: float) -> dict[str, float]:
        """Send webhooks for the time of a slice; return when the request for each began, by its key."""
        begun_at: dict[str, float] = {}

        async def send(key: str) -> None:
            begun_at[key] = time.monotonic()
            await self._api.send(subscription_id, key)

        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * SLICE_SECONDS)):
                await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
                group.create_task(send(f"{name}-{number}"))
        return begun_at

    async def _latencies(self, subscription_id: str, name: str) -> list[float]:
        """Send webhooks at a steady rate; return the seconds from each request for it until it arrived."""
        seen = len(self._receiver.requests)
        begun_at = await self._send(subscription_id, name, OTHERS_RATE)

        def arrived() -> dict[str, float] | None:
            requests = itertools.islice(self._receiver.requests, seen, None)
            found = {request.key: request.begun_at for request in requests if request.key in begun_at}
            return found if len(found) == len(begun_at) else None

        found = await wait_until(arrived, PATIENCE_SECONDS, what="every webhook to arrive") or {}
        return [at - begun_at[key] for key, at in found.items()]


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]


def _hours_ago(hours: int) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


@contextlib.asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, command_timeout=STATEMENT_TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close()


# Deliveries that failed some minutes ago after one attempt; $3 tells the payloads of several calls apart.
_FAIL = """
WITH numbered AS MATERIALIZED (
    SELECT n, uuidv7(interval '-10 minutes') AS event_id FROM generate_series(1, $2::int) AS n
), made AS MATERIALIZED (
    SELECT n, event_id,
           (left(event_id::text, 18) || '-8' || substr(md5(event_id::text), 1, 3) || '-'
            || substr(md5(event_id::text), 4, 12))::uuid AS id
    FROM numbered
), stored AS (
    INSERT INTO webhook_events (id, tenant_id, event_type, content_type, payload)
    SELECT event_id, 'default', 'chaos.failed', 'application/json',
           convert_to('{"key":"' || $3::text || '-' || n || '","filling":""}', 'UTF8')
    FROM made
), attempted AS (
    INSERT INTO delivery_attempts (delivery_id, subscription_id, started_at, recorded_at, claim_token, number,
                                   duration_ms, request, status_code, final, outcome, tenant_id)
    SELECT id, $1, now() - interval '5 minutes', now() - interval '5 minutes', gen_random_uuid(), 1, 5, 1, 503, true,
           'http_5xx', 'default'
    FROM made
), listed AS (
    INSERT INTO unsuccessful_deliveries (id, subscription_id, status, attempt_count, last_status_code, last_error_kind,
                                         tenant_id)
    SELECT id, $1, 'failed', 1, 503, 'http_5xx', 'default' FROM made
)
INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, status, reason, completed_at,
                                attempt_count)
SELECT id, event_id, $1, 'default', 'chaos.failed', 'failed', 'retries_exhausted', now(), 1 FROM made
RETURNING id
"""
# How many deliveries have how many attempts after the one with which they were made; -1 if one of those failed.
_ATTEMPTS = """
SELECT attempts, count(*)::int AS deliveries
FROM (
    SELECT delivery_id, CASE WHEN bool_and(outcome = 'success') THEN count(*) ELSE -1 END::int AS attempts
    FROM delivery_attempts WHERE number > 1 AND delivery_id = ANY($1::uuid[])
    GROUP BY delivery_id
) AS counted
GROUP BY attempts
"""
