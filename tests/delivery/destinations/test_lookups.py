"""Names are looked up without waiting for each other."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.delivery.destinations.http import resolver
from services.delivery.destinations.http.resolver import Lookups


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names that begin with "slow" hang until this is set; the others are looked up as ever."""
    released = threading.Event()
    systems = socket.getaddrinfo

    def ask(host: str, port: int, **named: Any) -> list[Any]:
        if host.startswith("slow"):
            released.wait(10)
        return list(systems("127.0.0.1", port, **named))

    monkeypatch.setattr(resolver, "getaddrinfo", ask)
    yield released
    released.set()


async def test_names_that_hang_do_not_hold_up_another(release: threading.Event) -> None:
    asked = Lookups()
    hanging = [asyncio.create_task(asked.addresses(f"slow-{number}.example", 80)) for number in range(100)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        assert await asked.addresses("quick.example", 80) == ["127.0.0.1"]
    release.set()
    assert await asyncio.gather(*hanging) == [["127.0.0.1"]] * 100


async def test_there_is_a_bound_to_how_many_are_looked_up_at_once(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_AT_ONCE", 3)
    asked = Lookups()
    hanging = [asyncio.create_task(asked.addresses(f"slow-{number}.example", 80)) for number in range(5)]
    await asyncio.sleep(0.05)
    assert sum(thread.name.startswith("resolve:slow-") for thread in threading.enumerate()) == 3
    release.set()
    assert len(await asyncio.gather(*hanging)) == 5


def looked_up() -> list[str]:
    """The slow names that have a thread."""
    names = [thread.name.removeprefix("resolve:") for thread in threading.enumerate()]
    return [name for name in names if name.startswith("slow")]


async def test_names_of_one_domain_do_not_take_the_places_of_others(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_AT_ONCE", 5)
    monkeypatch.setattr(resolver, "MAX_OF_A_DOMAIN", 2)
    asked = Lookups()
    spellings = ("slow-{}.evil.example", "slow-{}.evil.example.", "slow-{}.a.EVIL.example", "slow-{}.b.c.evil.example.")
    hanging = [
        asyncio.create_task(asked.addresses(spelling.format(number), 80))
        for number in range(10)
        for spelling in spellings
    ]
    await wait_until(lambda: len(looked_up()) == 2, what="as many look-ups as the domain may have")
    others = [asyncio.create_task(asked.addresses(f"slow.other-{number}.example", 80)) for number in range(2)]
    async with asyncio.timeout(1):
        assert await asked.addresses("quick.example", 80) == ["127.0.0.1"]
    assert len(looked_up()) == 4
    release.set()
    assert await asyncio.gather(*hanging, *others) == [["127.0.0.1"]] * 42


async def test_a_domain_is_forgotten_with_its_last_look_up(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_OF_A_DOMAIN", 1)
    asked = Lookups()
    release.set()
    for _ in range(2):
        names = [f"{number}.domain-{number % 5}.example" for number in range(20)]
        assert await asyncio.gather(*(asked.addresses(name, 80) for name in names)) == [["127.0.0.1"]] * 20
        assert len(asked._domains) == 0


async def test_whoever_leaves_is_not_answered(release: threading.Event) -> None:
    leaving = asyncio.create_task(Lookups().addresses("slow.example", 80))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    release.set()
    await asyncio.sleep(0.05)


async def test_what_goes_wrong_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(OSError, match=r".+"):
        await Lookups().addresses("nothing.invalid", 80)
    with pytest.raises(UnicodeError):
        await Lookups().addresses("a" * 64 + ".example", 80)
