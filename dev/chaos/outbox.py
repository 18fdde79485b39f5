"""The scenario `outbox`: an application publishes by its outbox, while the relays that read it are killed.

Its database is another Postgres server. Transactions publish numbers; some are rolled back, and some commit late. In
the end each committed number must be one event.
"""

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import asyncpg

from dev.chaos import stack
from dev.chaos.recovery import Report
from dev.chaos.run import Say
from dev.chaos.schedule import SHAPES
from dev.chaos.stack import ROOT, Plan, Stack, in_thread, wait_ready
from dev.embedded import EmbeddedPostgres, Guard, ports
from dev.harness.supervisor import Part, Supervisor, process
from dev.harness.waiting import wait_until

SHAPE = SHAPES["one"]
KILLS = 3
ROWS = 1_000
RELAYS = 2
WRITERS = 8
# The shortest that there is: so long nobody sends what a killed relay had claimed.
LEASE_SECONDS = 15
# A transaction publishes up to so many, every fifth is rolled back, and some are open for longer than others.
MAX_ROWS, ROLLED_BACK, LATE, LATE_SECONDS = 10, 0.2, 0.02, 0.3
PAUSE_SECONDS = 0.05
# From the start of a relay until it is killed.
LEAST_LIFE_SECONDS, MOST_LIFE_SECONDS = 0.1, 0.8
PATIENCE_SECONDS = 300.0
DATABASE = "shop"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many rows are committed at least, and how often a relay is killed meanwhile."""

    rows: int
    kills: int


async def run(the_plan: Plan, options: Options, say: Say) -> Report:
    """Start everything, publish while relays are killed, and judge."""
    report = Report()
    async with stack.running(the_plan, say) as running, _shop(the_plan) as (guard, shop):
        outbox = _Outbox(the_plan, running, shop, report, say)
        async with outbox.relaying(guard) as relays:
            await outbox.killed(relays, options)
            await outbox.judge(options)
    return report


def as_text(report: Report) -> str:
    """Return what was found, and what is wrong."""
    last = ["Every committed row is one event."] if not report.wrong else report.wrong
    return "\n".join(["", *report.lines, "", *last])


@contextlib.asynccontextmanager
async def _shop(the_plan: Plan) -> AsyncIterator[tuple[Guard, EmbeddedPostgres]]:
    """Run the application's Postgres, with an outbox."""
    with Guard() as guard:
        server = EmbeddedPostgres(the_plan.data_dir / "shop", guard=guard, log_path=the_plan.logs / "shop.log")
        await in_thread(server.start)
        try:
            await in_thread(server.ensure_database, DATABASE)
            connection = await asyncpg.connect(server.url(DATABASE))
            await connection.execute((ROOT / "sdk/outbox/webhook_outbox.sql").read_text())
            await connection.execute("CREATE TABLE orders (number integer PRIMARY KEY)")
            await connection.close()
            yield guard, server
        finally:
            await in_thread(server.close)


class _Outbox:
    def __init__(self, the_plan: Plan, running: Stack, shop: EmbeddedPostgres, report: Report, say: Say) -> None:
        self._plan = the_plan
        self._stack = running
        self._shop = shop
        self._report = report
        self._say = say
        self._numbers = iter(range(1 << 31))
        self._committed = 0
        self._rolled_back = 0

    @contextlib.asynccontextmanager
    async def relaying(self, guard: Guard) -> AsyncIterator[list[Part]]:
        """Run relays, and start them again when they die."""
        addresses = ",".join(f"127.0.0.1:{port}" for port in self._plan.grpc_ports.values())
        parts = []
        for number, port in enumerate(ports.free_ports(RELAYS)):
            environment = {
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "SERVICE_KEY": self._plan.service_key,
                "AUTH_REQUIRED": "true",
                "INGEST_ADDR": f"ipv4:{addresses}",
                "OUTBOX_DATABASE_URL": self._shop.tcp_url(DATABASE),
                "OUTBOX_LEASE_SECONDS": str(LEASE_SECONDS),
                "METRICS_PORT": str(port),
            }
            command = self._plan.run(f"relay-{number}", environment, cwd=self._plan.data_dir)
            parts.append(process(command, guard, [f"http://127.0.0.1:{port}/readyz"]))
        supervisor = Supervisor(max_deaths=None)
        await in_thread(supervisor.start, parts, on_cancel=supervisor.request_stop)
        keeper = asyncio.ensure_future(asyncio.to_thread(supervisor.watch))
        try:
            yield parts
        finally:
            supervisor.request_stop()
            await keeper
            await in_thread(supervisor.stop)

    async def killed(self, relays: list[Part], options: Options) -> None:
        """Publish until enough is committed and relays were killed often enough; wait until the outbox is empty."""
        enough = asyncio.Event()
        during = 0
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as group, self._connected() as looking:
            for seed in range(WRITERS):
                group.create_task(self._write(random.Random(seed), enough))  # noqa: S311 - no secret
            chosen = random.Random(WRITERS)  # noqa: S311 - no secret
            for number in range(1, options.kills + 1):
                part = relays[number % RELAYS]
                await asyncio.sleep(chosen.uniform(LEAST_LIFE_SECONDS, MOST_LIFE_SECONDS))
                await in_thread(part.child.kill)
                claimed = await looking.fetchval("SELECT count(*) FROM webhook_outbox WHERE claimed_until > now()")
                during += claimed > 0
                self._say(f"{part.name} is killed, the {number}. time; {claimed} rows are claimed")
                await wait_ready(part)
            await wait_until(lambda: self._committed >= options.rows, PATIENCE_SECONDS, what="enough rows")
            enough.set()
        self._say(
            f"{self._committed} rows were committed in {time.monotonic() - began_at:.0f} s; waiting for the relays"
        )
        async with self._connected() as looking:
            empty = "SELECT NOT EXISTS (SELECT FROM webhook_outbox)"
            await wait_until(lambda: looking.fetchval(empty), PATIENCE_SECONDS, what="the outbox to be empty")
        self._report.lines.append(f"{'relays killed':<58}{options.kills:>12}")
        self._report.lines.append(f"{'of these while rows were claimed':<58}{during:>12}")

    async def judge(self, options: Options) -> None:
        """Compare the events with what was committed."""
        report = self._report
        async with self._connected() as connection:
            committed = {row["number"] for row in await connection.fetch("SELECT number FROM orders")}
        service = await asyncpg.connect(self._stack.database_url)
        try:
            found = await service.fetch("SELECT payload FROM webhook_events WHERE event_type = 'outbox.order'")
        finally:
            await service.close()
        events = Counter(int(row["payload"]) for row in found)
        report.lines.append(f"{'rows rolled back':<58}{self._rolled_back:>12}")
        report.lines.append(f"{'rows committed':<58}{len(committed):>12}")
        report.lines.append(f"{'rows that were sent twice, and recognized':<58}{await self._repeated():>12}")
        report.bound("rows committed, at least", len(committed), options.rows, 1 << 31)
        report.expect("events", events.total(), len(committed))
        report.expect("committed rows that are no event", len(committed - events.keys()), 0)
        report.expect("events of rows that were not committed", len(events.keys() - committed), 0)
        report.expect("rows that are two events", sum(number > 1 for number in events.values()), 0)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._shop.url(DATABASE))
        try:
            yield connection
        finally:
            await connection.close()

    async def _write(self, chosen: random.Random, enough: asyncio.Event) -> None:
        """Publish in transactions, as an application does."""
        async with self._connected() as connection:
            while not enough.is_set():
                numbers = [next(self._numbers) for _ in range(chosen.randint(1, MAX_ROWS))]
                transaction = connection.transaction()
                await transaction.start()
                await connection.executemany("INSERT INTO orders VALUES ($1)", [(number,) for number in numbers])
                publish = "SELECT webhook_publish('outbox.order', $1::text)"
                await connection.executemany(publish, [(str(number),) for number in numbers])
                if chosen.random() < LATE:
                    await asyncio.sleep(LATE_SECONDS)
                if chosen.random() < ROLLED_BACK:
                    await transaction.rollback()
                    self._rolled_back += len(numbers)
                else:
                    await transaction.commit()
                    self._committed += len(numbers)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _repeated(self) -> int:
        """Return how many rows ingest recognized."""
        total = 0.0
        async with aiohttp.ClientSession() as http:
            for name in self._stack.instances:
                async with http.get(f"http://127.0.0.1:{self._plan.metrics_ports[name]}/metrics") as answer:
                    found = re.search(r"^webhook_events_repeated_total (\S+)$", await answer.text(), re.MULTILINE)
                    total += float(found[1]) if found else 0.0
        return int(total)
