"""Bad requests get problem documents that name the wrong field, never a 500, and store nothing.

One of each kind is tested end to end. Each rule is tested where it is implemented: in the gateway, in ingest, or in the
domain.
"""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from dev.harness.api import TLS, Api
from dev.harness.stack import Stack

UNKNOWN_ID = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
JSON_HEADERS = {"Content-Type": "application/json"}
HOOK = b'"target_url": "http://127.0.0.1:9/hook"'
SUBSCRIPTIONS = "/api/v1/subscriptions/"

# The body of a new subscription, the status of the response, and the named field.
BAD_SUBSCRIPTIONS: dict[str, tuple[bytes, int, str | None]] = {
    "not JSON": (b"{target_url}", 400, None),
    "a lone surrogate": (b'{"description": "\\ud800", %b}' % HOOK, 400, None),
    "no target_url": (b"{}", 422, "target_url"),
    "a private address": (b'{"target_url": "http://10.0.0.1/"}', 422, "target_url"),
    "an address in hexadecimal": (b'{"target_url": "http://0x7f.1/"}', 422, "target_url"),
    "cloud metadata": (b'{"target_url": "http://169.254.169.254/"}', 422, "target_url"),
    "a port of a database": (b'{"target_url": "http://example.com:5432/"}', 422, "target_url"),
    "a header of the service's own": (b'{"headers": {"webhook-id": "1"}, %b}' % HOOK, 422, "headers.webhook-id"),
    "a secret that is not base64": (b'{"secret_key": "whsec_!", %b}' % HOOK, 422, "secret_key"),
    "an event type with a space": (b'{"event_types": ["a b"], %b}' % HOOK, 422, "event_types.0"),
    "a rate out of range": (b'{"rate_limit_per_second": 1e400, %b}' % HOOK, 400, None),
    "a burst without a rate": (b'{"rate_limit_burst": 5, %b}' % HOOK, 422, "rate_limit_burst"),
    "a timeout out of range": (b'{"timeout_seconds": -1e999, %b}' % HOOK, 400, None),
    "a policy longer than the expiry of deliveries": (
        *(b'{"retry_policy": {"delays_seconds": [1e6]}, %b}' % HOOK, 422, "retry_policy"),
    ),
    "nested too deeply": (b'{"a": %b}' % (b"[" * 100_000 + b"]" * 100_000), 400, None),
}


@pytest_asyncio.fixture(loop_scope="session")
async def api(stack: Stack) -> AsyncIterator[Api]:
    """A client of the stack that all tests share."""
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60, verify=TLS) as http:
        yield Api(http)


@pytest.mark.parametrize("name", BAD_SUBSCRIPTIONS)
async def test_a_bad_subscription_is_a_problem_that_names_the_field(api: Api, name: str) -> None:
    body, status, field = BAD_SUBSCRIPTIONS[name]
    before = await _stored(api)
    answer = await api.http.post(SUBSCRIPTIONS, content=body, headers=JSON_HEADERS)
    _assert_problem(answer, status, field)
    assert await _stored(api) == before


async def _stored(api: Api) -> list[str]:
    """Return the ids of the subscriptions, whose other fields deliveries of other tests may change meanwhile."""
    return [item["id"] for item in (await api.http.get(SUBSCRIPTIONS)).json()["items"]]


# Method, path ({id} is a live subscription), headers, body, status, field.
BAD_REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, int, str | None]] = {
    "invalid JSON": ("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS, b'{"payload": }', 400, None),
    "an unknown id": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}", JSON_HEADERS, b"{}", 404, None),
    "a type with a space": (
        *("POST", "/api/v1/webhooks/ingest/{id}", JSON_HEADERS | {"X-Event-Type": "a b"}, b"{}"),
        *(422, "X-Event-Type"),
    ),
    "an encoded body": (
        *("POST", "/api/v1/events", JSON_HEADERS | {"Content-Encoding": "gzip"}, b"{}"),
        *(415, "Content-Encoding"),
    ),
    "a payload above the limit": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * ((1 << 20) + 1)),
        *(413, "payload"),
    ),
    "a body that is too large": (
        *("POST", "/api/v1/webhooks/ingest/{id}", {"Content-Type": "text/plain"}, b"a" * (3 << 20)),
        *(413, "body"),
    ),
    "an event that is too large": (
        *("POST", "/api/v1/events", JSON_HEADERS, b'{"event_type":"a","payload":"%b"}' % (b"a" * (1 << 20))),
        *(413, "payload"),
    ),
    "a rotation of NaN hours": (
        *("POST", f"/api/v1/subscriptions/{UNKNOWN_ID}/rotate-secret", JSON_HEADERS),
        *(b'{"overlap_hours": NaN}', 400, None),
    ),
    "a token of an unknown subscription": ("POST", f"/api/v1/webhooks/ingest/{UNKNOWN_ID}/whi_x", {}, b"{}", 404, None),
    "an unknown delivery to retry": ("POST", f"/api/v1/webhooks/deliveries/{UNKNOWN_ID}/retry", {}, b"", 404, None),
    "deliveries of an unknown event": ("GET", f"/api/v1/events/{UNKNOWN_ID}/deliveries", {}, b"", 404, None),
    "deliveries of an unknown subscription": (
        "GET",
        f"/api/v1/subscriptions/{UNKNOWN_ID}/deliveries",
        {},
        b"",
        404,
        None,
    ),
    "statistics of an unknown subscription": ("GET", f"/api/v1/subscriptions/{UNKNOWN_ID}/stats", {}, b"", 404, None),
    "an invalid cursor": ("GET", "/api/v1/subscriptions?cursor=%00", {}, b"", 422, "cursor"),
    "a window beyond retention": ("GET", "/api/v1/stats?window=900d", {}, b"", 422, "window"),
    "another method": ("PATCH", SUBSCRIPTIONS, {}, b"", 405, None),
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
