"""Scheduled events, many at once: none is early, lost, doubled, or delivered although it was cancelled."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from dev.harness.receiver import Receiver, receiving
from dev.harness.stack import Stack
from dev.harness.waiting import wait_until
from services.ingest.scheduled.rows import SQL

WHAT = "20,000 events due within 20 seconds, of which 2,000 are cancelled, while a million others wait"
EVENTS = 20_000
CANCELLED_EVERY = 10
BATCH = 500
# Scheduling all of them takes less, on a busy machine, too.
FIRST_SECONDS = 120
SPREAD_SECONDS = 20
WAITING = 1_000_000
LOOKS = 200
TYPE = "shape.scheduled"
PATIENCE_SECONDS = 300
# A look reads one row: what a busy machine takes for that.
MOST_LOOK_MS = 20.0
# What the clocks of a machine differ by.
CLOCKS = timedelta(milliseconds=10)

_INSERT_WAITING = """
INSERT INTO scheduled_events (id, tenant_id, event_type, content_type, payload, payload_bytes)
SELECT uuidv7(interval '7 days' + n * interval '1 ms'), 'another-tenant', 'shape.waiting', 'application/json', '{}', 2
FROM generate_series(1, $1::int) AS n
"""


@dataclass(frozen=True, kw_only=True)
class _Sent:
    number: int
    event_id: str
    deliver_at: datetime


@dataclass
class Report:
    """What is wrong."""

    wrong: list[str] = field(default_factory=list)

    def expect(self, name: str, value: float, *, most: float, unit: str = "") -> None:
        """Print a figure that may be at most so much."""
        text = f"{name}: {value:,.6g}{unit} (at most {most:,.6g}{unit})"
        say(f"  {text}")
        if value > most:
            self.wrong.append(text)


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run() -> bool:
    """Run it on a stack of its own, and print what was found."""
    say(WHAT)
    report = asyncio.run(_run())
    for text in report.wrong:
        say(f"wrong: {text}")
    return not report.wrong


async def _run() -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="shape-") as folder:
        stack = Stack(Path(folder) / "data")
        stack.start()
        try:
            async with receiving() as receiver, httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
                database: asyncpg.Connection[Any] = await asyncpg.connect(stack.ports["database_url"])
                try:
                    await _all(report, database, http, receiver)
                finally:
                    await database.close()
        finally:
            stack.stop()
    return report


async def _all(
    report: Report, database: "asyncpg.Connection[Any]", http: httpx.AsyncClient, receiver: Receiver
) -> None:
    body = {"target_url": receiver.url("/hook"), "event_types": [TYPE]}
    (await http.post("/api/v1/subscriptions", json=body)).raise_for_status()
    say(f"  writing {WAITING:,} events that are due in a week")
    await database.execute(_INSERT_WAITING, WAITING, timeout=600)
    report.expect("a look at them, p99", await _look_ms(database), most=MOST_LOOK_MS, unit=" ms")
    say(f"  scheduling {EVENTS:,} events")
    sent = await _schedule(http)
    cancelled = sent[::CANCELLED_EVERY]
    say(f"  cancelling {len(cancelled):,}")
    for some in _batched(cancelled, 50):
        answers = await asyncio.gather(*(http.post(f"/api/v1/events/{one.event_id}/cancel") for one in some))
        for answer in answers:
            answer.raise_for_status()
    gone = {one.number for one in cancelled}
    wanted = [one for one in sent if one.number not in gone]
    say("  waiting until all are delivered")
    await wait_until(lambda: len(receiver.requests) >= len(wanted), PATIENCE_SECONDS, what="all to be delivered")
    await asyncio.sleep(2)  # for what should not come
    _judge(report, wanted, gone, receiver)
    left = await database.fetchval("SELECT count(*) FROM scheduled_events WHERE event_type = $1", TYPE)
    report.expect("left scheduled", left, most=0)
    report.expect("a look afterwards, p99", await _look_ms(database), most=MOST_LOOK_MS, unit=" ms")


def _batched(items: Sequence[_Sent], size: int) -> list[Sequence[_Sent]]:
    return [items[place : place + size] for place in range(0, len(items), size)]


async def _schedule(http: httpx.AsyncClient) -> list[_Sent]:
    """Schedule events that are due one after the other."""
    base = datetime.now(UTC) + timedelta(seconds=FIRST_SECONDS)
    sent: list[_Sent] = []
    for first in range(0, EVENTS, BATCH):
        numbers = range(first, first + BATCH)
        due = [base + timedelta(seconds=SPREAD_SECONDS * (number * 7 % EVENTS) / EVENTS) for number in numbers]
        events = [
            {"event_type": TYPE, "payload": {"number": number}, "deliver_at": moment.isoformat()}
            for number, moment in zip(numbers, due, strict=True)
        ]
        answer = await http.post("/api/v1/events/batch", json={"events": events})
        answer.raise_for_status()
        for number, result in zip(numbers, answer.json()["results"], strict=True):
            moment = datetime.fromisoformat(result["deliver_at"])
            sent.append(_Sent(number=number, event_id=result["event_id"], deliver_at=moment))
    return sent


def _judge(report: Report, wanted: Sequence[_Sent], gone: set[int], receiver: Receiver) -> None:
    came = Counter[int]()
    first: dict[int, datetime] = {}
    for request in receiver.requests:
        number = msgspec.json.decode(request.body)["number"]
        came[number] += 1
        first[number] = min(request.at, first.get(number, request.at))
    late = [(first[one.number] - one.deliver_at).total_seconds() * 1000 for one in wanted if one.number in first]
    report.expect("lost", sum(one.number not in first for one in wanted), most=0)
    report.expect("delivered twice", sum(count > 1 for count in came.values()), most=0)
    report.expect("delivered although cancelled", len(gone & came.keys()), most=0)
    report.expect("early", sum(ms < -CLOCKS.total_seconds() * 1000 for ms in late), most=0)
    say(f"  late, median: {statistics.median(late):,.0f} ms")
    report.expect("late, p99", statistics.quantiles(late, n=100)[98], most=500, unit=" ms")


async def _look_ms(database: "asyncpg.Connection[Any]") -> float:
    """Return how long a look takes that finds nothing due: the p99 of many."""
    since = await database.fetchval("SELECT uuid_after(now() - interval '5 seconds')")
    took = []
    for _ in range(LOOKS):
        began_at = time.perf_counter()
        await database.fetchrow(SQL["select_first"], since, [])
        took.append((time.perf_counter() - began_at) * 1000)
    return statistics.quantiles(took, n=100)[98]
