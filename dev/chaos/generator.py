"""Send events at a steady rate, each until it is accepted, and record every try and every response."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import msgspec

from dev.chaos import catalog, events
from dev.chaos.evidence import Send

TIMEOUT_SECONDS = 5.0
# The delay before the first retry. It doubles with each retry, up to the longest.
RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 2.0
# A send that is not accepted within this time is given up, and is ambiguous or refused.
GIVE_UP_SECONDS = 240.0
MAX_IN_FLIGHT = 256
# Events that an outage held up are sent later, not faster: only so much is made up for. Otherwise the load after the
# faults would be as much as the stack takes, and deliveries would be late without a fault.
CATCH_UP_SECONDS = 1.0
# 409: an earlier try with the same key is still running.
RETRYABLE = frozenset({0, 409, 429, 502, 503})
# Of those for all subscriptions these are due later, so many seconds at most.
SCHEDULED_EVERY = 30
MAX_DELAY_SECONDS = 30
# So many large events to the slow endpoint wait for the byte budgets longer than a lease: only renewals keep the
# leases.
LARGE_EVERY = 8


class _Webhook(msgspec.Struct):
    event_id: str


_WEBHOOK = msgspec.json.Decoder(_Webhook)


class Generator:
    """Created by `generating`. `subscriptions` maps the names of endpoints to the ids of their subscriptions."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, subscriptions: Mapping[str, str]) -> None:
        self.sends: list[Send] = []
        self.accepted = 0
        self.begun_at = 0.0
        self._session = session
        self._base_url = base_url
        self._plain = [identifier for name, identifier in subscriptions.items() if name != "slow"]
        self._slow = subscriptions["slow"]
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def run(self, count: int, *, rate: float, large: int) -> None:
        """Send `count` events, `rate` a second, and return when each is accepted or given up.

        The first `large` of every eighth event are large ones to the slow endpoint.
        """
        due_at = self.begun_at = time.monotonic()
        for number in range(count):
            await self._free.acquire()
            now = time.monotonic()
            due_at = max(due_at + 1 / rate, now - CATCH_UP_SECONDS)
            await asyncio.sleep(max(0.0, due_at - now))
            is_large = number % LARGE_EVERY == 0 and number // LARGE_EVERY < large
            task = asyncio.create_task(self._send(number, is_large=is_large), name=f"send:{number}")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def close(self) -> None:
        """Cancel what is still being sent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()

    async def _send(self, number: int, *, is_large: bool) -> None:
        fan_out = not is_large and number % events.FAN_OUT_EVERY == 1
        endpoints = events.wanting(number) if fan_out else 1
        kept_away = len(events.WANTS[events.type_of(number)]) - endpoints if fan_out else 0
        send = Send(key=events.key_of(number), endpoints=endpoints, kept_away=kept_away, slow=is_large)
        self.sends.append(send)
        payload = events.payload_of(number, events.LARGE_BYTES if is_large else events.FILLING_BYTES)
        if fan_out:
            url = f"{self._base_url}/api/v1/events"
            body: dict[str, object] = {"event_type": events.type_of(number), "payload": payload}
            body["event_version"] = events.version_of(number)
            if number % SCHEDULED_EVERY == 1:
                due_at = time.time() + 1 + number % MAX_DELAY_SECONDS
                # The same in each try.
                body["deliver_at"] = datetime.fromtimestamp(due_at, UTC).isoformat()
                send.due_at = due_at - time.time() + time.monotonic()
        else:
            subscription = self._slow if is_large else self._plain[number % len(self._plain)]
            url, body = f"{self._base_url}/api/v1/webhooks/ingest/{subscription}", {"payload": payload}
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < give_up_at:
            await self._try(send, url, msgspec.json.encode(body))
            if send.accepted or send.tries[-1][2] not in RETRYABLE:
                return
            await asyncio.sleep(min(MAX_RETRY_SECONDS, RETRY_SECONDS * 2 ** (len(send.tries) - 1)))

    async def _try(self, send: Send, url: str, body: bytes) -> None:
        began_at = time.monotonic()
        status = 0
        headers = {"Content-Type": "application/json", "Idempotency-Key": send.key}
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_SECONDS), self._session.post(url, data=body, headers=headers) as answer:
                content = await answer.read()
                status = answer.status
                if status == 202:  # noqa: PLR2004 - accepted
                    send.event_id = UUID(_WEBHOOK.decode(content).event_id)
                    self.accepted += 1
        send.tries.append((began_at, time.monotonic() - began_at, status))


@contextlib.asynccontextmanager
async def generating(base_url: str, api_key: str, subscriptions: Mapping[str, str]) -> AsyncIterator[Generator]:
    """Yield a generator. Its sends are cancelled when the context ends."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=_headers(api_key)) as session:
        generator = Generator(session, base_url, subscriptions)
        try:
            yield generator
        finally:
            await generator.close()


@dataclass(kw_only=True)
class Subscribed:
    """The subscriptions to which events are sent by their ids, by name, and those of types that fan out."""

    by_name: dict[str, str] = field(default_factory=dict)
    filtered: set[UUID] = field(default_factory=set)
    templated: set[UUID] = field(default_factory=set)
    pinned: set[UUID] = field(default_factory=set)
    # The newer versions in the catalog, by their paths.
    versions: list[str] = field(default_factory=list)


async def subscribe(
    base_url: str, api_key: str, targets: Mapping[str, str | None], fan_out: Sequence[str]
) -> Subscribed:
    """Create a subscription for each target, the types that fan out, and their subscriptions for targets in `fan_out`.

    Without a URL, it is one to pull from.
    """
    found = Subscribed()
    async with aiohttp.ClientSession(raise_for_status=True, headers=_headers(api_key)) as session:

        async def create(**fields: object) -> str:
            async with session.post(f"{base_url}/api/v1/subscriptions/", json=fields) as answer:
                identifier: str = (await answer.json())["id"]
                return identifier

        for name, url in targets.items():
            # No event has this type, so they are not part of the fan-out. An event without a type still matches.
            where = {"destination": "pull"} if url is None else {"target_url": url}
            found.by_name[name] = await create(**where, event_types=["chaos.none"])
        found.versions = await catalog.create(session, base_url, events.WANTS)
        for event_type, wants in events.WANTS.items():
            for want, name in zip(wants, itertools.cycle(fan_out), strict=False):
                identifier = UUID(await create(target_url=targets[name], event_types=[event_type], **want.fields))
                if want.filtered:
                    found.filtered.add(identifier)
                if want.templated:
                    found.templated.add(identifier)
                if want.pinned:
                    found.pinned.add(identifier)
    return found


def _headers(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}
