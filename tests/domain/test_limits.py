"""The ranges of numbers in requests: the same in the schema, in ingest, and in REST, and safe to calculate with."""

import json
import math
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel

from services.domain import limits
from services.domain.limits import Range
from services.domain.retry_policy import Asked, RetrySettings, accepted
from services.domain.tenants.quotas import RANGES, Quota
from services.gateway.resources import api_keys, tenants
from services.gateway.resources.subscriptions import models, parts, secrets
from services.ingest.access.store import KeyDraft, TenantDraft
from services.ingest.subscriptions.secrets import overlap
from services.platform import errors, ids
from services.platform.auth.roles import Role
from tests.ingest.conftest import draft

NAN, INF = float("nan"), float("inf")
# Values that a hostile caller tries.
HOSTILE = (NAN, INF, -INF, -0.0, 0.0, 1e-300, -1e-300, 1e300, -1e300, 5e-324, -1.0, 2.0**63)
# The REST model and field of each number.
REST: dict[str, tuple[type[BaseModel], str, Range]] = {
    "rate_limit_per_second": (models.SubscriptionBody, "rate_limit_per_second", limits.RATE_PER_SECOND),
    "rate_limit_burst": (models.SubscriptionBody, "rate_limit_burst", limits.BURST),
    "timeout_seconds": (models.SubscriptionBody, "timeout_seconds", limits.TIMEOUT_SECONDS),
    "retry_policy.base_seconds": (parts.RetryPolicyBody, "base_seconds", limits.RETRY_SECONDS),
    "retry_policy.cap_seconds": (parts.RetryPolicyBody, "cap_seconds", limits.RETRY_SECONDS),
    "retry_policy.factor": (parts.RetryPolicyBody, "factor", limits.RETRY_FACTOR),
    "retry_policy.limit": (parts.RetryPolicyBody, "limit", limits.RETRIES),
    "overlap_hours": (secrets.RotationBody, "overlap_hours", limits.OVERLAP_HOURS),
    "requests_per_second": (api_keys.ApiKeyBody, "requests_per_second", limits.REQUESTS_PER_SECOND),
    "weight": (tenants.TenantBody, "weight", limits.WEIGHT),
    **{f"quotas.{quota}": (tenants.QuotasBody, quota.value, RANGES[quota]) for quota in Quota},
}


def _ingest(field: str, number: Any) -> None:
    """Check a number as ingest does."""
    if field.startswith("retry_policy."):
        asked = Asked(**{field.partition(".")[2]: number})
        accepted(asked, RetrySettings(_env_file=None).retry_policy, expiry_hours=10_000)
    elif field == "overlap_hours":
        overlap(number)
    elif field.startswith("quotas."):
        TenantDraft(id="t", name="n", description="", own={Quota(field.partition(".")[2]): number})
    elif field == "weight":
        TenantDraft(id="t", name="n", description="", weight=number, own={})
    elif field == "requests_per_second":
        KeyDraft(tenant_id="t", name="n", role=Role.READ, expires_at=None, requests_per_second=number)
    else:
        draft(**{"rate_limit_per_second": 1.0, field: number})


@pytest.mark.parametrize("field", REST)
def test_ingest_refuses_a_number_outside_its_range_and_names_both(field: str) -> None:
    span = REST[field][2]
    for number in (span.least, span.most):
        assert span.expected not in _said(field, number), "it may be wrong together with others"
    beyond = (math.nextafter(span.least, -INF), math.nextafter(span.most, INF))
    for number in (*beyond, *(hostile for hostile in HOSTILE if not span.allows(hostile))):
        with pytest.raises(errors.InvalidArgument) as raised:
            _ingest(field, number)
        assert [(found.field, found.description) for found in raised.value.violations] == [(field, span.expected)]


@pytest.mark.parametrize("field", REST)
def test_rest_shows_the_range_that_ingest_has(field: str) -> None:
    model, name, span = REST[field]
    shown = json.dumps(model.model_json_schema()["properties"][name])
    assert f'"maximum": {span.most}' in shown
    assert f'"minimum": {span.least}' in shown


def _said(field: str, number: float) -> str:
    try:
        _ingest(field, number)
    except errors.InvalidArgument as error:
        return str(error)
    return ""


COLUMNS = [
    ("subscriptions", "rate_limit_per_second", limits.RATE_PER_SECOND),
    ("subscriptions", "rate_limit_burst", limits.BURST),
    ("subscriptions", "timeout_seconds", limits.TIMEOUT_SECONDS),
    ("api_keys", "requests_per_second", limits.REQUESTS_PER_SECOND),
    ("tenants", "weight", limits.WEIGHT),
    *(("tenants", quota.column, RANGES[quota]) for quota in Quota),
]


@pytest.mark.parametrize(("table", "column", "span"), COLUMNS, ids=[column for _, column, _ in COLUMNS])
async def test_the_schema_keeps_what_ingest_takes_and_nothing_else(
    database: str, table: str, column: str, span: Range
) -> None:
    connection = await asyncpg.connect(database)
    whole = column in {"weight", "rate_limit_burst"} or (
        column.startswith("max_") and column != "max_events_per_second"
    )
    try:
        name = await _row(connection, table)
        update = f"UPDATE {table} SET {column} = $2::{'bigint' if whole else 'float8'} WHERE id = $1"
        for number in (span.least, span.most):
            await connection.execute(update, name, number)
        outside = (span.least - 1, span.most + 1) if whole else (span.least * 0.999, span.most * 1.001, *HOSTILE)
        for number in outside:
            if not span.allows(number):
                with pytest.raises(asyncpg.CheckViolationError):
                    await connection.execute(update, name, number)
    finally:
        await connection.close()


async def test_the_schema_keeps_retry_policies_with_numbers_that_ingest_takes(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        name = await _row(connection, "subscriptions")
        update = "UPDATE subscriptions SET retry_policy = $2 WHERE id = $1"
        most = limits.RETRY_SECONDS.most
        kept: list[dict[str, Any]] = [{"delays_seconds": [0.001, most]}, {"name": "x"}]
        for policy in (*kept, {"limit": 0, "factor": limits.RETRY_FACTOR.most}):
            await connection.execute(update, name, json.dumps(policy))
        outside: list[dict[str, Any]] = [{"delays_seconds": [1, -1]}, {"base_seconds": most + 1}, {"limit": -1}]
        for policy in outside:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(update, name, json.dumps(policy))
    finally:
        await connection.close()


async def _row(connection: Any, table: str) -> UUID | str:
    if table == "tenants":
        return "default"
    made = ids.new()
    if table == "subscriptions":
        statement = "INSERT INTO subscriptions (id, tenant_id, target_url) VALUES ($1, 'default', 'http://x')"
    else:
        statement = (
            "INSERT INTO api_keys (id, tenant_id, key_hash, prefix, name, role)"
            " VALUES ($1, 'default', sha256('x'), 'x', 'x', 'read')"
        )
    await connection.execute(statement, made)
    return made


@pytest.mark.parametrize("number", HOSTILE)
def test_the_nearest_number_of_a_range_is_in_it(number: float) -> None:
    for span in (limits.RATE_PER_SECOND, limits.BURST, limits.RETRY_SECONDS):
        assert span.allows(span.nearest(number))
    assert limits.RATE_PER_SECOND.nearest(5.0) == 5.0
