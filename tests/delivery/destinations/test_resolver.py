"""Names are resolved within a time of their own, vetted, and kept for seconds."""

import asyncio
import contextlib
import gc
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.harness.network.nameserver import AAAA, SERVER_FAILURE, A, Nameserver
from dev.harness.waiting import wait_until
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import resolver
from services.delivery.destinations.http.resolver import Lookups, Resolver
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.states import AttemptOutcome
from tests.delivery.world import until_true

NOTHING = Policy.parse([])
PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


@contextlib.asynccontextmanager
async def resolving(policy: Policy = NOTHING) -> AsyncIterator[Resolver]:
    """Open a resolver, and close it."""
    made = Resolver(policy)
    yield made
    await made.close()


@pytest.fixture
async def lookups() -> AsyncIterator[Lookups]:
    """What looks names up, on whatever the test set up."""
    made = Lookups()
    yield made
    await made.close()


# Names are resolved to addresses that were checked.


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_localhost_is_denied(host: str) -> None:
    async with resolving() as asking:
        with pytest.raises(EgressDenied):
            await asking.resolve(host, 80)


async def test_the_resolver_answers_the_addresses_that_it_checked() -> None:
    async with resolving(Policy.parse(["127.0.0.0/8", "::1"])) as asking:
        found = await asking.resolve("localhost", 8080)
    assert found
    assert all(ipaddress.ip_address(address).is_loopback for address in found)


@pytest.mark.usefixtures("name_server")
@pytest.mark.parametrize(
    "host", ["nothing.invalid", "a" * 64 + ".example", "." + "a.example", "a..example", "a." * 127 + "example"]
)
async def test_a_name_without_addresses_is_a_dns_failure(host: str) -> None:
    async with resolving() as asking:
        with pytest.raises(SendError) as raised:
            await asking.resolve(host, 80)
    assert raised.value.kind is AttemptOutcome.DNS
    assert raised.value.message.startswith(f"{host} has no address: ")


async def test_a_literal_is_vetted_and_known_from_then_on() -> None:
    async with resolving() as asking:
        for host in ("10.0.0.1", "::1"):
            with pytest.raises(EgressDenied):
                await asking.resolve(host, 80)
            assert asking.known(host, 80) is None
        assert await asking.resolve("93.184.215.14", 443) == ["93.184.215.14"]
        assert asking.known("93.184.215.14", 443) == ["93.184.215.14"]
        assert asking.known("93.184.215.14", 80) is None


async def test_a_name_without_an_answer_is_not_looked_up_again_at_once(
    name_server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "FAILURE_TTL_SECONDS", 2.0)
    async with resolving() as asking:
        messages = set()
        for _ in range(3):
            with pytest.raises(SendError) as raised:
                await asking.resolve("receiver.example", 80)
            assert raised.value.kind is AttemptOutcome.DNS
            messages.add(raised.value.message)
        assert len(messages) == name_server.look_ups("receiver.example") == 1
        with pytest.raises(SendError):
            await asking.resolve("other.example", 80)
        assert name_server.look_ups("other.example") == 1
        name_server.say("receiver.example", PUBLIC)

        async def answers() -> bool:
            with contextlib.suppress(SendError):
                return await asking.resolve("receiver.example", 80) == [PUBLIC]
            return False

        await until_true(answers, "the failure to be forgotten")
        assert await asking.resolve("receiver.example", 80) == [PUBLIC]
        assert name_server.look_ups("receiver.example") == 2


async def test_names_without_an_answer_are_remembered_within_a_bound_and_drive_out_no_others(
    name_server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_NAMES", 3)
    name_server.say("receiver.example", PUBLIC)
    async with resolving() as asking:
        await asking.resolve("receiver.example", 80)
        for number in (0, 1, 2, 3, 3, 2, 1, 0):
            with pytest.raises(SendError):
                await asking.resolve(f"nothing-{number}.example", 80)
        assert asking.known("receiver.example", 80) == [PUBLIC]
    assert name_server.look_ups("nothing-0.example") == 2
    assert name_server.look_ups("nothing-2.example") == 1


async def test_a_denied_name_is_looked_up_each_time(name_server: Nameserver) -> None:
    name_server.say("receiver.example", "10.0.0.1")
    async with resolving() as asking:
        for _ in range(2):
            with pytest.raises(EgressDenied):
                await asking.resolve("receiver.example", 80)
    assert name_server.look_ups("receiver.example") == 2


async def test_a_failure_after_all_callers_have_left_is_not_an_error_of_the_process(
    name_server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 1.0)
    name_server.hang("receiver.example")
    errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        async with resolving() as asking:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asking.resolve("receiver.example", 80)
            assert _tasks("resolve:receiver.example")
            await wait_until(lambda: not _tasks("resolve:receiver.example"), what="the look-up to end")
        gc.collect()
        await asyncio.sleep(0)
        assert errors == []
    finally:
        loop.set_exception_handler(before)


def _tasks(name: str) -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == name]


# Names are looked up as the system is set up to.


async def test_lookups_ask_for_both_address_families(name_server: Nameserver, lookups: Lookups) -> None:
    name_server.say("receiver.example", PUBLIC, PUBLIC_6, PUBLIC)
    assert set(await lookups.addresses("receiver.example.")) == {PUBLIC, PUBLIC_6}
    assert sorted(name_server.asked) == [("receiver.example", A), ("receiver.example", AAAA)]


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6])
async def test_addresses_of_one_family_are_enough(name_server: Nameserver, lookups: Lookups, address: str) -> None:
    name_server.say("receiver.example", address)
    assert await lookups.addresses("receiver.example.") == [address]


async def test_an_alias_leads_to_the_addresses_of_the_other_name(name_server: Nameserver, lookups: Lookups) -> None:
    name_server.alias("receiver.example", "balancer.example")
    name_server.say("balancer.example", PUBLIC, PUBLIC_6)
    assert set(await lookups.addresses("receiver.example.")) == {PUBLIC, PUBLIC_6}


async def test_a_truncated_answer_is_requested_again_over_tcp(name_server: Nameserver, lookups: Lookups) -> None:
    many = [f"93.184.215.{number}" for number in range(200)]
    name_server.say("receiver.example", *many, truncated=True)
    assert set(await lookups.addresses("receiver.example.")) == set(many)


async def test_an_error_of_the_name_server_is_one_of_the_name(name_server: Nameserver, lookups: Lookups) -> None:
    name_server.fail("receiver.example", SERVER_FAILURE)
    with pytest.raises(OSError, match="server"):
        await lookups.addresses("receiver.example.")


async def test_search_list_is_not_applied_to_a_name_without_an_entry(
    name_server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short name of the cluster is a name of the internet, unless an entry says otherwise."""
    monkeypatch.setenv("LOCALDOMAIN", "corp.example")  # the search list, in place of that of resolv.conf
    monkeypatch.setenv("RES_OPTIONS", "ndots:5")
    name_server.say("payments.prod.corp.example", "10.20.0.7")
    async with resolving(Policy.parse(["10.20.0.0/16"])) as asking:
        with pytest.raises(SendError):
            await asking.resolve("payments.prod", 80)
    assert {name for name, _ in name_server.asked} == {"payments.prod"}
    for entry, port in (("*.prod", 80), ("payments.prod:9200", 9200)):
        async with resolving(Policy.parse([entry])) as asking:
            assert await asking.resolve("payments.prod", port) == ["10.20.0.7"]


def in_hosts_file() -> list[str]:
    """The names of this machine's hosts file, but for those that mean loopback everywhere."""
    lines = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    return [name for line in lines for name in line[1:] if not name.startswith(("localhost", "ip6-"))]


async def test_the_hosts_file_is_read_but_for_names_with_a_final_dot(name_server: Nameserver, lookups: Lookups) -> None:
    for name in in_hosts_file():
        assert await lookups.addresses(name)
        assert name_server.asked == []
        with pytest.raises(OSError, match="not found"):
            await lookups.addresses(f"{name}.")
        assert name_server.look_ups(name.lower()) == 1
        name_server.asked.clear()


@pytest.mark.parametrize("ttl_seconds", [0, 3600])
async def test_an_answer_is_forgotten_however_long_its_owner_lets_it_be_kept(
    name_server: Nameserver, lookups: Lookups, monkeypatch: pytest.MonkeyPatch, ttl_seconds: int
) -> None:
    monkeypatch.setattr(resolver, "TTL_SECONDS", 0.2)
    name_server.say("receiver.example", PUBLIC, ttl_seconds=ttl_seconds)
    assert await lookups.addresses("receiver.example.") == [PUBLIC]
    name_server.say("receiver.example", "93.184.215.15", ttl_seconds=ttl_seconds)

    async def leads_elsewhere() -> bool:
        return await lookups.addresses("receiver.example.") == ["93.184.215.15"]

    await until_true(leads_elsewhere, "the answer to be forgotten")


# Names that hang hold up nothing but themselves.


async def test_a_name_that_hangs_fails_after_a_time_of_its_own_and_is_remembered(
    name_server: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 0.3)
    name_server.hang("receiver.example")
    async with resolving() as asking:
        for _ in range(3):
            with pytest.raises(SendError) as raised:
                await asking.resolve("receiver.example", 80)
            assert raised.value.kind is AttemptOutcome.DNS
            assert raised.value.message == "receiver.example has no address: no name server answered within 0.3 s"
        assert name_server.look_ups("receiver.example") <= 2  # sent again, by one look-up


async def test_names_that_hang_do_not_delay_others_of_any_domain(
    name_server: Nameserver, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand at once: the same public suffix, the same domain, and domains of their own."""
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 60.0)
    name_server.say("quick.co.uk", PUBLIC)
    name_server.say("quick.hanging.co.uk", PUBLIC)
    for zone in ("hanging.co.uk", "other.example"):
        name_server.hang(f"*.{zone}")
    asked = [f"slow-{number}.{zone}." for number in range(500) for zone in ("hanging.co.uk", "other.example")]
    hanging = [asyncio.create_task(lookups.addresses(name)) for name in asked]
    await wait_until(lambda: name_server.look_ups("slow-499.other.example") > 0, what="the queries to be sent")
    assert await lookups.addresses("quick.co.uk.") == [PUBLIC]
    assert await lookups.addresses("quick.hanging.co.uk.") == [PUBLIC]
    assert not any(task.done() for task in hanging)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_names_that_wait_for_nothing_but_a_slow_answer_share_a_look_up(name_server: Nameserver) -> None:
    name_server.say("receiver.example", PUBLIC)
    async with resolving() as asking:
        found = await asyncio.gather(*(asking.resolve("receiver.example", 80) for _ in range(20)))
    assert found == [[PUBLIC]] * 20
    assert name_server.look_ups("receiver.example") == 1
