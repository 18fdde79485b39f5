"""Whatever workers, dispatchers, and people do to a delivery, in any order, its row follows a simple model."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dev.harness.stores import Stores
from services.delivery.dispatcher.store import MAX_INTERRUPTIONS
from services.delivery.worker import decisions
from services.delivery.worker.claims import Claim, Outcome
from services.delivery.worker.store import WorkerStore
from services.domain.retry_policy import RetryPolicy
from services.domain.states import DeliveryStatus
from services.platform import errors
from services.platform.auth import identity
from services.platform.stores.postgres import Pool
from tests.delivery.world import World, attempt

LIMIT = 2
POLICY = RetryPolicy(limit=LIMIT, base_seconds=100, factor=1, cap_seconds=100, jitter=0)
UNFINISHED = {"pending", "scheduled", "in_flight"}


@dataclass
class Model:
    """The state of a delivery."""

    status: str = "pending"
    failure_count: int = 0
    interrupted_count: int = 0
    holder: Any = None
    reason: str | None = None
    expired: bool = False
    # By claim and request, in the order of their numbers.
    attempts: dict[tuple[UUID, int], str] = field(default_factory=dict)
    # The state of its subscription: paused or disabled, and its breaker. If half open, this delivery is the probe.
    held: str | None = None
    breaker: str = "closed"

    @property
    def held_by(self) -> str | None:
        """Return what keeps it from being sent."""
        return self.held or ("breaker_open" if self.breaker == "open" else None)

    @property
    def attempt_count(self) -> int:
        """Return the attempts in the log, whose numbers have no gap."""
        return len(self.attempts)

    def log(self, claim: UUID, made: Sequence[str]) -> None:
        """Record the attempts of a claim, which are written once; only its own interrupted one is replaced."""
        for request, outcome in enumerate(made, 1):
            if self.attempts.get((claim, request), "interrupted") == "interrupted":
                self.attempts[claim, request] = outcome

    def end(self, status: str, reason: str | None = None) -> None:
        self.status, self.holder, self.reason = status, None, reason


class Delivery:
    """One delivery, and every claim that anyone ever had on it; each step changes row and model."""

    def __init__(self, world: World, delivery_id: UUID, subscription: UUID) -> None:
        self.world = world
        self.workers = WorkerStore(world.pool, world.worker_settings())
        self.turns = world.dispatcher_store()
        self.api = world.store()
        self.id = delivery_id
        self.subscription = subscription
        self.model = Model()
        self.claims: list[Claim] = []
        self.recorded: list[Outcome] = []

    async def take(self, step: str, which: int, *, more: bool, twice: bool) -> None:
        """Run a step; a worker's step uses one of the claims.

        `more`: with a repeated request, or one that was started; `twice`: recorded again, because the response was
        lost.
        """
        if step in {"succeed", "fail", "hand_back", "renew"}:
            if self.claims:
                await getattr(self, step)(self.claims[which % len(self.claims)], more=more, twice=twice)
        elif step == "record_again":
            if self.recorded:
                await self.record_again(self.recorded[which % len(self.recorded)])
        else:
            await getattr(self, step)()

    # -- workers --

    async def claim(self) -> None:
        found = await self.workers.claim([self.id])
        model = self.model
        assert len(found) == (model.status == "pending")
        if not found:
            return
        model.status, model.holder = "in_flight", found[0].token
        assert (found[0].number, found[0].failures) == (model.attempt_count + 1, model.failure_count)
        assert (found[0].expired, found[0].held_by) == (model.expired, model.held_by)
        assert found[0].probe == (model.breaker == "half_open")
        self.claims.append(found[0])

    async def renew(self, claim: Claim, **_: bool) -> None:
        assert await self.workers.renew([claim]) == ({self.id} if self.model.holder == claim.token else set())

    async def succeed(self, claim: Claim, *, more: bool, twice: bool) -> None:
        made = ["connection_lost", "success"] if more else ["success"]
        await self._record(decisions.decide(claim, [attempt(outcome, claim) for outcome in made], POLICY), twice=twice)
        self.model.log(claim.token, made)
        if self.model.status in UNFINISHED:
            self.model.end("delivered")

    async def fail(self, claim: Claim, *, more: bool, twice: bool) -> None:
        made = ["connection_lost", "http_5xx"] if more else ["http_5xx"]
        await self._record(decisions.decide(claim, [attempt(outcome, claim) for outcome in made], POLICY), twice=twice)
        self.model.log(claim.token, made)
        if self.model.holder == claim.token:
            self.model.failure_count += 1
            if self.model.failure_count > LIMIT:
                self.model.end("failed", "retries_exhausted")
            elif self.model.expired:
                self.model.end("failed", "expired")
            else:
                self.model.end("scheduled")

    async def hand_back(self, claim: Claim, *, more: bool, twice: bool) -> None:
        made = ["interrupted"] if more else []
        await self._record(
            Outcome(claim=claim, status=DeliveryStatus.PENDING, attempts=[attempt(outcome, claim) for outcome in made]),
            twice=twice,
        )
        self.model.log(claim.token, made)
        if self.model.holder == claim.token:
            self.model.end("pending")

    async def record_again(self, outcome: Outcome) -> None:
        """Postgres's response was lost, and anything may have happened since: it changes nothing."""
        await self.workers.record([outcome])

    async def _record(self, outcome: Outcome, *, twice: bool) -> None:
        self.claims.remove(outcome.claim)  # a worker has one outcome for a claim
        self.recorded.append(outcome)
        for _ in range(1 + twice):
            await self.workers.record([outcome])

    # -- time, and the dispatcher --

    async def time_passes(self) -> None:
        await self.world.pool.execute("UPDATE delivery_queue SET due_at = now() - interval '1 second'")
        found = (await self.turns.find_due({self.subscription: 10}, {})).get(self.subscription, [])
        await self.turns.end_expired([due.id for due in found if due.expired])
        await self.turns.take_due([due.id for due in found], hold_seconds=10)
        self._is_looked_at()

    async def it_is_looked_at_while_it_is_held(self) -> None:
        expired, _ = await self.turns.find_expired(UUID(int=0), limit=10)
        await self.turns.end_expired(expired)
        if self.model.expired:
            self._is_looked_at()

    def _is_looked_at(self) -> None:
        if self.model.status in {"pending", "scheduled"}:
            self.model.end(*(("failed", "expired") if self.model.expired else ("pending",)))

    async def it_expires(self) -> None:
        await self.world.pool.execute("UPDATE delivery_queue SET expires_at = now() - interval '1 second'")
        self.model.expired = True

    async def a_lease_runs_out(self) -> None:
        await self.world.pool.execute(
            "UPDATE delivery_queue SET lease_until = now() - interval '1 second' WHERE claim_token IS NOT NULL"
        )
        await self.turns.keep_leases([self.id])
        await self.turns.expire_leases([self.id])
        model = self.model
        if model.status == "in_flight":
            model.interrupted_count += 1
            model.log(model.holder, ["interrupted"])
            lost = model.interrupted_count >= MAX_INTERRUPTIONS
            model.end(*(("failed", "worker_lost") if lost else ("pending",)))

    async def a_turn_finds_nothing_due(self) -> None:
        await self.world.pool.execute(
            "UPDATE delivery_queue SET due_at = now() + interval '1 hour',"
            " lease_until = CASE WHEN claim_token IS NOT NULL THEN now() + interval '1 hour' END"
        )
        before = await self.world.row(self.id)
        assert await self.turns.find_due({self.subscription: 10}, {}) == {}
        assert await self.turns.take_due([self.id], hold_seconds=10) == []
        await self.turns.keep_leases([self.id])
        assert await self.turns.expire_leases([self.id]) == (0, 0)
        assert await self.world.row(self.id) == before

    async def a_breaker_opens(self) -> None:
        await self.world.pool.execute(
            "INSERT INTO subscription_health (subscription_id, breaker, probe_at) VALUES ($1, 'open', now())"
            " ON CONFLICT (subscription_id) DO UPDATE SET breaker = 'open', probe_at = now(), probe_delivery_id = NULL",
            self.subscription,
        )
        self.model.breaker = "open"

    async def a_probe_begins(self) -> None:
        began = await self.turns.begin_probes({self.subscription: self.id})
        assert began == ({self.subscription} if self.model.breaker == "open" else set())
        if began:
            self.model.breaker = "half_open"

    async def a_breaker_closes(self) -> None:
        await self.world.pool.execute("UPDATE subscription_health SET breaker = 'closed', probe_delivery_id = NULL")
        self.model.breaker = "closed"

    # -- people --

    async def pause(self) -> None:
        await self._hold("paused")

    async def disable(self) -> None:
        await self._hold("disabled")

    async def release(self) -> None:
        await self._hold(None)

    async def _hold(self, held_by: str | None) -> None:
        await self.world.pool.execute("UPDATE subscriptions SET status = $1", held_by or "active")
        self.model.held = held_by

    async def retry(self) -> None:
        identity.CALLER.set(identity.INTERNAL)
        if self.model.status == "in_flight" or self.model.held == "disabled":
            with pytest.raises(errors.Conflict):
                await self.world.retry(self.id)
            return
        await self.world.retry(self.id)
        self.model.failure_count = self.model.interrupted_count = 0
        self.model.expired = False
        self.model.end("pending")

    async def cancel(self) -> None:
        identity.CALLER.set(identity.INTERNAL)
        if self.model.status in {"in_flight", "delivered", "failed"}:
            with pytest.raises(errors.Conflict):
                await self.api.cancel("default", self.id)
            return
        await self.api.cancel("default", self.id)
        if self.model.status != "cancelled":
            self.model.end("cancelled", "cancelled")

    # -- always --

    async def the_row_is_as_the_model_says(self) -> None:
        row, model = await self.world.row(self.id), self.model
        assert (row["status"], row["claim_token"]) == (model.status, model.holder)
        if row["queued"]:
            assert row["failure_count"] == model.failure_count
            assert row["interrupted_count"] == model.interrupted_count
        assert row["attempt_count"] == model.attempt_count
        assert (row["completed_at"] is not None) == (model.status not in UNFINISHED)
        assert row["reason"] == model.reason

    async def the_log_is_as_the_model_says(self) -> None:
        attempts = await self.world.attempts(self.id)
        assert [each["number"] for each in attempts] == list(range(1, len(attempts) + 1))
        logged = [((each["claim_token"], each["request"]), each["outcome"]) for each in attempts]
        assert logged == list(self.model.attempts.items())
        if self.model.status == "delivered":
            assert "success" in self.model.attempts.values()


STEPS = st.sampled_from(
    ["claim"] * 10
    + ["a_lease_runs_out"] * 3
    + ["succeed", "succeed", "succeed", "fail", "fail", "fail", "hand_back", "renew", "time_passes", "time_passes"]
    + ["record_again"] * 2
    + ["a_turn_finds_nothing_due", "it_expires", "it_is_looked_at_while_it_is_held"]
    + ["retry", "retry", "retry", "cancel"]
    + ["pause", "disable", "disable", "release", "release", "a_breaker_opens", "a_probe_begins", "a_breaker_closes"]
)


@pytest.fixture(scope="module")
def on_a_database(stores: Stores) -> Iterator[tuple[asyncio.Runner, World]]:
    """An event loop and a database for all examples."""
    with stores.database() as database_url, asyncio.Runner() as runner:

        async def connect() -> Pool:
            generic = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
            return await asyncpg.create_pool(database_url, min_size=1, max_size=1, server_settings=generic)

        pool = runner.run(connect())
        yield runner, World(pool=pool, database_url=database_url, redis_url="redis://127.0.0.1:1/0")
        runner.run(pool.close())


# Do not shrink failures: each try is a run on a real database.
@settings(max_examples=80, deadline=None, derandomize=True, phases=[Phase.generate])
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 5), st.booleans(), st.booleans()), min_size=10, max_size=30))
def test_a_delivery_follows_the_model(
    on_a_database: tuple[asyncio.Runner, World], steps: list[tuple[str, int, bool, bool]]
) -> None:
    runner, world = on_a_database

    async def follow() -> None:
        for table in ("due_subscriptions", "delivery_queue", "unsuccessful_deliveries", "webhook_deliveries"):
            await world.pool.execute(f"DELETE FROM {table}")
        subscription = await world.subscription("http://127.0.0.1:1/")
        delivery = Delivery(world, await world.deliver(subscription), subscription)
        for step, which, more, twice in steps:
            await delivery.take(step, which, more=more, twice=twice)
            await delivery.the_row_is_as_the_model_says()
            await delivery.the_log_is_as_the_model_says()

    runner.run(follow())
