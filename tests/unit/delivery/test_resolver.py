"""Names become addresses that were vetted."""

import ipaddress

import pytest

from services.common.egress import EgressDenied, Policy
from services.delivery.worker.resolver import Resolver
from services.delivery.worker.sender import Failure, SendError

NOTHING = Policy.parse([])


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
    assert raised.value.kind is Failure.DNS


async def test_a_literal_is_vetted_and_known_from_then_on() -> None:
    resolver = Resolver(NOTHING)
    for host in ("10.0.0.1", "::1"):
        with pytest.raises(EgressDenied):
            await resolver.resolve(host, 80)
        assert resolver.known(host, 80) is None
    assert await resolver.resolve("93.184.215.14", 443) == ["93.184.215.14"]
    assert resolver.known("93.184.215.14", 443) == ["93.184.215.14"]
    assert resolver.known("93.184.215.14", 80) is None
