"""HTTP as clients send it: paths, methods, odd requests, bodies and their time."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from dev.harness.waiting import wait_until
from services.gateway.web import problems, routing
from services.platform import clock, errors, ids
from tests.gateway.fakes import Services

# HTTP itself: paths, methods, pages, metrics, and what only a raw socket can send.


WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"


async def raw(url: str, request: bytes) -> tuple[int, bytes]:
    """Send these bytes, and return the status and the body of the response."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(9):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
    writer.close()
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize("path", ["/nope", "/api/v1", "/api/v1/webhooks", "/api//v1/stats", "/docs/assets/x", "/%0b"])
async def test_unknown_paths_are_404_problems(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, problems.MEDIA_TYPE)
    assert answer.json()["reason"] == "UNKNOWN_PATH"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", WEBHOOK, "POST"),
        ("PUT", "/api/v1/events/", "GET, HEAD, POST"),
        ("PATCH", "/api/v1/subscriptions", "GET, HEAD, POST"),
        ("POST", f"/api/v1/subscriptions/{ids.new()}", "GET, HEAD, PUT, PATCH, DELETE"),
        ("OPTIONS", "/api/v1/stats", "GET, HEAD"),
        ("PROPFIND", "/healthz", "GET, HEAD"),
    ],
)
async def test_wrong_methods_are_405_problems_with_allow(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, problems.MEDIA_TYPE)
    assert answer.headers["allow"] == allow


async def test_the_openapi_document_has_one_server_and_a_version(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["servers"][0]["url"] == "/"
    assert document["info"]["version"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/v1/subscriptions?limit=%ff%00%zz&cursor=%ed%a0%80 HTTP/1.1",
        b"GET /api/v1/subscriptions/%zz%ff%00 HTTP/1.1",
        b"GET /api/v1/subscriptions?" + b"x" * 20_000 + b" HTTP/1.1",
        b"GET /" + b"%41" * 5_000 + b" HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://elsewhere/api/v1/nope HTTP/1.1",
        b"FOO /api/v1/stats HTTP/1.1",
        b"GET /api/v1/stats\x00 HTTP/1.1",
        b"GET /\xff HTTP/1.1",
    ],
)
async def test_odd_requests_are_4xx(url: str, request_line: bytes) -> None:
    status, _ = await raw(url, request_line + b"\r\nhost: x\r\n\r\n")
    assert 400 <= status < 500


async def test_a_target_that_is_too_long_is_a_414_problem(url: str) -> None:
    status, body = await raw(url, b"GET /x?" + b"y" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (status, json.loads(body)["reason"]) == (414, "TARGET_TOO_LONG")


async def test_odd_headers_are_4xx(url: str, services: Services) -> None:
    for header in (b"x-event-type: \xff", b"x-event-type: a\x01b", b"content-type: \xc3\xa9", b"content-length: 1e3"):
        request = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n%b\r\n\r\n1" % (WEBHOOK.encode(), header)
        status, _ = await raw(url, request)
        assert 400 <= status < 500, header
    assert services.items == []


async def test_a_declared_size_over_the_bound_is_refused_before_the_body_comes(url: str) -> None:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n" % WEBHOOK.encode()
    status, body = await raw(url, head)
    assert (status, json.loads(body)["reason"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(
    url: str, client: httpx.AsyncClient, services: Services
) -> None:
    for path in (WEBHOOK, "/api/v1/subscriptions"):
        _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(b'POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"payload"' % path.encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async def only_this_one() -> bool:
        return "webhook_http_in_flight 1.0" in (await client.get("/metrics")).text

    untyped: Any = only_this_one
    await wait_until(untyped, what="the others to be gone")
    assert services.requests == []
    assert (await client.get("/healthz")).status_code == 200


async def statuses(url: str, *pieces: bytes) -> list[int]:
    """Send the pieces one after the other, and return the statuses of all responses until the connection is closed.

    After the first piece it waits for the beginning of a response, if there are more.
    """
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    answers = b""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        if not answers and len(pieces) > 1:
            answers = await asyncio.wait_for(reader.readuntil(b"\r\n"), 9)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(9):
        answers += await reader.read()
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


SERVED = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}" % WEBHOOK.encode()


CHUNKED = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("nonsense", [b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nx y: 1\r\n\r\n"])
async def test_nonsense_behind_requests_does_not_take_their_answers(url: str, nonsense: bytes) -> None:
    assert await statuses(url, SERVED + nonsense) == [202]
    assert await statuses(url, SERVED * 2 + nonsense) == [202, 202]
    assert await statuses(url, SERVED, nonsense) == [202, 400]


async def test_a_body_that_is_nonsense_is_answered_in_its_turn(url: str) -> None:
    webhook = CHUNKED % WEBHOOK.encode()
    assert await statuses(url, webhook + b"nonsense\r\n") == [400]
    assert await statuses(url, SERVED + webhook + b"nonsense\r\n") == [202, 400]


async def test_a_body_that_is_nonsense_gets_no_answer_after_that_to_its_request(url: str) -> None:
    assert await statuses(url, CHUNKED % b"/nope", b"1\r\na\r\n", b"nonsense\r\n") == [404]


async def test_requests_are_counted_by_template(client: httpx.AsyncClient, services: Services) -> None:
    def value(text: str, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    series = {
        'webhook_http_requests_total{method="POST",route="/api/v1/webhooks/ingest/{subscription_id}",status="202"}': 1,
        'webhook_http_requests_total{method="POST",route="/api/v1/webhooks/ingest/{subscription_id}",status="422"}': 1,
        'webhook_http_requests_total{method="GET",route="/api/v1/subscriptions/{subscription_id}",status="404"}': 1,
        'webhook_http_requests_total{method="GET",route="unmatched",status="404"}': 1,
        'webhook_http_requests_total{method="other",route="/healthz",status="405"}': 1,
        'webhook_http_request_duration_seconds_count{route="/api/v1/webhooks/ingest/{subscription_id}"}': 2,
        'webhook_http_events_accepted_total{kind="webhook"}': 1,
        'webhook_http_events_rejected_total{reason="INVALID_ARGUMENT"}': 1,
        "webhook_accept_duration_seconds_count": 1,
        "webhook_ingest_batch_items_sum": 1,
    }
    assert services.failure is None
    before = (await client.get("/metrics")).text
    await client.post(WEBHOOK, content=b'{"payload": 1}')
    await client.post("/api/v1/webhooks/ingest/1", content=b'{"payload": 1}')
    await client.get(f"/api/v1/subscriptions/{ids.new()}")
    await client.get("/elsewhere")
    await client.request("PROPFIND", "/healthz")
    after = (await client.get("/metrics")).text
    assert {name: value(after, name) - value(before, name) for name in series} == series


# How long a body may take to arrive.


PIECE_SECONDS = 0.1


def sending(pieces: int, piece: bytes) -> Any:
    """A client that sends its body in pieces, the first at once."""
    left = pieces

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left < pieces:
            await asyncio.sleep(PIECE_SECONDS)
        left -= 1
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    return receive


async def test_a_body_has_more_time_as_more_of_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "UPLOAD_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(clock, "UPLOAD_BYTES_PER_SECOND", 100)
    # Each piece is worth five seconds.
    body = await routing.read({"headers": []}, sending(15, b"x" * 500), 10_000)
    assert body == b"x" * 7500
    with pytest.raises(errors.RequestTimeout):
        await routing.read({"headers": []}, sending(15, b"x"), 10_000)


def test_large_payloads_get_more_time() -> None:
    assert [clock.extra_seconds(size) for size in (0, 1 << 20, 5 << 20, 33 << 20)] == [0, 0, 1, 8]
