"""Client certificates of subscriptions, with receivers that require one (mutual TLS)."""

import asyncio
import functools
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvloop

from dev.harness import certificates
from dev.harness.certificates import Issued
from dev.harness.keys import vault
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import sender as http_sender
from services.delivery.destinations.http import tls as identities
from services.delivery.destinations.http.dialing import Proxy
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.destinations.http.tls import ClientIdentities, ClientIdentity, trust
from services.domain.egress.policy import Policy
from services.domain.secrets import client_certificates
from services.domain.states import AttemptOutcome
from services.platform import ids
from tests.delivery.destinations.asking import Asking, asking
from tests.delivery.destinations.test_dialing import Tunnels
from tests.delivery.sending import Naming
from tests.delivery.world import LOOPBACK, World

CA = certificates.authority()
SHOP, BANK = CA.issue("shop"), CA.issue("bank")
STRANGER = certificates.authority("Another authority").issue("stranger")
SET = "UPDATE subscriptions SET sealed_client_certificate = $2 WHERE id = $1"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Asking]:
    with asking(CA, tmp_path) as made:
        yield made


def trusting(ca_bundle: str) -> Callable[[], ssl.SSLContext]:
    return functools.partial(trust, ca_bundle)


def pem(issued: Issued) -> bytes:
    return (issued.pem + issued.key_pem).encode()


def identity(issued: Issued, ca_bundle: str) -> ClientIdentity:
    """Return a claim as the worker creates it."""
    tls = trust(ca_bundle)
    client_certificates.show(tls, pem(issued))
    return ClientIdentity(tls)


def sending(receiver: Asking, policy: Policy = LOOPBACK, proxy: Proxy | None = None) -> Any:
    tls = trust(receiver.ca_bundle)
    return http_sender.sender(policy, max_response_bytes=1024, wanted_bytes=1024, tls=tls, proxy=proxy)


async def post(sender: HttpSender, url: str, who: ClientIdentity | None, *, fresh: bool = False) -> int:
    request = OutgoingRequest(url=url, headers={}, body=b"{}", identity=who)
    return (await sender.send(request, timeout_seconds=30, fresh=fresh)).status_code


async def failing(sender: HttpSender, url: str, who: ClientIdentity | None) -> SendError:
    with pytest.raises(SendError) as raised:
        await post(sender, url, who)
    return raised.value


# -- the sender --


async def test_connections_to_one_host_are_not_shared_by_different_identities(receiver: Asking) -> None:
    shop, bank = (identity(issued, receiver.ca_bundle) for issued in (SHOP, BANK))
    async with sending(receiver) as sender:
        for who in (shop, bank, shop, bank, bank, shop):
            assert await post(sender, receiver.url, who) == 200
    assert receiver.served == [["shop"] * 3, ["bank"] * 3]


async def test_a_kept_connection_with_an_identity_is_not_used_for_another(tmp_path: Path) -> None:
    with asking(CA, tmp_path, optional=True) as receiver:
        async with sending(receiver) as sender:
            who = identity(SHOP, receiver.ca_bundle)
            for one in (who, None, who, None):
                assert await post(sender, receiver.url, one) == 200
        assert receiver.served == [["shop", "shop"], ["nobody", "nobody"]]


async def test_concurrent_requests_use_only_connections_of_their_own_identity(receiver: Asking) -> None:
    shop, bank = (identity(issued, receiver.ca_bundle) for issued in (SHOP, BANK))
    async with sending(receiver) as sender:
        await asyncio.gather(*(post(sender, receiver.url, who) for who in (shop, bank) * 20))
        await asyncio.gather(*(post(sender, receiver.url, who) for who in (bank, shop) * 20))
    names = [name for connection in receiver.served for name in connection]
    assert (names.count("shop"), names.count("bank")) == (40, 40)
    assert all(len(set(connection)) == 1 for connection in receiver.served)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(("shown", "why"), [(None, "TLS failed: "), (STRANGER, "TLS failed: TLSV1_ALERT_UNKNOWN_CA")])
def test_handshake_fails_without_a_certificate_or_with_one_of_an_unknown_authority(
    tmp_path: Path,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    version: ssl.TLSVersion,
    shown: Issued | None,
    why: str,
) -> None:
    async def attempt(receiver: Asking) -> None:
        who = None if shown is None else identity(shown, receiver.ca_bundle)
        async with sending(receiver) as sender:
            for _ in range(5):
                error = await failing(sender, receiver.url, who)
                assert (error.kind, error.reused) == (AttemptOutcome.TLS, False), error.message
                assert error.message.startswith(why)
            assert await post(sender, receiver.url, identity(SHOP, receiver.ca_bundle)) == 200

    with asking(CA, tmp_path, version=version) as receiver, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(attempt(receiver))
    assert receiver.served == [["shop"]]


async def test_an_untrusted_receiver_is_shown_no_certificate(receiver: Asking) -> None:
    who = identity(SHOP, "")
    async with sending(receiver) as sender:
        error = await failing(sender, receiver.url, who)
    assert (error.kind, receiver.served) == (AttemptOutcome.TLS, [])


async def test_certificate_is_shown_only_to_the_receiver_behind_a_proxy(receiver: Asking) -> None:
    tunnels = Tunnels()
    async with tunnels.serving() as port:
        proxy = Proxy.parse(f"http://127.0.0.1:{port}")
        async with sending(receiver, proxy=proxy) as sender:
            for who in (identity(SHOP, receiver.ca_bundle), identity(BANK, receiver.ca_bundle)):
                assert await post(sender, receiver.url, who) == 200
            assert (await failing(sender, receiver.url, None)).kind is AttemptOutcome.TLS
    assert receiver.served == [["shop"], ["bank"]]
    assert len(tunnels.heads) == 3


async def test_the_guard_holds_with_it(receiver: Asking, names: Naming) -> None:
    names(["127.0.0.1"])
    async with sending(receiver, policy=Policy.parse([])) as sender:
        who = identity(SHOP, receiver.ca_bundle)
        for host in ("127.0.0.1", "receiver.example"):
            error = await failing(sender, f"https://{host}:{receiver.port}/", who)
            assert error.kind is AttemptOutcome.EGRESS_DENIED
    assert receiver.served == []


# -- sealed certificates --


async def test_identity_is_shared_only_for_the_same_certificate_of_the_same_subscription() -> None:
    one, other = ids.new(), ids.new()
    made = ClientIdentities(vault(), trusting(""))
    first, second = (vault().seal_client_certificate(one, pem(issued)) or b"" for issued in (SHOP, BANK))
    same = vault().seal_client_certificate(other, pem(SHOP)) or b""
    found = await asyncio.gather(made.of(one, first), made.of(one, first), made.of(other, same))
    assert found[0] is found[1] is await made.of(one, bytes(bytearray(first)))
    assert found[0] is not found[2]
    assert await made.of(one, second) is not found[0]


async def test_cache_of_identities_is_bounded_and_keeps_recently_used_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "KEPT", 3)
    made = ClientIdentities(vault(), lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    names = [ids.new() for _ in range(5)]
    sealed = {name: vault().seal_client_certificate(name, pem(SHOP)) or b"" for name in names}
    first = await made.of(names[0], sealed[names[0]])
    for name in names[1:]:
        await made.of(name, sealed[name])
        assert await made.of(names[0], sealed[names[0]]) is first
    assert {name for name in names if name in made._kept} == {names[0], *names[3:]}


def test_private_key_leaves_no_file_and_no_descriptor_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of this moment
    with client_certificates._file(b"hunter2") as path:
        assert Path(path).read_bytes() == b"hunter2"
        assert str(Path(path).readlink()).startswith("/memfd:client-certificate")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_certificates.show(tls, pem(SHOP))
    with pytest.raises(ssl.SSLError):
        client_certificates.show(tls, b"hunter2")
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - of this moment


# -- the worker --


async def _subscription(world: World, url: str, issued: Issued | None) -> UUID:
    made = await world.subscription(url, secret_key="s")
    await world.pool.execute(SET, made, vault().seal_client_certificate(made, pem(issued) if issued else None))
    return made


async def test_a_subscriptions_deliveries_show_its_certificate_and_no_others(world: World, receiver: Asking) -> None:
    shop, bank, nobody = [await _subscription(world, receiver.url, issued) for issued in (SHOP, BANK, None)]
    async with world.running(egress_ca_bundle=receiver.ca_bundle, retry_limit=0):
        for subscription, number in ((shop, 2), (bank, 3)):
            for _ in range(number):
                await world.in_state(await world.deliver(subscription), "delivered")
        refused = await world.deliver(nobody)
        assert (await world.in_state(refused))["status"] == "failed"
    (attempt,) = await world.attempts(refused)
    assert (attempt["outcome"], attempt["error_message"]) == ("tls", "TLS failed: TLSV13_ALERT_CERTIFICATE_REQUIRED")
    names = [name for connection in receiver.served for name in connection]
    assert sorted(names) == ["bank"] * 3 + ["shop"] * 2


async def test_changed_or_removed_certificate_takes_effect_at_the_next_attempt(world: World, receiver: Asking) -> None:
    subscription = await _subscription(world, receiver.url, SHOP)
    async with world.running(egress_ca_bundle=receiver.ca_bundle, retry_limit=0):
        await world.in_state(await world.deliver(subscription), "delivered")
        await world.pool.execute(SET, subscription, vault().seal_client_certificate(subscription, pem(BANK)))
        await world.in_state(await world.deliver(subscription), "delivered")
        await world.pool.execute(SET, subscription, None)
        await world.in_state(await world.deliver(subscription), "failed")
    assert receiver.served == [["shop"], ["bank"]]


async def test_certificate_that_openssl_rejects_fails_the_attempt_as_tls(world: World, receiver: Asking) -> None:
    subscription = await _subscription(world, receiver.url, SHOP)
    torn = vault().seal_client_certificate(subscription, (SHOP.pem + BANK.key_pem).encode())
    await world.pool.execute(SET, subscription, torn)
    delivery_id = await world.deliver(subscription)
    async with world.running(egress_ca_bundle=receiver.ca_bundle, retry_limit=0):
        await world.in_state(delivery_id, "failed")
    (attempt,) = await world.attempts(delivery_id)
    assert attempt["outcome"] == "tls"
    assert "client certificate cannot be used: KEY_VALUES_MISMATCH; nothing was sent" in attempt["error_message"]
