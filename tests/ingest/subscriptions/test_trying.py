"""Subscriptions that are tried before they are created: what is asked of workers, and what is refused."""

from typing import Any
from uuid import UUID

import msgspec

from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import endpoint_tests
from services.platform import errors
from tests.ingest.conftest import CALL_SECONDS, URL, Ingest, fields, refused

SECRET = "whsec_" + "c2VjcmV0" * 4


async def attempt(ingest: Ingest, target_url: str = URL, **spec: Any) -> UUID:
    request = pb.TestNewSubscriptionRequest(
        tenant_id=ingest.tenant_id, spec=pb.SubscriptionSpec(target_url=target_url, **spec)
    )
    return UUID((await ingest.subscriptions.TestNewSubscription(request, timeout=CALL_SECONDS)).webhook_id)


async def test_what_the_subscription_would_have_is_left_for_a_worker_and_nothing_is_created(ingest: Ingest) -> None:
    test_id = await attempt(
        ingest,
        secret_key=SECRET,
        headers=pb.CustomHeaders(values={"X-Team": "billing"}),
        template=pb.Template(source="{{ secrets.key }}", content_type="text/plain"),
        template_secrets=pb.TemplateSecrets(values={"key": "hunter2"}),
        timeout_seconds=7,
    )
    row: Any = await ingest.pool.fetchrow("SELECT * FROM endpoint_tests WHERE id = $1", test_id)
    assert (row["subscription_id"], row["tenant_id"], row["taken_at"]) == (test_id, ingest.tenant_id, None)
    assert (row["target_url"], row["timeout_seconds"]) == (URL, 7)
    assert msgspec.json.decode(row["template"])["source"] == "{{ secrets.key }}"
    assert [secret.secret_key for secret in vault().opened(test_id, row["sealed_secrets"]).kept] == [SECRET]
    assert vault().headers(test_id, row["sealed_headers"]) == {"X-Team": "billing"}
    assert vault().template_secrets(test_id, row["sealed_template_secrets"]) == {"key": "hunter2"}
    assert await ingest.count("subscriptions") == 0
    entry: Any = await ingest.pool.fetchrow("SELECT * FROM audit_entries WHERE resource_id = $1", str(test_id))
    assert (entry["action"], entry["tenant_id"]) == ("subscription.test_new", ingest.tenant_id)
    # What follows the host may be a credential.
    (change,) = msgspec.json.decode(entry["changes"])
    assert change == {"field": "target_url", "after": "https://example.com"}


async def test_what_cannot_be_created_cannot_be_tried(ingest: Ingest) -> None:
    error = await refused(attempt(ingest, "x", event_types=["*"], secret_key="whsec_"))
    assert fields(error) == ["target_url", "event_types.0", "secret_key"]
    assert fields(await refused(attempt(ingest, "", destination=pb.DESTINATION_PULL))) == ["destination"]
    unknown = Ingest(ingest.channel, ingest.pool, tenant_id="nobody-of-this-name")
    assert fields(await refused(attempt(unknown))) == ["tenant_id"]
    assert await ingest.pool.fetchval("SELECT count(*) FROM endpoint_tests WHERE tenant_id LIKE 'nobody%'") == 0


async def test_a_tenant_tries_ten_times_a_minute_and_leaves_others_theirs(ingest: Ingest) -> None:
    busy, other = [await ingest.of(f"{ingest.tenant_id}-{name}") for name in ("busy", "other")]
    for number in range(endpoint_tests.TESTS):
        await attempt(busy, f"https://example.com/{number}")
        await ingest.pool.execute("UPDATE endpoint_tests SET outcome = 'success' WHERE tenant_id = $1", busy.tenant_id)
    found = await refused(attempt(busy))
    assert found.reason is errors.ErrorReason.RATE_LIMITED
    assert 2 <= (found.retry_after_seconds or 0) <= 60
    await attempt(other)


async def test_a_tenant_has_ten_that_are_not_answered(ingest: Ingest) -> None:
    busy = await ingest.of(f"{ingest.tenant_id}-unanswered")
    await ingest.pool.execute(
        "INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor)"
        " SELECT gen_random_uuid(), gen_random_uuid(), $1, 'a' FROM generate_series(1, $2::int)",
        busy.tenant_id,
        endpoint_tests.UNANSWERED,
    )
    assert (await refused(attempt(busy))).reason is errors.ErrorReason.TENANT_OVERLOADED
