"""Checks that a target wants webhooks before it gets any (ENDPOINT_VERIFICATION).

With `echo` the target of an unverified subscription is sent a challenge in a signed POST, as Slack does it: of what the
field knows, this is what most receivers can already answer, where they answer events anyway. It must answer 2xx with
the challenge as the body, or as the field `challenge` of a JSON object. With `options` it is asked by the handshake of
CloudEvents' HTTP webhooks, and must name our origin. Then its subscription is active. After the last of DELAYS_SECONDS
nothing more is sent until somebody asks.

A challenge is sent as a delivery is, within the same bounds. A check is one worker's until a time, as a lease: a worker
that is lost leaves it to the others. Tenants share the checks in flight.
"""

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from services.delivery.destinations.destination import Answer, SendError, message_text
from services.delivery.destinations.details import Trail
from services.delivery.destinations.registry import Destinations
from services.delivery.settings import WorkerSettings
from services.delivery.worker.claims import Claim, claim_of_message
from services.delivery.worker.scheduler import Scheduler
from services.delivery.worker.shares import share
from services.delivery.worker.store import SQL
from services.domain.deliveries import DUE
from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.domain.notices.subscription_changes import NO_COPY, Copies
from services.domain.states import SubscriptionState
from services.platform import ids
from services.platform.process import background
from services.platform.process.shares import WeightOf, same_weight
from services.platform.stores import postgres
from services.platform.stores.redis import REDIS_AWAY
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

EVENT_TYPE = "url_verification"
# After the first challenge, and each of those that follow: when the next one is sent.
DELAYS_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0)
# Challenges of a worker that are out.
AT_ONCE = 32
# Of one tenant, a worker begins so many in so many seconds, whatever it asks for: who is asked did not agree to it yet.
TENANT_CHECKS = 10
TENANT_SECONDS = 1.0
# Longer than any timeout and the recording.
LEASE_SECONDS = 60.0
# Where its tenant or its host has no room, a check is looked at again after this.
NO_ROOM_SECONDS = 1.0
INTERVAL_SECONDS = 1.0
# The least time between looks: most signals that something is due are about deliveries.
LEAST_SECONDS = 0.1
CHALLENGE_BYTES = 32
_SUCCESS = range(200, 300)
# The rates of handshakes are in requests per minute.
MINUTE_SECONDS = 60.0
_RATE = re.compile(r"[1-9][0-9]{0,8}")
# Of a header of an answer, in the reason why it does not verify its target.
MAX_SHOWN = 100


class Due(NamedTuple):
    """A check, as the claim that is sent, and how many challenges there were with it."""

    claim: Claim
    sent: int
    rate_limit_per_second: float | None = None


class CheckStore:
    """What checks ask of Postgres. Every method raises STORE_AWAY when it is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def take(self, number: int, *, without: Sequence[str]) -> list[Due]:
        """Take up to so many checks in hand, one of each tenant but these."""
        while True:
            asked_at = time.monotonic()
            last = len(DELAYS_SECONDS) + 1
            rows = await self._pool.fetch(SQL["take_checks"], without, number, LEASE_SECONDS, last)
            # A subscription may need its check again by now: a statement of its own sees that.
            if needless := [row for row in rows if not row["needed"]]:
                names = [row["id"] for row in needless]
                await self._pool.execute(SQL["forget_checks"], names, needless[0]["until"])
            found = [
                Due(_claim(row, asked_at), row["sent"], row["rate_limit_per_second"])
                for row in rows
                if row["needed"] and not row["lost"]
            ]
            if found or not rows:
                return found

    async def verified(self, claim: Claim) -> int | None:
        """Make a subscription active, unless it has another target by now; return its version."""
        async with self._pool.acquire() as connection, connection.transaction():
            version: int | None = await connection.fetchval(
                SQL["verify"], claim.subscription_id, claim.endpoint_version
            )
            if version is not None:
                before, after = SubscriptionState.UNVERIFIED, SubscriptionState.ACTIVE
                entry = audit.Entry(
                    action=Action.VERIFY_SUBSCRIPTION,
                    tenant_id=claim.tenant_id,
                    resource_id=str(claim.subscription_id),
                    changes=[FieldChange(field="status", before=before, after=after)],
                )
                await audit.record(connection, entry, actor=audit.SYSTEM)
        return version

    async def failed(self, due: Due, error: str) -> None:
        """Note why a target is not verified, and when the next challenge is due, unless somebody asked meanwhile."""
        delay = DELAYS_SECONDS[due.sent - 1] if due.sent <= len(DELAYS_SECONDS) else None
        await self._pool.execute(SQL["put_check"], due.claim.subscription_id, due.sent, delay, message_text(error))

    async def put_off(self, due: Due) -> None:
        """Leave a check for a moment, for which nothing was sent."""
        await self._pool.execute(SQL["put_off_check"], due.claim.subscription_id, due.sent, NO_ROOM_SECONDS)


class EndpointChecks:
    """Sends challenges, and judges the answers."""

    def __init__(
        self,
        store: CheckStore,
        destinations: Destinations,
        scheduler: Scheduler,
        heard: Signals,
        settings: WorkerSettings,
        weight_of: WeightOf = same_weight,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._scheduler = scheduler
        self._signals = heard
        self._copies = Copies(heard)
        self._timeout_seconds = settings.delivery_timeout_seconds
        self._origin = settings.endpoint_verification_origin if settings.endpoint_verification == "options" else None
        self._weight_of = weight_of
        self._out: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        # Of each tenant, in the seconds that end then.
        self._begun: Counter[str] = Counter()
        self._count_until = -math.inf
        # Goes off when a subscription was changed, too.
        self._wake = heard.alarm(DUE)

    async def run(self) -> None:
        """Check what is due until cancelled."""
        try:
            await background.repeat(self._step, interval_seconds=INTERVAL_SECONDS, wake=self._wake, quiet=True)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _step(self) -> float:
        """Begin as many checks as may be out; return the seconds until the next look."""
        if time.monotonic() >= self._count_until:
            self._begun.clear()
            self._count_until = time.monotonic() + TENANT_SECONDS
        while free := AT_ONCE - len(self._tasks):
            full = [name for name, out in self._out.items() if not share(free, out, self._weight_of(name))]
            ahead = [name for name, begun in self._begun.items() if begun >= TENANT_CHECKS]
            found = await self._store.take(free, without=full + ahead)
            for due in found:
                self._begun[due.claim.tenant_id] += 1
                self._out[due.claim.tenant_id] += 1
                task = asyncio.create_task(self._check(due), name="endpoint_check")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if not found:
                if ahead:
                    self._wake.set(max(0.0, self._count_until - time.monotonic()))
                await asyncio.sleep(LEAST_SECONDS)
                return self._signals.pace(INTERVAL_SECONDS)
        return INTERVAL_SECONDS

    async def _check(self, due: Due) -> None:
        claim = due.claim
        try:
            with self._scheduler.slot(claim) as has_room:
                if not has_room:
                    await self._store.put_off(due)
                    self._wake.set(NO_ROOM_SECONDS)
                    return
                error = await self._verify(due)
            await self._end(due, error)
        except Exception as failed:  # noqa: BLE001 - it is due again when its lease runs out
            log.warning("a target was not checked", subscription_id=str(claim.subscription_id), error=repr(failed))
        finally:
            self._out[claim.tenant_id] -= 1
            if not self._out[claim.tenant_id]:
                del self._out[claim.tenant_id]
            self._wake.set()

    async def _verify(self, due: Due) -> str | None:
        """Ask a target; return why it is not verified, None if it is."""
        try:
            return await (self._challenge(due.claim) if self._origin is None else self._shake_hands(due, self._origin))
        except SendError as error:
            return f"{error.kind}: {error.message}"

    def _timeout_of(self, claim: Claim) -> float:
        return self._timeout_seconds if claim.timeout_seconds is None else claim.timeout_seconds

    async def _challenge(self, claim: Claim) -> str | None:
        challenge = secrets.token_urlsafe(CHALLENGE_BYTES)
        payload = msgspec.json.encode({"type": EVENT_TYPE, "challenge": challenge})
        destination = self._destinations.of(claim)
        answer = await destination.send(claim, payload, timeout_seconds=self._timeout_of(claim), fresh=True)
        return refusal(answer, challenge)

    async def _shake_hands(self, due: Due, origin: str) -> str | None:
        headers, trail = {"WebHook-Request-Origin": origin}, Trail()
        if due.rate_limit_per_second is not None:
            headers["WebHook-Request-Rate"] = str(math.ceil(due.rate_limit_per_second * MINUTE_SECONDS))
        destination = self._destinations.of(due.claim)
        answer = await destination.ask(due.claim, headers, timeout_seconds=self._timeout_of(due.claim), trail=trail)
        granted = {name.lower(): value.strip().decode("latin-1") for name, value in trail.response_headers}
        return no_grant(answer, granted, origin, due.rate_limit_per_second)

    async def _end(self, due: Due, error: str | None) -> None:
        if error is not None:
            await self._store.failed(due, error)
            if due.sent <= len(DELAYS_SECONDS):
                self._wake.set(DELAYS_SECONDS[due.sent - 1])
            return
        claim = due.claim
        version = await self._store.verified(claim)
        if version is not None:
            log.info("a target was verified", subscription_id=str(claim.subscription_id))
            self._signals.wake(DUE)
            with contextlib.suppress(*REDIS_AWAY):  # else copies run out
                await self._copies.tell(claim.subscription_id, claim.tenant_id, NO_COPY, version)


def refusal(answer: Answer, challenge: str) -> str | None:
    """Return why an answer does not verify its target; None if it does."""
    if answer.status_code not in _SUCCESS:
        return f"the target answered {answer.status_code} to the challenge, and not 2xx"
    if answer.body.strip().strip(b'"') == challenge.encode():
        return None
    with contextlib.suppress(msgspec.DecodeError):
        found = msgspec.json.decode(answer.body)
        if isinstance(found, dict) and found.get("challenge") == challenge:
            return None
    return 'the body of the answer is neither the challenge nor {"challenge": …} with it'


def no_grant(answer: Answer, granted: Mapping[bytes, str], origin: str, rate_per_second: float | None) -> str | None:
    """Return why an answer to a handshake does not verify its target; None if it does."""
    if answer.status_code not in _SUCCESS:
        return f"the target answered {answer.status_code} to the OPTIONS request, and not 2xx"
    allowed = granted.get(b"webhook-allowed-origin")
    if allowed is None:
        return "the answer to the OPTIONS request has no WebHook-Allowed-Origin"
    if allowed != "*" and allowed.lower() != origin.lower():
        return f"the target allows the origin {allowed[:MAX_SHOWN]}, and not {origin}"
    return _why_too_fast(granted.get(b"webhook-allowed-rate", "*"), rate_per_second)


def _why_too_fast(allowed: str, rate_per_second: float | None) -> str | None:
    """Return why a subscription may send more than a target allows in a minute; None if it may not."""
    if allowed == "*":
        return None
    if not _RATE.fullmatch(allowed):
        return f"WebHook-Allowed-Rate is {allowed[:MAX_SHOWN]}, and neither * nor a number"
    if rate_per_second is not None and rate_per_second * MINUTE_SECONDS <= int(allowed):
        return None
    most = int(allowed) / MINUTE_SECONDS
    return f"the target allows {allowed} requests in a minute: set rate_limit_per_second to {most:.4g} or less"


def _claim(row: Any, asked_at: float) -> Claim:
    return claim_of_message(row, asked_at, ids.new(), EVENT_TYPE, number=row["sent"])
