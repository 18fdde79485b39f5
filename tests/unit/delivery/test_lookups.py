"""Names are looked up without waiting for each other."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.delivery.worker import lookups
from services.delivery.worker.lookups import Lookups


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names that begin with "slow" hang until this is set; the others are looked up as ever."""
    released = threading.Event()
    systems = socket.getaddrinfo

    def ask(host: str, port: int, **named: Any) -> list[Any]:
        if host.startswith("slow"):
            released.wait(10)
        return list(systems("127.0.0.1", port, **named))

    monkeypatch.setattr(lookups, "getaddrinfo", ask)
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
    monkeypatch.setattr(lookups, "MAX_AT_ONCE", 3)
    asked = Lookups()
    hanging = [asyncio.create_task(asked.addresses(f"slow-{number}.example", 80)) for number in range(5)]
    await asyncio.sleep(0.05)
    assert sum(thread.name.startswith("resolve:slow-") for thread in threading.enumerate()) == 3
    release.set()
    assert len(await asyncio.gather(*hanging)) == 5


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
