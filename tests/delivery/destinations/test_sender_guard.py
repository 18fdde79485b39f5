"""The sender connects to nothing that the egress policy denies."""

import asyncio

import pytest

from dev.harness.receiver import Receiver
from services.delivery.destinations.destination import Failure, Sender, SendError
from services.delivery.destinations.http.request import OutgoingRequest
from tests.delivery.sending import failure, post


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "0.0.0.0", "[::]",
        "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "127.0.0.1.", "LOCALHOST",
    ],
)  # fmt: skip
async def test_nothing_connects_to_a_denied_target(strict_sender: Sender, receiver: Receiver, host: str) -> None:
    found = await failure(strict_sender, f"http://{host}:{receiver.port}/hook")
    assert found.kind in {Failure.EGRESS_DENIED, Failure.INVALID_REQUEST, Failure.DNS}
    assert receiver.requests == []


async def test_nothing_connects_to_a_denied_target_however_many_ask_at_once(
    strict_sender: Sender, receiver: Receiver
) -> None:
    url = f"http://localhost:{receiver.port}/hook"
    found = await asyncio.gather(*(failure(strict_sender, url) for _ in range(20)))
    assert {error.kind for error in found} == {Failure.EGRESS_DENIED}
    assert receiver.requests == []


async def test_an_environment_that_names_a_proxy_does_not_send_requests_there(
    sender: Sender, receiver: Receiver, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    assert (await sender.send(post(receiver.url()), timeout_seconds=5)).status_code == 200


@pytest.mark.parametrize("value", ["a\r\nX-Injected: y", "a\nX-Injected: y", "a\rX-Injected: y", "a\x00b"])
async def test_a_header_with_a_line_break_is_never_sent(sender: Sender, receiver: Receiver, value: str) -> None:
    request = OutgoingRequest(url=receiver.url(), headers={"X-Key": value}, body=b"{}")
    with pytest.raises(SendError) as raised:
        await sender.send(request, timeout_seconds=5)
    assert raised.value.kind is Failure.INVALID_REQUEST
    assert "X-Injected" not in raised.value.message
    assert receiver.requests == []
