"""Which processes are known, and for how long."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from dev.harness.waiting import wait_until
from services.platform import ids
from services.platform.process import presence
from services.platform.process.lifecycle import Process
from services.platform.process.presence import Presence
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres, processes
from services.platform.stores.postgres import Pool
from services.platform.stores.processes import ProcessStore


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    process = Process("test")
    async with postgres.pool(process, PostgresSettings(database_url=database)) as opened:
        yield opened
    await process.cancel_all()


def one(role: str = "worker", pid: int = 1) -> Presence:
    return Presence(
        id=ids.new(), roles=(role,), instance="pod", pid=pid, version="1", started_at=datetime.now(UTC), slots=8
    )


async def test_a_process_is_noted_once_for_all_its_roles_while_it_runs(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "YOUNG_INTERVAL_SECONDS", 0.05)
    store, process = ProcessStore(pool), Process("worker")

    async def known() -> list[tuple[list[str], int | None]]:
        return [(found.roles, found.busy_slots) for found in await store.all(10)]

    async with presence.noted(process, store):
        async with presence.noted(process, store):
            await wait_until(known, what="a process")
            process.whole.load = lambda: (8, 3)

            async def busy() -> bool:
                return await known() == [(["worker"], 3)]

            await wait_until(busy, what="its load")
        (found,) = await store.all(10)
        assert (found.id, found.slots, found.missing) == (process.whole.id, 8, False)
    assert await known() == []


async def test_a_process_that_says_nothing_is_missing_and_later_forgotten(pool: Pool) -> None:
    store, dead, alive = ProcessStore(pool), one("ingest"), one()
    await store.note(dead)

    async def age(by: timedelta) -> None:
        await pool.execute("UPDATE processes SET seen_at = now() - $2::interval WHERE id = $1", dead.id, by)

    await age(processes.MISSING)
    await store.note(alive)
    assert [(found.id, found.missing) for found in await store.all(10)] == [(dead.id, True), (alive.id, False)]
    await age(processes.FORGOTTEN)
    await store.note(alive)
    assert [found.id for found in await store.all(10)] == [alive.id]


async def test_a_process_replaces_the_one_that_was_killed_in_its_place(pool: Pool) -> None:
    store, killed = ProcessStore(pool), one()
    again, neighbour = dataclasses.replace(killed, id=ids.new()), one(pid=2)
    for each in (killed, neighbour):
        await store.note(each)
    await pool.execute("UPDATE processes SET seen_at = now() - $1::interval", processes.MISSING)
    await store.note(again)
    assert {found.id for found in await store.all(10)} == {again.id, neighbour.id}


async def test_processes_of_containers_that_share_a_host_and_a_pid_are_all_known(pool: Pool) -> None:
    store, first = ProcessStore(pool), one()
    second = dataclasses.replace(first, id=ids.new())
    for each in (first, second, first):
        await store.note(each)
    assert {found.id for found in await store.all(10)} == {first.id, second.id}


async def test_there_are_never_more_than_so_many(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST", 2)
    store, many = ProcessStore(pool), [one(pid=number) for number in range(4)]
    for each in many:
        await store.note(each)
    await store.note(dataclasses.replace(many[0], busy_slots=5))
    assert [(found.pid, found.busy_slots) for found in await store.all(10)] == [(0, 5), (1, None)]
    assert len(await store.all(1)) == 1
