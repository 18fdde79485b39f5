"""Raw bytes to the gateway's port: one answer to each request at most, none of them a 5xx, and nothing smuggled in."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.harness.api import Api
from dev.harness.stack import Stack
from tests.adversarial.changes import changed, changes
from tests.adversarial.conftest import Examples
from tests.adversarial.http_requests import CHUNKED, FRAMING, GET, HIDDEN, LENGTH, ODD, POST
from tests.adversarial.tally import Tally
from tests.adversarial.wire import Exchange, exchange, request

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hidden(api: Api) -> AsyncIterator[bytes]:
    """A request for a live subscription; nothing that it is hidden in may be read as two requests."""
    subscription = await api.subscribe("http://victim.invalid/")
    yield request(b"POST /api/v1/webhooks/ingest/%b HTTP/1.1" % subscription.encode(), b"Content-Length: 2", body=b"{}")
    page = await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")
    assert page.json()["items"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def found(stack: Stack, hidden: bytes) -> dict[str, Exchange]:
    """What became of each request of the tables; they are sent side by side."""
    sent = [exchange(stack.port, request.replace(HIDDEN, hidden)) for request in FRAMING.values()]
    sent += [exchange(stack.port, data, expected=0 if None in allowed else 1) for data, allowed in ODD.values()]
    return dict(zip([*FRAMING, *ODD], await asyncio.gather(*sent), strict=True))


def test_the_tables_name_nothing_twice() -> None:
    assert not FRAMING.keys() & ODD.keys()


@pytest.mark.parametrize("name", FRAMING)
def test_a_request_whose_end_is_in_doubt_is_refused_whole(found: dict[str, Exchange], tally: Tally, name: str) -> None:
    tally.add("HTTP framing")
    assert (found[name].statuses, found[name].rest, found[name].closed) == ((400,), b"", True)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_has_one_answer_that_is_no_5xx(found: dict[str, Exchange], tally: Tally, name: str) -> None:
    tally.add("HTTP requests, odd")
    assert found[name].statuses in [() if status is None else (status,) for status in ODD[name][1]], found[name]
    assert found[name].rest == b""


@pytest.mark.parametrize(("path", "status"), [(b"/healthz", b"200"), (b"/api/v1/stats", b"200"), (b"/nope", b"404")])
async def test_head_is_answered_without_a_body(stack: Stack, tally: Tally, path: bytes, status: bytes) -> None:
    tally.add("HTTP requests, odd")
    found = await exchange(stack.port, request(b"HEAD %b HTTP/1.1" % path, b"Connection: close"))
    assert found.closed
    assert found.rest.startswith(b"HTTP/1.1 %b " % status)
    assert found.rest.endswith(b"\r\n\r\n")
    assert found.rest.count(b"\r\n\r\n") == 1


async def test_pipelined_requests_are_answered_each_once_and_in_order(stack: Stack, tally: Tally) -> None:
    tally.add("HTTP pipelines")
    lines = [b"GET /api/v1/stats HTTP/1.1", b"GET /nope HTTP/1.1", b"GET /api/v1/subscriptions/1 HTTP/1.1"]
    found = await exchange(stack.port, b"".join(map(request, lines)) * 50, expected=150)
    assert found.statuses == (200, 404, 422) * 50
    assert found.rest == b""


@pytest.mark.parametrize(
    "garbage", [b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX Y: 1\r\n\r\n", b"X" * 100_000 + b"\r\n\r\n"]
)
async def test_garbage_behind_a_request_does_not_take_its_answer(stack: Stack, tally: Tally, garbage: bytes) -> None:
    """The first answer is the request's own, for the client counts answers."""
    tally.add("HTTP pipelines")
    found = await exchange(stack.port, request(POST, LENGTH, body=b"hello") + garbage, expected=2)
    assert found.statuses in [(404,), (404, 400)]
    assert found.closed


async def test_what_was_refused_before_its_body_came_has_one_answer(stack: Stack, tally: Tally) -> None:
    """However the body then goes on."""
    tally.add("HTTP pipelines")
    head = request(b"POST /nope HTTP/1.1", CHUNKED)
    found = await exchange(stack.port, head, b"5\r\nhello\r\n", b"nonsense\r\n\r\n", pause_seconds=0.1)
    assert found.statuses in [(404,), (400,)]
    assert found.closed


async def test_a_request_that_comes_byte_by_byte_is_answered(stack: Stack, tally: Tally) -> None:
    tally.add("HTTP, slow")
    whole = request(POST, LENGTH, body=b"hello")
    found = await exchange(stack.port, *(whole[n : n + 1] for n in range(len(whole))), pause_seconds=0.002)
    assert found.statuses == (404,)


async def test_connections_that_never_finish_their_requests_keep_nobody_out(
    stack: Stack, api: Api, tally: Tally
) -> None:
    tally.add("HTTP, slow", 300)
    halves = [b"P", request(POST)[:-2], request(POST, b"Content-Length: 1000000", body=b"x" * 1000)]
    opened = [await asyncio.open_connection("127.0.0.1", stack.port) for _ in range(300)]
    for number, (_, writer) in enumerate(opened):
        writer.write(halves[number % len(halves)])
    try:
        for _ in range(20):
            assert (await api.http.get("/api/v1/stats")).status_code == 200
    finally:
        for _, writer in opened:
            writer.transport.abort()


WHOLE = [
    request(GET),
    request(POST, b"Content-Type: application/json", b"Content-Length: 14", body=b'{"payload": 1}'),
    request(POST, b"X-Event-Type: a.b", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    request(b"PUT /api/v1/subscriptions/019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61 HTTP/1.1", LENGTH, body=b"hello"),
]
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"\t", b"0\r\n\r\n", b"\xff", b"%00", b"../", b"\r\n\r\n"),
    *(CHUNKED + b"\r\n", LENGTH + b"\r\n", b"HTTP/1.1", b"GET ", b"-1", b"9" * 30),
)
MUTATED = st.builds(changed, st.sampled_from(WHOLE), changes(*PIECES))


def test_a_mutated_request_is_never_a_5xx(stack: Stack, tally: Tally, examples: Examples) -> None:
    @settings(
        max_examples=examples(15, 400),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MUTATED, min_size=10, max_size=10))
    def attack(requests: list[bytes]) -> None:
        tally.add("HTTP requests, mutated", len(requests))

        async def all_at_once() -> list[Exchange]:
            return await asyncio.gather(*(exchange(stack.port, sent, expected=0) for sent in requests))

        for sent, found in zip(requests, asyncio.run(all_at_once()), strict=True):
            assert all(status < 500 for status in found.statuses), (sent, found)

    attack()
