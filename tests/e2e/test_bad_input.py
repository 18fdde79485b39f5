"""Bad requests are problem documents that name the field at fault, never a 500, and store nothing."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from dev.harness.api import Api
from dev.harness.stack import Stack

UNKNOWN_ID = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
JSON_HEADERS = {"Content-Type": "application/json"}
HOOK = b'"target_url": "http://127.0.0.1:9/hook"'
SUBSCRIPTIONS = "/api/v1/subscriptions/"

# The body of a new subscription, the status of its refusal, and the field that is named.
BAD_SUBSCRIPTIONS: dict[str, tuple[bytes, int, str | None]] = {
    "no body": (b"", 400, None),
    "no JSON": (b"{target_url}", 400, None),
    "JSON that is no object": (b"[]", 422, "body"),
    "bytes that are no UTF-8": (b'{"target_url": "http://127.0.0.1:9/\xff"}', 400, None),
    "a lone surrogate": (b'{"description": "\\ud800", %b}' % HOOK, 400, None),
    "no target_url": (b"{}", 422, "target_url"),
    "target_url is null": (b'{"target_url": null}', 422, "target_url"),
    "target_url of a wrong type": (b'{"target_url": 1}', 422, "target_url"),
    "target_url that is empty": (b'{"target_url": ""}', 422, "target_url"),
    "target_url that is none": (b'{"target_url": "no url"}', 422, "target_url"),
    "target_url that is relative": (b'{"target_url": "/hook"}', 422, "target_url"),
    "another scheme": (b'{"target_url": "ftp://example.com/"}', 422, "target_url"),
    "a file": (b'{"target_url": "file:///etc/passwd"}', 422, "target_url"),
    "no host": (b'{"target_url": "http://"}', 422, "target_url"),
    "a port that is none": (b'{"target_url": "http://example.com:99999/"}', 422, "target_url"),
    "a bracket that is open": (b'{"target_url": "http://[::1"}', 422, "target_url"),
    "credentials": (b'{"target_url": "http://user:pass@example.com/"}', 422, "target_url"),
    "NUL in the URL": (b'{"target_url": "http://example.com/\\u0000"}', 422, "target_url"),
    "a line break in the URL": (b'{"target_url": "http://example.com/\\r\\nX: 1"}', 422, "target_url"),
    "a URL that is too long": (b'{"target_url": "http://example.com/%b"}' % (b"a" * 2048), 422, "target_url"),
    "a private address": (b'{"target_url": "http://10.0.0.1/"}', 422, "target_url"),
    "an address in hexadecimal": (b'{"target_url": "http://0x7f.1/"}', 422, "target_url"),
    "metadata of a cloud": (b'{"target_url": "http://169.254.169.254/"}', 422, "target_url"),
    "a port of a database": (b'{"target_url": "http://example.com:5432/"}', 422, "target_url"),
    "a header of the service's own": (b'{"headers": {"webhook-id": "1"}, %b}' % HOOK, 422, "headers.webhook-id"),
    "a header with a line break": (b'{"headers": {"X": "a\\r\\nY: b"}, %b}' % HOOK, 422, "headers.X"),
    "headers of a wrong type": (b'{"headers": "X: a", %b}' % HOOK, 422, "headers"),
    "NUL in the secret": (b'{"secret_key": "a\\u0000b", %b}' % HOOK, 422, "secret_key"),
    "an empty secret": (b'{"secret_key": "", %b}' % HOOK, 422, "secret_key"),
    "a secret of a wrong type": (b'{"secret_key": 1, %b}' % HOOK, 422, "secret_key"),
    "a secret that is no base64": (b'{"secret_key": "whsec_!", %b}' % HOOK, 422, "secret_key"),
    "NUL in the description": (b'{"description": "\\u0000", %b}' % HOOK, 422, "description"),
    "event types of a wrong type": (b'{"event_types": "a", %b}' % HOOK, 422, "event_types"),
    "an event type with a space": (b'{"event_types": ["a b"], %b}' % HOOK, 422, "event_types.0"),
    "too many event types": (b'{"event_types": [%b], %b}' % (b",".join([b'"a"'] * 101), HOOK), 422, "event_types"),
    "an unknown field": (b'{"retries": 1, %b}' % HOOK, 422, "retries"),
    "a rate that is NaN": (b'{"rate_limit_per_second": NaN, %b}' % HOOK, 400, None),
    "a rate beyond all numbers": (b'{"rate_limit_per_second": 1e400, %b}' % HOOK, 400, None),
    "a rate of many digits": (b'{"rate_limit_per_second": %b, %b}' % (b"9" * 300, HOOK), 422, "rate_limit_per_second"),
    "a negative rate": (b'{"rate_limit_per_second": -1, %b}' % HOOK, 422, "rate_limit_per_second"),
    "a rate as text": (b'{"rate_limit_per_second": "1", %b}' % HOOK, 422, "rate_limit_per_second"),
    "a burst without a rate": (b'{"rate_limit_burst": 5, %b}' % HOOK, 422, "rate_limit_burst"),
    "a burst of many digits": (b'{"rate_limit_burst": %b, %b}' % (b"9" * 300, HOOK), 422, "rate_limit_burst"),
    "a timeout of a minute": (b'{"timeout_seconds": 60, %b}' % HOOK, 422, "timeout_seconds"),
    "a timeout beyond all numbers": (b'{"timeout_seconds": -1e999, %b}' % HOOK, 400, None),
    "keeping of a wrong type": (b'{"keep_when_disabled": "no", %b}' % HOOK, 422, "keep_when_disabled"),
    "keeping is null": (b'{"keep_when_disabled": null, %b}' % HOOK, 422, "keep_when_disabled"),
    "a policy as text": (b'{"retry_policy": "often", %b}' % HOOK, 422, "retry_policy"),
    "a policy of another name": (b'{"retry_policy": {"name": "x"}, %b}' % HOOK, 422, "retry_policy.name"),
    "a policy of two kinds": (
        *(b'{"retry_policy": {"name": "standard-webhooks", "limit": 1}, %b}' % HOOK, 422, "retry_policy"),
    ),
    "a policy whose cap is below its base": (
        *(b'{"retry_policy": {"base_seconds": 9, "cap_seconds": 1}, %b}' % HOOK, 422, "retry_policy.cap_seconds"),
    ),
    "a policy longer than a delivery lives": (
        *(b'{"retry_policy": {"delays_seconds": [1e6]}, %b}' % HOOK, 422, "retry_policy"),
    ),
    "a delay of nothing": (
        *(b'{"retry_policy": {"delays_seconds": [1, 0]}, %b}' % HOOK, 422, "retry_policy.delays_seconds.1"),
    ),
    "a delay just above the least number": (
        *(b'{"retry_policy": {"delays_seconds": [1e-400]}, %b}' % HOOK, 422, "retry_policy.delays_seconds.0"),
    ),
    "too many delays": (
        *(b'{"retry_policy": {"delays_seconds": [%b]}, %b}' % (b",".join([b"1"] * 100_000), HOOK), 422),
        "retry_policy.delays_seconds",
    ),
    "nested too deeply": (b'{"a": %b}' % (b"[" * 100_000 + b"]" * 100_000), 400, None),
}


@pytest_asyncio.fixture(loop_scope="session")
async def api(stack: Stack) -> AsyncIterator[Api]:
    """A client of the stack that all tests share."""
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=15) as http:
        yield Api(http)


@pytest.mark.parametrize("name", BAD_SUBSCRIPTIONS)
async def test_a_bad_subscription_is_a_problem_that_names_the_field(api: Api, name: str) -> None:
    body, status, field = BAD_SUBSCRIPTIONS[name]
    before = (await api.http.get(SUBSCRIPTIONS)).json()["items"]
    answer = await api.http.post(SUBSCRIPTIONS, content=body, headers=JSON_HEADERS)
    _assert_problem(answer, status, field)
    assert (await api.http.get(SUBSCRIPTIONS)).json()["items"] == before


# Method, path ({id} is a live subscription), headers, body, status, field.
BAD_REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, int, str | None]] = {
    "JSON that is none": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b'{"payload": }', 400, None),
    "an empty event": ("POST", "/api/v1/events", JSON_HEADERS, b"", 400, None),
    "payload twice": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b'{"payload":1,"payload":2}', 400, None),
    "a malformed id": ("POST", "/api/v1/webhooks/ingest/nope", JSON_HEADERS, b"{}", 422, "subscription_id"),
    "NUL in the id": ("POST", "/api/v1/webhooks/ingest/%00", JSON_HEADERS, b"{}", 422, "subscription_id"),
    "an unknown id": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}", JSON_HEADERS, b"{}", 404, None),
    "a type with a space": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"X-Event-Type": "a b"}, b"{}"),
        *(422, "X-Event-Type"),
    ),
    "a type that is empty": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"X-Event-Type": ""}, b"{}"),
        *(422, "X-Event-Type"),
    ),
    "an encoded body": (
        *("POST", "/api/v1/events", JSON_HEADERS | {"Content-Encoding": "gzip"}, b"{}"),
        *(415, "Content-Encoding"),
    ),
    "an encoding that is none": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"Content-Encoding": "g zip"}, b"{}"),
        *(422, "Content-Encoding"),
    ),
    "a payload that is too large": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * ((1 << 20) + 1)),
        *(413, "payload"),
    ),
    "a body that is too large": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * (3 << 20)),
        *(413, "body"),
    ),
    "an event without a type": ("POST", "/api/v1/events", JSON_HEADERS, b'{"payload": 1}', 422, "event_type"),
    "an event without a payload": ("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "a"}', 422, "payload"),
    "a type that is no text": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": 1, "payload": 1}', 422, "event_type"),
    ),
    "a type with NUL": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "\\u0000", "payload": 1}', 422, "event_type"),
    ),
    "an event with an unknown field": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type": "a", "payload": 1, "x": 1}', 422, "x"),
    ),
    "an event that is no JSON": ("POST", "/api/v1/events", {"Content-Type": "text/plain"}, b"a", 415, "Content-Type"),
    "an event that is too large": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type":"a","payload":"%b"}' % (b"a" * (1 << 20))),
        *(413, "payload"),
    ),
    "a subscription that is a form": (
        *("POST", SUBSCRIPTIONS, {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1", 415, "Content-Type"),
    ),
    "a subscription that is too large": ("POST", SUBSCRIPTIONS, JSON_HEADERS, b" " * (3 << 20), 413, "body"),
    "an unknown subscription": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}", {}, b"", 404, None),
    "an unknown subscription to change": (
        *("PUT", f"/api/v1/subscriptions/{UNKNOWN_ID}", JSON_HEADERS, b"{%b}" % HOOK, 404, None),
    ),
    "an unknown subscription to delete": ("DELETE", f"/api/v1/subscriptions/{UNKNOWN_ID}", {}, b"", 404, None),
    "an unknown subscription to disable": ("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/disable", {}, b"", 404, None),
    "an unknown subscription to enable": ("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/enable", {}, b"", 404, None),
    "an unknown subscription to pause": ("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/pause", {}, b"", 404, None),
    "a malformed subscription to resume": ("POST", "/api/v1/subscriptions/%00/resume", {}, b"", 422, "subscription_id"),
    "an unknown subscription to rotate": (
        "POST",
        f"/api/v1/subscriptions/{UNKNOWN_ID}/rotate-secret",
        {},
        b"",
        404,
        None,
    ),
    "a malformed subscription to rotate": (
        "POST",
        "/api/v1/subscriptions/1/rotate-secret",
        {},
        b"",
        422,
        "subscription_id",
    ),
    "a rotation to a secret that is no base64": (
        *("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/rotate-secret", JSON_HEADERS),
        *(b'{"secret_key": "whsec_!"}', 422, "secret_key"),
    ),
    "a rotation of NaN hours": (
        *("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/rotate-secret", JSON_HEADERS),
        *(b'{"overlap_hours": NaN}', 400, None),
    ),
    "an unknown subscription to get a token": (
        *("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/ingest-token", {}, b"", 404, None),
    ),
    "an unknown subscription to lose its token": (
        *("DELETE", f"/api/v1/subscriptions/{UNKNOWN_ID}/ingest-token", {}, b"", 404, None),
    ),
    "a token of nobody": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}/whi_x", {}, b"{}", 404, None),
    "a token of bytes": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}/%ff%00%e2%98%83", {}, b"{}", 404, None),
    "a token of a malformed subscription": (
        "POST",
        "/api/v1/webhooks/ingest/1/whi_x",
        {},
        b"{}",
        422,
        "subscription_id",
    ),
    "a malformed subscription": ("GET", "/api/v1/subscriptions/1", {}, b"", 422, "subscription_id"),
    "an unknown delivery": ("GET", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}", {}, b"", 404, None),
    "an unknown delivery to retry": ("POST", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}/retry", {}, b"", 404, None),
    "an unknown delivery to cancel": ("POST", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}/cancel", {}, b"", 404, None),
    "a malformed delivery": ("GET", "/api/v1/webhooks/deliveries/%00", {}, b"", 422, "delivery_id"),
    "an unknown event": ("GET", f"/api/v1/events/{UNKNOWN_ID}", {}, b"", 404, None),
    "deliveries of an unknown event": ("GET", f"/api/v1/events/{UNKNOWN_ID}/deliveries", {}, b"", 404, None),
    "deliveries of nobody": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}/deliveries", {}, b"", 404, None),
    "statistics of nobody": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}/stats", {}, b"", 404, None),
    "an unknown state": ("GET", "/api/v1/subscriptions/{id}/deliveries?status=lost", {}, b"", 422, "status"),
    "no objects per page": ("GET", "/api/v1/subscriptions?limit=0", {}, b"", 422, "limit"),
    "too many objects per page": ("GET", "/api/v1/subscriptions?limit=201", {}, b"", 422, "limit"),
    "a cursor of nobody's": ("GET", "/api/v1/subscriptions?cursor=%00", {}, b"", 422, "cursor"),
    "an unknown parameter": ("GET", "/api/v1/subscriptions?page=2", {}, b"", 422, "page"),
    "a window of nothing": ("GET", "/api/v1/stats?window=0m", {}, b"", 422, "window"),
    "a window beyond retention": ("GET", "/api/v1/stats?window=900d", {}, b"", 422, "window"),
    "another method": ("PATCH", SUBSCRIPTIONS, {}, b"", 405, None),
    "another path": ("GET", "/api/v2/", {}, b"", 404, None),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_a_problem_and_nothing_is_stored(api: Api, name: str) -> None:
    method, path, headers, body, status, field = BAD_REQUESTS[name]
    subscription = await api.subscribe("http://127.0.0.1:9/hook", event_types=["never"])
    answer = await api.http.request(method, path.replace("{id}", subscription), headers=headers, content=body)
    _assert_problem(answer, status, field)
    page = await api.http.get(f"/api/v1/subscriptions/{subscription}/deliveries")
    assert page.json()["items"] == []


def _assert_problem(answer: httpx.Response, status: int, field: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]
