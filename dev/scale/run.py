"""Asks a running service with very many deliveries, and says which bounds it does not keep."""

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard
from dev.harness import stack
from dev.harness.stack import Stack
from dev.harness.supervisor import DATABASE, migrate
from dev.harness.waiting import wait_until
from dev.scale import rows, searches
from dev.scale.rows import Made

# Bounds: of a page, of any statement, and of the time from the request for a job until it has done something.
PAGE_SECONDS = 0.25
STATEMENT_MILLISECONDS = 200
JOB_SECONDS = 2.0
PAGE_SIZE = "50"
# Nobody listens there: what a job retries comes back.
NOWHERE = "http://127.0.0.1:9/"
REQUEST_TIMEOUT_SECONDS = 60.0
LOG_NAME = "postgres.log"
_SLOW = re.compile(r"duration: ([0-9.]+) ms +(?:execute|statement|parse|bind)[^:]*: (.*)")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a request came to, and what it took each time: the first may have read from disk."""

    kind: str
    name: str
    found: int
    scanned: bool
    seconds: Sequence[float]

    @property
    def kept(self) -> bool:
        """Whether the page came in time, but for the first one, or says how far it got."""
        return self.kind == "summary" or self.scanned or max(self.seconds[1:]) <= PAGE_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a run has to say."""

    asked: Sequence[Asked]
    job_seconds: float
    # Statements over the bound, with their milliseconds.
    slow: Sequence[tuple[float, str]]

    @property
    def wrong(self) -> list[str]:
        """The bounds that were not kept, in words."""
        found = [f"{each.name}: {max(each.seconds[1:]):.3f} s" for each in self.asked if not each.kept]
        found += [f"a statement took {milliseconds:.0f} ms: {text}" for milliseconds, text in self.slow]
        if self.job_seconds > JOB_SECONDS:
            found.append(f"a job began after {self.job_seconds:.1f} s")
        return found


@contextlib.contextmanager
def serving(folder: Path, deliveries: int, say: Say) -> Iterator[tuple[Stack, Made]]:
    """Make the deliveries unless an earlier run left them in the folder, and yield a service that has them."""
    log_path, made_path = folder / LOG_NAME, folder / "made.json"
    settings = {"log_min_duration_statement": str(STATEMENT_MILLISECONDS)}
    with (
        Guard() as guard,
        EmbeddedPostgres(folder / "postgres", guard=guard, log_path=log_path, settings=settings) as postgres,
        EmbeddedValkey(folder / "valkey", guard=guard) as valkey,
    ):
        postgres.ensure_database(DATABASE)
        migrate(postgres.url(DATABASE))
        if not made_path.exists():
            new = asyncio.run(_make(postgres.url(DATABASE), deliveries, say))
            postgres.execute("CHECKPOINT")
            made_path.write_bytes(msgspec.json.encode(new))
            say("the deliveries are made")
        made = msgspec.json.decode(made_path.read_bytes(), type=Made)
        environment = {"DATABASE_URL": postgres.url(DATABASE), "REDIS_URL": valkey.url()}
        with stack.running(folder / "service", environment=environment, processes="one") as service:
            say("the service runs")
            yield service, made


def run(folder: Path, deliveries: int, repeats: int, say: Say) -> Report:
    """Ask a service with so many deliveries, and see what its database says of its statements."""
    with serving(folder, deliveries, say) as (service, made):
        log_path = folder / LOG_NAME
        begun_at = log_path.stat().st_size
        asked, job_seconds = asyncio.run(_ask(service.base_url, made, repeats))
        with log_path.open(errors="replace") as log:
            log.seek(begun_at)
            slow = [(float(found[1]), found[2][:160]) for found in map(_SLOW.search, log) if found]
    return Report(asked=asked, job_seconds=job_seconds, slow=slow)


async def _make(database_url: str, number: int, say: Say) -> Made:
    connection = await asyncpg.connect(database_url)
    try:
        return await rows.make(connection, number, target_url=NOWHERE, say=say)
    finally:
        await connection.close()


async def _ask(base_url: str, made: Made, repeats: int) -> tuple[list[Asked], float]:
    async with httpx.AsyncClient(base_url=base_url, timeout=REQUEST_TIMEOUT_SECONDS) as http:
        asked: list[Asked] = []
        for kind, path, key, wanted in (
            ("deliveries", "/api/v1/deliveries", "items", searches.DELIVERIES),
            ("events", "/api/v1/events", "items", searches.EVENTS),
            ("summary", "/api/v1/deliveries/summary", "groups", searches.SUMMARIES),
        ):
            for name, of in wanted.items():
                asked.append(await _asked(http, kind, path, key, name, {"limit": PAGE_SIZE, **of(made)}, repeats))
        return asked, await _job_seconds(http, made)


async def _asked(
    http: httpx.AsyncClient, kind: str, path: str, key: str, name: str, parameters: Mapping[str, Any], repeats: int
) -> Asked:
    seconds: list[float] = []
    content: dict[str, Any] = {}
    for _ in range(1 + repeats):
        began_at = time.monotonic()
        answer = await http.get(path, params=dict(parameters))
        seconds.append(time.monotonic() - began_at)
        assert answer.status_code == httpx.codes.OK, f"{kind}: {name}: {answer.text}"
        content = answer.json()
    return Asked(
        kind=kind, name=name, found=len(content[key]), scanned=content["scanned_to"] is not None, seconds=seconds
    )


async def _job_seconds(http: httpx.AsyncClient, made: Made) -> float:
    """Return how long it takes from the request for a job until it has done something."""
    wanted = {"subscription_id": [str(made.down)], "status": ["failed"], "from": made.at(0).isoformat()}
    began_at = time.monotonic()
    async with _job(http, {"kind": "retry", "filter": wanted, "rate_per_second": 50}) as path:

        async def done() -> bool:
            return bool((await http.get(path)).json()["counts"]["done"])

        await wait_until(done, what="the job to do something")
        return time.monotonic() - began_at


@contextlib.asynccontextmanager
async def _job(http: httpx.AsyncClient, body: Mapping[str, Any]) -> AsyncIterator[str]:
    """Yield the path of a job, which is cancelled when the context ends."""
    answer = await http.post("/api/v1/jobs", json=body)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    path = f"/api/v1/jobs/{answer.json()['id']}"
    try:
        yield path
    finally:
        await http.post(f"{path}/cancel")


def as_text(report: Report) -> str:
    """Return a table of what was asked, and what is wrong."""
    lines = ["", f"{'':<50}{'found':>6}{'scanned_to':>12}{'first ms':>10}{'median ms':>10}{'longest ms':>11}"]
    for each in report.asked:
        first, *others = (1000 * seconds for seconds in each.seconds)
        scanned = "yes" if each.scanned else ""
        lines.append(
            f"{each.kind + ': ' + each.name:<60}"[:60].rstrip().ljust(52)
            + f"{each.found:>4}{scanned:>12}{first:>10.1f}{statistics.median(others):>10.1f}{max(others):>11.1f}"
        )
    lines += ["", f"a job began {report.job_seconds:.2f} s after it was asked for"]
    lines += report.wrong or ["Every bound was kept."]
    return "\n".join(lines)
