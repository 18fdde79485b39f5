"""Header lines by RFC 9110 and 9112, requests that are not HTTP, and request ids."""

import asyncio
import json
import re
from urllib.parse import urlsplit

import httpx
import pytest
import structlog

from services.gateway.accept import routes
from services.gateway.web import middleware, problems
from services.platform import ids
from services.platform.process import logs
from tests.gateway.fakes import Services

WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"
POST = f"POST {WEBHOOK} HTTP/1.1\r\n".encode()


class Answer:
    """A response read from a socket, and whether the server then closed the connection."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])
        self.headers = {
            name.lower(): value for name, value in re.findall(r"^([^:\r\n]+): (.*?)\r?$", head.decode(), re.MULTILINE)
        }


async def exchange(url: str, request: bytes) -> Answer:
    """Send these bytes and read until the server closes."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(9):
        answer = Answer(await reader.read())
    writer.close()
    return answer


def problem(answer: Answer) -> dict[str, object]:
    """Return the document of an error that has the request id of its header and closes the connection."""
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["connection"] == "close"
    document: dict[str, object] = json.loads(answer.body)
    assert document["status"] == answer.status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def webhook(*lines: bytes, host: bytes = b"host: x", body: bytes = b'{"a": 1}') -> bytes:
    """Return a webhook whose connection is closed after the response, with these headers as they are."""
    usual = (host, b"content-length: %d" % len(body), b"connection: close")
    return POST + b"".join(line + b"\r\n" for line in (*usual, *lines) if line) + b"\r\n" + body


@pytest.mark.parametrize("around", [b"%b ", b"%b\t", b" %b", b"\t %b \t"], ids=repr)
async def test_spaces_and_tabs_around_a_value_are_not_part_of_it(url: str, services: Services, around: bytes) -> None:
    sent = {
        b"x-event-type": b"order.paid",
        b"idempotency-key": b"k-1",
        b"content-type": b"application/vnd.example+json",
        b"x-hub-signature-256": b"sha256=00",
        b"webhook-id": b"msg_1",
    }
    lines = [b"%b:%b" % (name, around % value) for name, value in sent.items()]
    assert (await exchange(url, webhook(*lines))).status == 202
    (item,) = services.items
    assert item.event_type == "order.paid"
    assert item.idempotency_key == "k-1"
    assert item.content_type == "application/vnd.example+json"
    assert item.hub_signature.signature == "sha256=00"
    assert [(header.name, header.value) for header in item.verification.headers] == [("webhook-id", "msg_1")]


# Written out, so that nobody allows one of them twice by mistake.
SINGLE = {
    *(b"authorization", b"x-tenant", b"idempotency-key", b"content-type", b"content-encoding", b"x-event-type"),
    *(b"x-hub-signature-256", b"x-github-event", b"x-github-delivery", b"stripe-signature"),
    *(b"x-shopify-hmac-sha256", b"x-shopify-topic", b"x-shopify-webhook-id"),
    *(b"x-slack-signature", b"x-slack-request-timestamp"),
    *(b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"svix-id", b"svix-timestamp", b"svix-signature"),
}


@pytest.mark.parametrize("name", sorted(SINGLE | middleware.SINGLE_HEADERS | routes.SINGLE_HEADERS))
async def test_a_header_that_has_one_value_must_not_come_twice(url: str, services: Services, name: bytes) -> None:
    for other in (b"a", b"b"):
        answer = await exchange(url, webhook(b"%b: a" % name, b"%b: %b" % (name.upper(), other)))
        document = json.loads(answer.body)
        assert (answer.status, document["reason"]) == (400, "HEADER_REPEATED")
        (named,) = document["errors"]
        assert named["field"].lower().encode() == name
    assert services.items == []


async def test_headers_that_allow_several_values_may_repeat(url: str, services: Services) -> None:
    lines = (b"accept: a/b", b"accept: c/d", b"x-shop: a", b"x-shop: a", b"via: 1.1 a", b"via: 1.1 b")
    assert (await exchange(url, webhook(*lines))).status == 202
    assert len(services.items) == 1


@pytest.mark.parametrize(
    "host", [b"", b"host: x\r\nHost: x", b"host: x\r\nhost: y", b"host: a b", b"host: a/b", b"host: u@a", b"host: \xff"]
)
async def test_http_1_1_needs_one_host(url: str, services: Services, host: bytes) -> None:
    document = problem(await exchange(url, webhook(host=host)))
    assert (document["status"], document["reason"]) == (400, "HOST_INVALID")
    assert services.items == []


async def test_a_transfer_coding_that_is_not_undone_is_refused(url: str, services: Services) -> None:
    body = b"1\r\n1\r\n0\r\n\r\n"
    coded = problem(await exchange(url, POST + b"host: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + body))
    assert (coded["status"], coded["reason"]) == (501, "TRANSFER_ENCODING_UNSUPPORTED")
    assert services.items == []
    plain = b"host: x\r\nconnection: close\r\ntransfer-encoding: Chunked\r\n\r\n"
    assert (await exchange(url, POST + plain + body)).status == 202


@pytest.mark.parametrize("host", [b"host: a.example:8080", b"host: [::1]:8080", b"host:", b"host: a_b "])
async def test_host_header_may_have_any_value(url: str, host: bytes) -> None:
    assert (await exchange(url, webhook(host=host))).status == 202


async def test_http_1_0_needs_no_host(url: str) -> None:
    assert (await exchange(url, webhook(host=b"").replace(b"HTTP/1.1", b"HTTP/1.0"))).status == 202


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /docs HTTP/3.1\r\nhost: x\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /docs HTTP/1.1\r\nhost: x\r\nx y: 1\r\n\r\n",
        b"GET /docs HTTP/1.1\r\nhost: x\r\nx: a\x00\r\n\r\n",
        b"GET /docs HTTP/1.1\r\nhost: x\r\nx: a\r\n folded\r\n\r\n",
        POST + b"host: x\r\ntransfer-encoding: gzip\r\n\r\n",
        POST + b"host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1",
        POST + b"host: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1",
        POST + b"host: x\r\ncontent-length: -1\r\n\r\n1",
        POST + b"host: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
        bytes.fromhex("16030100c8010000c40303"),
    ],
    ids=lambda request: repr(request[-30:]),
)
async def test_malformed_http_is_answered_with_a_problem(url: str, services: Services, request_bytes: bytes) -> None:
    document = problem(await exchange(url, request_bytes))
    assert (document["status"], document["reason"]) == (400, "MALFORMED_REQUEST")
    assert str(document["detail"]).startswith("the request is not valid HTTP/1.1: ")
    assert services.items == []


async def test_the_problem_of_a_broken_body_names_the_request(url: str) -> None:
    lines = b"host: x\r\nx-request-id: mine\r\ntransfer-encoding: chunked\r\n\r\n"
    document = problem(await exchange(url, POST + lines + b"nonsense\r\n"))
    assert document["request_id"] == "mine"


async def test_request_with_too_many_headers_gets_a_problem_with_its_request_id(url: str) -> None:
    many = [b"x-%d: y" % number for number in range(100)]
    document = problem(await exchange(url, webhook(b"x-request-id: mine", *many)))
    assert (document["status"], document["reason"], document["request_id"]) == (431, "HEADERS_TOO_LARGE", "mine")


# -- request ids --

EVERYWHERE = [("GET", "/docs"), ("GET", "/nope"), ("PUT", WEBHOOK), ("POST", WEBHOOK), ("GET", "/api/v1/subscriptions")]


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
async def test_responses_have_the_request_id(client: httpx.AsyncClient, method: str, path: str) -> None:
    for sent in ("01-a/b+c=~", "x" * ids.MAX_REQUEST_ID_LENGTH):
        own = await client.request(method, path, headers={"X-Request-Id": sent})
        assert own.headers.get_list("x-request-id") == [sent]
    made = {(await client.request(method, path)).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in made)


@pytest.mark.parametrize("sent", [[b""], [b"a b"], [b"x" * 129], [b"\xff"], [b"a", b"b"], [b"a\tb"]])
async def test_an_id_that_is_not_sane_is_replaced(client: httpx.AsyncClient, sent: list[bytes]) -> None:
    answer = await client.get("/nope", headers=[(b"x-request-id", value) for value in sent])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_request_id_goes_to_the_services_and_into_problems(
    client: httpx.AsyncClient, services: Services
) -> None:
    answer = await client.get(f"/api/v1/subscriptions/{ids.new()}", headers={"X-Request-Id": "r-1"})
    assert (answer.status_code, answer.json()["request_id"]) == (404, "r-1")
    await client.get("/api/v1/subscriptions")
    assert services.request_ids[0] == "r-1"
    assert services.request_ids[1] not in {None, "r-1"}


async def test_a_request_id_is_in_the_log_lines_of_the_services(client: httpx.AsyncClient, services: Services) -> None:
    services.failures = [ValueError("a bug")]
    with structlog.testing.capture_logs(processors=[logs.add_context]) as logged:
        answer = await client.get("/api/v1/subscriptions", headers={"X-Request-Id": "r-2"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "r-2")
    (line,) = [line for line in logged if line["event"] == "a call failed because of a bug"]
    assert line["request_id"] == "r-2"
