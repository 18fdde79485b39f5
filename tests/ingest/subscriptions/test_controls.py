"""Why a subscription's deliveries are held, and how they are sent: as requested, stored, and returned."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.doorbell import RUNG_SECONDS
from services.ingest.settings import IngestSettings
from services.platform import errors
from tests.ingest.conftest import Ingest, fields, refused

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
VERBS = ("Disable", "Enable", "Pause", "Resume")
STATUSES = {"active": pb.SubscriptionStatus.STATUS_ACTIVE, "paused": pb.SubscriptionStatus.STATUS_PAUSED,
            "disabled": pb.SubscriptionStatus.STATUS_DISABLED}  # fmt: skip


async def change(ingest: Ingest, verb: str, subscription_id: str) -> pb.Subscription:
    """Run one of the four actions."""
    return await ingest.set_status(subscription_id, pb.SubscriptionAction.Value(f"SUBSCRIPTION_ACTION_{verb.upper()}"))


async def row(ingest: Ingest, subscription_id: str) -> asyncpg.Record:
    found: asyncpg.Record | None = await ingest.pool.fetchrow(
        "SELECT * FROM subscriptions WHERE id = $1", UUID(subscription_id)
    )
    assert found
    return found


async def made_in(ingest: Ingest, status: str, **asked: Any) -> pb.Subscription:
    """Create a subscription with a status; the service, not a person, disabled a disabled one."""
    made = await ingest.create(**asked)
    if status == "paused":
        return await change(ingest, "Pause", made.id)
    if status == "disabled":
        await change(ingest, "Disable", made.id)
        await ingest.pool.execute("UPDATE subscriptions SET status_reason = 'gone' WHERE id = $1", UUID(made.id))
    return await ingest.get(made.id)


# -- status --

TABLE = [
    ("Disable", "active", "disabled", None),
    ("Disable", "paused", "disabled", None),
    ("Disable", "disabled", "disabled", None),
    ("Enable", "active", "active", None),
    ("Enable", "paused", "paused", "SUBSCRIPTION_PAUSED"),
    ("Enable", "disabled", "active", None),
    ("Pause", "active", "paused", None),
    ("Pause", "paused", "paused", None),
    ("Pause", "disabled", "disabled", "SUBSCRIPTION_DISABLED"),
    ("Resume", "active", "active", None),
    ("Resume", "paused", "active", None),
    ("Resume", "disabled", "disabled", "SUBSCRIPTION_DISABLED"),
]


@pytest.mark.parametrize(("verb", "before", "after", "conflict"), TABLE)
async def test_calls_change_the_status_as_documented(
    ingest: Ingest, verb: str, before: str, after: str, conflict: str | None
) -> None:
    made = await made_in(ingest, before)
    earlier = await row(ingest, made.id)
    if conflict:
        error = await refused(change(ingest, verb, made.id))
        assert isinstance(error, errors.Conflict)
        assert error.reason == conflict
        assert ("resume" if conflict == "SUBSCRIPTION_PAUSED" else "enable") in error.message
    else:
        answer = await change(ingest, verb, made.id)
        assert answer.status.status == STATUSES[after]
        assert answer == await ingest.get(made.id)
    later = await row(ingest, made.id)
    assert later["status"] == after
    if before == after:
        assert later == earlier
    else:
        assert later["version"] == earlier["version"] + 1
        assert earlier["updated_at"] < later["status_since"] <= later["updated_at"]
        assert later["status_reason"] == ("manual" if after == "disabled" else None)


@pytest.mark.parametrize(("verb", "before"), [(verb, before) for verb, before, _, conflict in TABLE if not conflict])
async def test_a_call_that_is_made_twice_is_one(ingest: Ingest, verb: str, before: str) -> None:
    made = await made_in(ingest, before)
    assert await change(ingest, verb, made.id) == await change(ingest, verb, made.id)


async def test_a_disabled_subscription_keeps_its_reason_when_disabled_again(ingest: Ingest) -> None:
    made = await made_in(ingest, "disabled")
    assert (await change(ingest, "Disable", made.id)).status.status_reason == "gone"
    await change(ingest, "Enable", made.id)
    assert (await change(ingest, "Disable", made.id)).status.status_reason == "manual"


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_deleted_or_foreign_subscription_is_not_found(ingest: Ingest, verb: str) -> None:
    made = await ingest.create()
    other = await ingest.of("another")
    assert isinstance(await refused(change(other, verb, made.id)), errors.NotFound)
    await ingest.delete(made.id)
    for subscription_id in (made.id, UNKNOWN):
        assert isinstance(await refused(change(ingest, verb, subscription_id)), errors.NotFound)
    assert fields(await refused(change(ingest, verb, "x"))) == ["subscription_id"]


@pytest.mark.parametrize("status", STATUSES)
async def test_an_update_leaves_the_status_as_it_is(ingest: Ingest, status: str) -> None:
    made = await made_in(ingest, status)
    changed = await ingest.update(made.id, description="new")
    assert (changed.status.status, changed.status.status_reason, changed.status.status_since) == (
        made.status.status,
        made.status.status_reason,
        made.status.status_since,
    )
    assert changed == await ingest.get(made.id)


async def test_waiting_deliveries_are_not_changed_by_any_call(ingest: Ingest) -> None:
    made = await ingest.create()
    accepted = await ingest.send(made.id)

    async def waiting() -> list[dict[str, Any]]:
        query = "SELECT * FROM deliveries WHERE event_id = $1"
        return [dict(found) for found in await ingest.pool.fetch(query, UUID(accepted.event_id))]

    before = await waiting()
    assert len(before) == 1
    for verb in ("Pause", "Resume", "Pause", "Disable", "Enable"):
        await change(ingest, verb, made.id)
        assert await waiting() == before


# -- the breaker --

SINCE, PROBE = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC), datetime(2026, 3, 14, 15, 10, tzinfo=UTC)


async def fail(ingest: Ingest, subscription_id: str, breaker: str) -> None:
    """Write what workers write about a failing endpoint."""
    await ingest.pool.execute(
        "INSERT INTO subscription_health (subscription_id, breaker, breaker_since, breaker_reason, probe_at, openings,"
        " consecutive_failures, failing_since) VALUES ($1, $2, $3, 'failures', $4, 3, 17, $3)",
        UUID(subscription_id), breaker, SINCE, PROBE,
    )  # fmt: skip


@pytest.mark.parametrize(("breaker", "probed"), [("open", True), ("half_open", False), ("closed", False)])
async def test_the_breaker_is_part_of_every_answer(ingest: Ingest, breaker: str, *, probed: bool) -> None:
    made = await ingest.create()
    assert made.status.breaker == pb.Breaker(state=pb.BREAKER_STATE_CLOSED)
    await fail(ingest, made.id, breaker)
    expected = pb.Breaker(
        state=pb.BreakerState.Value(f"BREAKER_STATE_{breaker.upper()}"), reason="failures", consecutive_failures=17
    )
    expected.since.FromDatetime(SINCE)
    if probed:
        expected.next_probe_at.FromDatetime(PROBE)
    answers = [
        await ingest.get(made.id),
        (await ingest.page()).subscriptions[0],
        await ingest.update(made.id),
        await change(ingest, "Pause", made.id),
        await change(ingest, "Resume", made.id),
        await change(ingest, "Disable", made.id),
    ]
    assert [answer.status.breaker for answer in answers] == [expected] * 6


async def test_enabling_closes_the_breaker_and_forgets_the_failures(ingest: Ingest) -> None:
    made = await made_in(ingest, "disabled")
    await fail(ingest, made.id, "open")
    answer = await change(ingest, "Enable", made.id)
    assert answer.status.breaker.since == answer.status.status_since
    assert (answer.status.breaker.state, answer.status.breaker.reason, answer.status.breaker.consecutive_failures) == (
        pb.BREAKER_STATE_CLOSED,
        "",
        0,
    )
    health = await ingest.pool.fetchrow("SELECT * FROM subscription_health WHERE subscription_id = $1", UUID(made.id))
    assert health
    assert (health["openings"], health["probe_at"], health["failing_since"]) == (0, None, None)


@pytest.mark.parametrize(
    "changed",
    [
        "https://other.example/hook",
        "https://receiver.example:8443/hook",
        "http://receiver.example/hook",
        "https://receiver.example/repaired",
        "https://receiver.example/hook?token=repaired",
    ],
)
async def test_changed_target_begins_with_a_closed_breaker_and_no_failures(ingest: Ingest, changed: str) -> None:
    made = await ingest.create("https://receiver.example/hook")
    await fail(ingest, made.id, "open")
    assert (await ingest.update(made.id, changed)).status.breaker == pb.Breaker(state=pb.BREAKER_STATE_CLOSED)
    assert (await ingest.get(made.id)).status.breaker == pb.Breaker(state=pb.BREAKER_STATE_CLOSED)
    assert (await row(ingest, made.id))["endpoint_version"] == 2


@pytest.mark.parametrize(
    "spelled",
    ["https://receiver.example/hook", "HTTPS://Receiver.Example:443/hook", "https://receiver.example/hook#part"],
)
async def test_the_same_target_keeps_its_breaker_however_it_is_spelled(ingest: Ingest, spelled: str) -> None:
    made = await ingest.create("https://receiver.example/hook")
    await fail(ingest, made.id, "open")
    updated = await ingest.update(made.id, spelled, description="another")
    assert (updated.status.breaker.state, updated.status.breaker.consecutive_failures) == (pb.BREAKER_STATE_OPEN, 17)
    assert (await row(ingest, made.id))["endpoint_version"] == 1


@pytest.mark.parametrize("verb", ["Enable", "Resume"])
async def test_a_call_that_changes_nothing_leaves_the_breaker_alone(ingest: Ingest, verb: str) -> None:
    made = await ingest.create()
    await fail(ingest, made.id, "open")
    assert (await change(ingest, verb, made.id)).status.breaker.state == pb.BREAKER_STATE_OPEN


# -- fields --


async def test_controls_are_returned_as_set_and_reset_by_an_update(ingest: Ingest) -> None:
    asked: dict[str, Any] = {
        "keep_when_disabled": False,
        "rate_limit_per_second": 0.5,
        "rate_limit_burst": 3,
        "timeout_seconds": 2.5,
        "retry_policy": pb.RetryPolicy(delays_seconds=[1, 0.5]),
    }
    plain = await ingest.create()
    for answer in (await ingest.create(**asked), await ingest.update(plain.id, **asked)):
        assert {name: getattr(answer.spec, name) for name in asked} == asked
        assert answer == await ingest.get(answer.id)
        assert answer in (await ingest.page()).subscriptions
        back = await ingest.update(answer.id)
        assert back.spec.keep_when_disabled
        assert {"rate_limit_per_second", "rate_limit_burst", "timeout_seconds", "retry_policy"}.isdisjoint(
            field.name for field, _ in back.ListFields()
        )


async def test_a_retry_policy_is_answered_whole(ingest: Ingest) -> None:
    answers = [
        (await ingest.create(retry_policy=policy)).spec.retry_policy
        for policy in (pb.RetryPolicy(limit=0), pb.RetryPolicy(), pb.RetryPolicy(name="standard-webhooks"))
    ]
    assert answers == [
        pb.RetryPolicy(base_seconds=5, factor=2, cap_seconds=3600, limit=0),
        pb.RetryPolicy(base_seconds=5, factor=2, cap_seconds=3600, limit=5),
        pb.RetryPolicy(name="standard-webhooks"),
    ]


async def test_the_effective_timeout_is_its_own_or_the_default_and_none_for_consumers_that_pull(ingest: Ingest) -> None:
    default = IngestSettings().delivery_timeout_seconds
    made = await ingest.create()
    assert made.status.effective_timeout_seconds == default
    changed = await ingest.update(made.id, timeout_seconds=2.5)
    assert changed.status.effective_timeout_seconds == 2.5
    assert (await ingest.update(made.id, timeout_seconds=None)).status.effective_timeout_seconds == default
    pulled = await ingest.create(target_url="", destination=pb.DESTINATION_PULL)
    assert not pulled.status.HasField("effective_timeout_seconds")


async def test_the_effective_retry_policy_is_returned_for_every_kind(ingest: Ingest) -> None:
    default = pb.RetryPolicy(base_seconds=5, factor=2, cap_seconds=3600, limit=5)
    asked = {
        pb.RetryPolicy(delays_seconds=[1, 60]).SerializeToString(): pb.RetryPolicy(delays_seconds=[1, 60]),
        pb.RetryPolicy(limit=2).SerializeToString(): pb.RetryPolicy(
            base_seconds=5, factor=2, cap_seconds=3600, limit=2
        ),
        pb.RetryPolicy(name="standard-webhooks").SerializeToString(): pb.RetryPolicy(
            delays_seconds=[5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
        ),
    }
    assert (await ingest.create()).status.effective_retry_policy == default
    for policy, expected in asked.items():
        made = await ingest.create(retry_policy=pb.RetryPolicy.FromString(policy))
        assert made.status.effective_retry_policy == expected
        assert (await ingest.get(made.id)).status.effective_retry_policy == expected
        assert (await ingest.update(made.id)).status.effective_retry_policy == default


async def test_a_retry_policy_is_stored_as_a_document(ingest: Ingest) -> None:
    made = await ingest.create(retry_policy=pb.RetryPolicy(delays_seconds=[1e9 / 2**12, 0.001]))
    assert json.loads((await row(ingest, made.id))["retry_policy"]) == {"delays_seconds": [1e9 / 2**12, 0.001]}
    assert await ingest.get(made.id) == made


# One of each kind: tests/ingest/subscriptions/test_record.py and tests/domain/test_retry_policy.py test the others.
BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"rate_limit_per_second": float("nan")}, ["rate_limit_per_second"]),
    ({"rate_limit_per_second": 1, "rate_limit_burst": -(2**31)}, ["rate_limit_burst"]),
    ({"retry_policy": pb.RetryPolicy(limit=2**31 - 1)}, ["retry_policy.limit"]),
    ({"retry_policy": pb.RetryPolicy(delays_seconds=[1] * 10_000)}, ["retry_policy.delays_seconds"]),
    (
        {"target_url": "x", "timeout_seconds": 99, "retry_policy": pb.RetryPolicy(factor=0)},
        ["target_url", "timeout_seconds", "retry_policy.factor"],
    ),
]


@pytest.mark.parametrize(("asked", "at_fault"), BAD, ids=lambda value: str(value)[:40])
async def test_invalid_fields_are_rejected_by_name_and_change_nothing(
    ingest: Ingest, asked: dict[str, Any], at_fault: list[str]
) -> None:
    made = await ingest.create()
    for call in (ingest.create(**asked), ingest.update(made.id, **asked)):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == at_fault
    assert list((await ingest.page()).subscriptions) == [made]


# -- events --


async def both_ways(ingest: Ingest, subscription_id: str) -> list[ingest_pb2.Accepted]:
    """Send an event to the subscription, and one to all that match it."""
    return [await ingest.send(subscription_id), await ingest.send(event_type="t")]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_disabled_subscription_takes_events_if_it_keeps_them_from_the_very_next_one_on(
    ingest: Ingest, *, keep: bool
) -> None:
    made = await ingest.create(keep_when_disabled=keep)
    for _ in range(3):
        assert [sent.deliveries for sent in await both_ways(ingest, made.id)] == [1, 1]
        await change(ingest, "Disable", made.id)
        while_disabled = await both_ways(ingest, made.id)
        assert [sent.deliveries for sent in while_disabled] == [int(keep)] * 2
        expected = ingest_pb2.INGEST_STATUS_PENDING if keep else ingest_pb2.INGEST_STATUS_FILTERED
        assert {sent.status for sent in while_disabled} == {expected}
        await change(ingest, "Enable", made.id)


async def test_an_update_of_a_disabled_one_decides_about_the_next_event(ingest: Ingest) -> None:
    made = await made_in(ingest, "disabled")
    for keep in (False, True, False):
        await ingest.update(made.id, keep_when_disabled=keep)
        assert [sent.deliveries for sent in await both_ways(ingest, made.id)] == [int(keep)] * 2


async def test_a_paused_subscription_accepts_events_with_any_keep_when_disabled(ingest: Ingest) -> None:
    made = await made_in(ingest, "paused", keep_when_disabled=False)
    assert [sent.deliveries for sent in await both_ways(ingest, made.id)] == [1, 1]


@pytest.mark.parametrize(
    ("status", "rate", "steady"),
    [
        ("active", None, True),
        ("active", 100.0, False),
        ("paused", None, False),
        ("disabled", None, False),
    ],
)
async def test_a_delivery_that_nothing_delays_is_rung_and_the_rest_is_left_to_the_dispatcher(
    alone: Ingest, status: str, rate: float | None, *, steady: bool
) -> None:
    made = await made_in(alone, status, rate_limit_per_second=rate)
    keyed = await alone.send(made.id, idempotency_key="k")
    for sent in (*await both_ways(alone, made.id), keyed):
        (delivery,) = await alone.deliveries(sent.event_id)
        ahead = (delivery["due_at"] - delivery["created_at"]).total_seconds()
        assert ahead == (RUNG_SECONDS if steady else 0)


async def test_fan_out_rings_for_some_subscriptions_and_leaves_others_to_the_dispatcher(alone: Ingest) -> None:
    steady = await alone.create()
    limited = await alone.create(rate_limit_per_second=1)
    paused = await made_in(alone, "paused")
    await made_in(alone, "disabled", keep_when_disabled=False)
    sent = await alone.send(event_type="t")
    ahead = {
        str(delivery["subscription_id"]): (delivery["due_at"] - delivery["created_at"]).total_seconds()
        for delivery in await alone.deliveries(sent.event_id)
    }
    assert ahead == {steady.id: RUNG_SECONDS, limited.id: 0, paused.id: 0}
