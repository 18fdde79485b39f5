"""The addresses that the sender connects to: only checked ones, one after the other."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from dev.harness.network.nameserver import Nameserver
from dev.harness.receiver import Receiver
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import dialing, resolver
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.sender import HttpSender
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.sending import OK, POLICY, PRIVATE, Naming, everywhere, failure, post
from tests.delivery.world import LOOPBACK, until_true

# Names that change or have several addresses, and redirects.


@pytest.fixture
async def guarded() -> AsyncIterator[HttpSender]:
    async with sending.sender(POLICY) as made:
        yield made


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["http://127.0.0.1:{port}/stolen", "//127.0.0.1:{port}/stolen", "/elsewhere"])
async def test_a_redirect_is_an_answer_and_not_followed(
    sender: HttpSender, receiver: Receiver, status: int, where: str
) -> None:
    location = where.format(port=receiver.port).encode()
    head = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)
    async with sending.serving(sending.answering(head)) as server:
        assert (await sender.send(post(server.url()), timeout_seconds=30)).status_code == status
        assert len(server.connections) == 1
    assert receiver.requests == []


async def test_a_connection_goes_to_the_vetted_address_and_the_name_is_looked_up_once(
    guarded: HttpSender, names: Naming, name_server: Nameserver
) -> None:
    names(["127.0.0.1"], [PRIVATE])
    async with everywhere() as (port, reached):
        for _ in range(5):
            await guarded.send(post(f"http://receiver.example:{port}/"), timeout_seconds=30, fresh=True)
        assert reached == ["127.0.0.1"] * 5
    assert name_server.look_ups("receiver.example") == 1


async def test_a_name_that_turns_inward_gets_nothing_more_not_even_over_a_kept_connection(
    names: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "TTL_SECONDS", 1.5)
    names(["127.0.0.1"], [PRIVATE])
    async with sending.sender(POLICY) as guarded, everywhere() as (port, reached):
        url = f"http://receiver.example:{port}/"
        assert (await guarded.send(post(url), timeout_seconds=30)).status_code == 200
        assert (await guarded.send(post(url), timeout_seconds=30)).status_code == 200  # while it is cached

        async def is_denied() -> bool:
            with contextlib.suppress(SendError):
                await guarded.send(post(url), timeout_seconds=30)
                return False
            return True

        await until_true(is_denied, "the name to be asked for again")
        assert (await failure(guarded, url)).kind is AttemptOutcome.EGRESS_DENIED
        assert reached == ["127.0.0.1"]


async def test_a_kept_connection_is_given_up_when_its_name_leads_elsewhere(
    names: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "TTL_SECONDS", 0.2)
    names(["127.0.0.1"], ["127.0.0.3"])
    async with sending.sender(LOOPBACK) as sender, everywhere() as (port, reached):
        url = f"http://receiver.example:{port}/"

        async def leads_elsewhere() -> bool:
            await sender.send(post(url), timeout_seconds=30)
            return len(reached) > 1

        await until_true(leads_elsewhere, "the name to be asked for again")
        await sender.send(post(url), timeout_seconds=30)
        assert reached == ["127.0.0.1", "127.0.0.3"]


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1", PRIVATE], [PRIVATE, "127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.2"],
        ["127.0.0.1", "169.254.169.254"], ["::1", "fd00:ec2::254"], ["127.0.0.1", "0.0.0.0"],
        ["127.0.0.1", "fe80::1%lo"], ["127.0.0.1", "64:ff9b::127.0.0.2"],
    ],
)  # fmt: skip
async def test_name_with_one_address_that_is_not_public_is_denied(
    guarded: HttpSender, names: Naming, answer: list[str]
) -> None:
    names(answer)
    async with everywhere() as (port, reached):
        for _ in range(3):
            assert (await failure(guarded, f"http://receiver.example:{port}/")).kind is AttemptOutcome.EGRESS_DENIED
        assert reached == []


async def test_an_address_that_hangs_does_not_use_up_the_deadline(
    names: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network that announces IPv6 without connectivity."""
    monkeypatch.setattr(dialing, "DELAY_SECONDS", 0.1)
    names(["127.0.0.9", "127.0.0.1"])
    silent = socket.socket()
    silent.bind(("127.0.0.9", 0))
    silent.listen(0)
    port = silent.getsockname()[1]
    # The queue is full, so the next connection gets no answer.
    filling = [socket.socket() for _ in range(4)]
    for filler in filling:
        filler.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        with contextlib.suppress(BlockingIOError):
            filler.connect(("127.0.0.9", port))
    try:
        async with sending.sender(LOOPBACK) as sender:
            server = await asyncio.start_server(_once, "127.0.0.1", port)
            answer = await sender.send(post(f"http://receiver.example:{port}/"), timeout_seconds=30)
            assert answer.status_code == 200
            server.close()
    finally:
        for opened in (silent, *filling):
            opened.close()


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    writer.close()


# The sender connects to nothing that the egress policy denies.


async def test_denied_target_gets_no_connection_from_concurrent_requests(
    strict_sender: HttpSender, receiver: Receiver
) -> None:
    url = f"http://localhost:{receiver.port}/hook"
    found = await asyncio.gather(*(failure(strict_sender, url) for _ in range(20)))
    assert {error.kind for error in found} == {AttemptOutcome.EGRESS_DENIED}
    assert receiver.requests == []


async def test_an_environment_that_names_a_proxy_does_not_send_requests_there(
    sender: HttpSender, receiver: Receiver, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    assert (await sender.send(post(receiver.url()), timeout_seconds=30)).status_code == 200


@pytest.mark.parametrize("value", ["a\r\nX-Injected: y", "a\nX-Injected: y", "a\rX-Injected: y", "a\x00b"])
async def test_a_header_with_a_line_break_is_never_sent(sender: HttpSender, receiver: Receiver, value: str) -> None:
    request = OutgoingRequest(url=receiver.url(), headers={"X-Key": value}, body=b"{}")
    with pytest.raises(SendError) as raised:
        await sender.send(request, timeout_seconds=30)
    assert raised.value.kind is AttemptOutcome.INVALID_REQUEST
    assert "X-Injected" not in raised.value.message
    assert receiver.requests == []
