"""What workers tell those who watch, through Redis: only while there are any, and to each what is theirs."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from dev.harness.waiting import wait_until
from protos.webhook.v1 import deliveries_pb2 as pb
from services.delivery.api import live as api
from services.delivery.api.live import News, Wanted, Watching
from services.delivery.worker import live as worker
from services.delivery.worker.claims import Outcome
from services.delivery.worker.live import Live
from services.domain.live import STREAM
from services.domain.states import DeliveryStatus
from services.platform import errors, ids
from services.platform.settings import RedisSettings
from services.platform.stores import redis as redis_store
from services.platform.stores.redis import Client
from tests.delivery.world import attempt, claim


@dataclass
class Process:
    """A worker and those who watch, over one Redis."""

    client: Client
    live: Live
    watching: Watching

    def record(self, tenant_id: str = "acme", number: int = 1, subscription_id: UUID | None = None) -> list[str]:
        """Record deliveries; return their ids."""
        made = [
            claim(id=ids.new(), tenant_id=tenant_id, subscription_id=subscription_id or ids.new())
            for _ in range(number)
        ]
        done = [attempt("success")]
        self.live.note([Outcome(claim=one, status=DeliveryStatus.DELIVERED, attempts=done) for one in made])
        return [str(one.id) for one in made]

    async def is_open(self) -> bool:
        return bool(await self.client.exists(STREAM)) and self.live._open

    async def until_open(self) -> None:
        """Have the worker find out that somebody watches, as it does while it records."""

        async def opened() -> bool:
            self.live.note([])
            return await self.is_open()

        await wait_until(opened, what="the worker to tell")


@pytest.fixture
async def process(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(worker, "PACE_SECONDS", 0.01)
    monkeypatch.setattr(api, "PACE_SECONDS", 0.02)
    monkeypatch.setattr(api, "COUNTS_SECONDS", 0.02)
    async with redis_store.client(RedisSettings(redis_url=redis_url)) as client:
        made = Process(client=client, live=Live(client), watching=Watching(client))
        loops = [asyncio.create_task(made.live.run()), asyncio.create_task(made.watching.run())]
        yield made
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


def wanting(tenant_id: str = "acme", **fields: Any) -> Wanted:
    return Wanted.of(tenant_id, pb.DeliveryFilter(**fields))


async def some(watch: AsyncGenerator[News, None]) -> News:
    """Return the next message that says something."""
    async with asyncio.timeout(60):
        async for news in watch:
            if news.told or news.counts or news.dropped:
                return news
    raise AssertionError("it goes on")


async def test_nothing_is_told_while_nobody_watches(process: Process) -> None:
    process.record()
    await wait_until(lambda: not process.live._noted.is_set(), what="a look at the gate")
    process.record()
    await wait_until(lambda: not process.live._waiting, what="what was kept for a look to be forgotten")
    assert await process.client.exists(STREAM) == 0


async def test_each_gets_what_is_of_its_tenant_and_wanted(process: Process) -> None:
    own = ids.new()
    everything = process.watching.watch(wanting(), "", counting=False)
    one = process.watching.watch(wanting(subscription_id=[str(own)]), "", counting=False)
    other = process.watching.watch(wanting("other"), "", counting=False)
    counts = process.watching.watch(wanting(), "", counting=True)
    watches = (everything, one, other, counts)
    assert [bool((await anext(watch)).reset) for watch in watches] == [False] * 4
    await process.until_open()
    first, (second,), (third,) = process.record(), process.record(subscription_id=own), process.record("other")
    assert [told.delivery_id for told in (await some(one)).told] == [second]
    assert [told.delivery_id for told in (await some(other)).told] == [third]
    found: list[str] = []
    while len(found) < 2:
        found += [told.delivery_id for told in (await some(everything)).told]
    assert found == [*first, second]
    counted = await some(counts)
    assert counted.counts is not None
    assert set(counted.counts) == {"delivered"}
    for watch in watches:
        await watch.aclose()


async def test_who_comes_back_gets_what_was_missed_or_begins_again(process: Process) -> None:
    stays = process.watching.watch(wanting(), "", counting=False)
    await anext(stays)
    await process.until_open()
    leaves = process.watching.watch(wanting(), "", counting=False)
    position = (await anext(leaves)).position
    await leaves.aclose()
    process.record("other")
    missed = process.record()
    assert [told.delivery_id for told in (await some(stays)).told] == missed
    comes = process.watching.watch(wanting(), position, counting=False)
    news = await anext(comes)
    assert ([told.delivery_id for told in news.told], news.reset) == (missed, False)
    assert news.position > position
    await comes.aclose()
    for unknown in ("1-0", "9999999999999-7"):
        again = process.watching.watch(wanting(), unknown, counting=False)
        news = await anext(again)
        assert (news.told, news.reset) == ([], True)
        # It goes on from now, also after a position that is still to come.
        told = process.record()
        assert [one.delivery_id for one in (await some(again)).told] == told
        await again.aclose()
    with pytest.raises(errors.InvalidArgument):
        await anext(process.watching.watch(wanting(), "nonsense", counting=False))
    await stays.aclose()


async def test_what_is_too_much_is_left_out_and_counted(process: Process) -> None:
    watch = process.watching.watch(wanting(), "", counting=False)
    await anext(watch)
    await process.until_open()
    process.record(number=worker.MAX_WAITING + 50)
    told = dropped = 0
    while told + dropped < worker.MAX_WAITING + 50:
        news = await some(watch)
        assert len(news.told) <= api.MAX_WAITING
        told, dropped = told + len(news.told), dropped + news.dropped
    assert (told + dropped, dropped >= 50) == (worker.MAX_WAITING + 50, True)
    await watch.aclose()


def test_a_limited_link_does_not_learn_how_much_its_tenant_leaves_out() -> None:
    for limited, dropped in ((False, 7), (True, 1)):
        wanted = dataclasses.replace(wanting(), limited=limited)
        watcher = api._Watcher(wanted=wanted, counting=False, place=(0, 0))
        watcher.take((1, 0), [], 7)
        assert watcher.news().dropped == dropped


async def test_nobody_watches_without_redis(free_port: int) -> None:
    async with redis_store.client(RedisSettings(redis_url=f"redis://127.0.0.1:{free_port}")) as client:
        with pytest.raises(errors.Unavailable, match="Redis"):
            await anext(Watching(client).watch(wanting(), "", counting=False))


async def test_those_who_watch_are_told_when_redis_goes_away(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = process.watching.watch(wanting(), "", counting=False)
    await anext(watch)
    for watchers in process.watching._by_tenant.values():
        assert len(watchers) == 1

    async def away(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(process.watching, "_open", away)
    monkeypatch.setattr(api, "KEEP_OPEN_SECONDS", 0.0)
    with pytest.raises(errors.Unavailable):
        await asyncio.wait_for(anext(watch), 60)
    assert not process.watching._by_tenant


def test_only_what_is_told_can_be_filtered_by() -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        wanting(tag=["order=42"])
    assert [violation.field for violation in raised.value.violations] == ["tag"]
