"""Names are resolved within bounds, vetted, and kept for seconds."""

import asyncio
import contextlib
import gc
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dev.harness.waiting import wait_until
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import resolver
from services.delivery.destinations.http.resolver import Lookups, Resolver
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.states import AttemptOutcome
from tests.delivery.world import until_true

# Names become addresses that were vetted.


NOTHING = Policy.parse([])


PUBLIC = "93.184.215.14"


class System:
    """The system's resolver: it knows what is in `addresses`, and has no answer for any other name."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked.append(host)
        self.answers.wait(10)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.addresses[host], port))]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """Stands in for the system's resolver."""
    made = System()
    monkeypatch.setattr(resolver, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_localhost_is_denied(host: str) -> None:
    with pytest.raises(EgressDenied):
        await Resolver(NOTHING).resolve(host, 80)


async def test_the_resolver_answers_the_addresses_that_it_checked() -> None:
    found = await Resolver(Policy.parse(["127.0.0.0/8", "::1"])).resolve("localhost", 8080)
    assert found
    assert all(ipaddress.ip_address(address).is_loopback for address in found)


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".example", "." + "a.example", "a..example"])
async def test_a_name_without_addresses_is_a_dns_failure(host: str) -> None:
    with pytest.raises(SendError) as raised:
        await Resolver(NOTHING).resolve(host, 80)
    assert raised.value.kind is AttemptOutcome.DNS


async def test_a_literal_is_vetted_and_known_from_then_on() -> None:
    resolver = Resolver(NOTHING)
    for host in ("10.0.0.1", "::1"):
        with pytest.raises(EgressDenied):
            await resolver.resolve(host, 80)
        assert resolver.known(host, 80) is None
    assert await resolver.resolve("93.184.215.14", 443) == ["93.184.215.14"]
    assert resolver.known("93.184.215.14", 443) == ["93.184.215.14"]
    assert resolver.known("93.184.215.14", 80) is None


async def test_the_system_is_asked_for_names_that_no_search_list_completes(system: System) -> None:
    """A short name of the cluster is a name of the internet, unless an entry says otherwise."""
    system.addresses = {"payments.prod": "10.20.0.7"}
    with pytest.raises(SendError):
        await Resolver(Policy.parse(["10.20.0.0/16"])).resolve("payments.prod", 80)
    assert await Resolver(Policy.parse(["*.prod"])).resolve("payments.prod", 80) == ["10.20.0.7"]
    assert await Resolver(Policy.parse(["payments.prod:9200"])).resolve("payments.prod", 9200) == ["10.20.0.7"]
    assert system.asked == ["payments.prod.", "payments.prod", "payments.prod"]


async def test_a_name_without_an_answer_is_not_asked_for_again_at_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "FAILURE_TTL_SECONDS", 0.3)
    asking = Resolver(NOTHING)
    messages = set()
    for _ in range(3):
        with pytest.raises(SendError) as raised:
            await asking.resolve("receiver.example", 80)
        assert raised.value.kind is AttemptOutcome.DNS
        messages.add(raised.value.message)
    assert len(messages) == len(system.asked) == 1
    with pytest.raises(SendError):
        await asking.resolve("other.example", 80)
    assert system.asked == ["receiver.example.", "other.example."]

    system.addresses = {"receiver.example.": PUBLIC}

    async def answers() -> bool:
        with contextlib.suppress(SendError):
            return await asking.resolve("receiver.example", 80) == [PUBLIC]
        return False

    await until_true(answers, "the failure to be forgotten")
    assert await asking.resolve("receiver.example", 80) == [PUBLIC]
    assert len(system.asked) == 3


async def test_names_without_an_answer_are_remembered_within_a_bound_and_drive_out_no_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_NAMES", 3)
    system.addresses = {"receiver.example.": PUBLIC}
    asking = Resolver(NOTHING)
    await asking.resolve("receiver.example", 80)
    for number in (0, 1, 2, 3, 3, 2, 1, 0):
        with pytest.raises(SendError):
            await asking.resolve(f"nothing-{number}.example", 80)
    assert asking.known("receiver.example", 80) == [PUBLIC]
    assert system.asked.count("nothing-0.example.") == 2
    assert len(system.asked) == 6


async def test_a_name_that_is_denied_is_asked_for_each_time(system: System) -> None:
    system.addresses = {"receiver.example.": "10.0.0.1"}
    asking = Resolver(NOTHING)
    for _ in range(2):
        with pytest.raises(EgressDenied):
            await asking.resolve("receiver.example", 80)
    assert len(system.asked) == 2


async def test_a_failure_that_everybody_left_before_is_no_error_of_the_process(system: System) -> None:
    errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        system.answers.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Resolver(NOTHING).resolve("receiver.example", 80)
        assert _tasks("resolve:receiver.example")
        system.answers.set()
        await wait_until(lambda: not _tasks("resolve:receiver.example"), what="the look-up to end")
        gc.collect()
        await asyncio.sleep(0)
        assert errors == []
    finally:
        loop.set_exception_handler(before)


def _tasks(name: str) -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == name]


# Names are looked up without waiting for each other.


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
