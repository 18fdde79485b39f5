"""Partial updates, conditional updates, and replacements that never widen anything silently."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2 as pb
from tests.ingest.conftest import URL, Ingest, fields, refused

OTHER_URL = "https://other.example/hook"


async def patch(ingest: Ingest, subscription_id: str, *paths: str, **changes: Any) -> pb.Subscription:
    request = ingest.change(subscription_id, update_mask=FieldMask(paths=paths), **changes)
    return (await ingest.subscriptions.UpdateSubscription(request)).subscription


async def headers(ingest: Ingest, subscription_id: str) -> dict[str, str]:
    row = await ingest.pool.fetchrow(
        "SELECT id, sealed_headers FROM subscriptions WHERE id = $1", UUID(subscription_id)
    )
    assert row
    return dict(vault().headers(row["id"], row["sealed_headers"]))


async def full(ingest: Ingest) -> pb.Subscription:
    return await ingest.create(
        secret_key="secret of 24 characters.",
        event_types=["order.*"],
        description="orders",
        name="orders",
        metadata={"team": "sales"},
        keep_when_disabled=False,
        rate_limit_per_second=5,
        rate_limit_burst=7,
        timeout_seconds=9,
        retry_policy=pb.RetryPolicy(base_seconds=2, factor=3, cap_seconds=60, limit=4),
        headers=pb.CustomHeaders(values={"Authorization": "one", "X-Team": "two"}),
        verification=pb.VERIFICATION_GITHUB,
        verification_secrets=pb.VerificationSecrets(values=["verification secret of ours"]),
    )


def told(subscription: pb.Subscription) -> pb.Subscription:
    """Return the subscription without the fields that every change sets."""
    copy = pb.Subscription()
    copy.CopyFrom(subscription)
    copy.status.ClearField("updated_at")
    copy.status.ClearField("etag")
    for derived in ("effective_retry_policy", "effective_timeout_seconds"):
        copy.status.ClearField(derived)
    return copy


async def test_a_patch_changes_the_named_field_and_no_other(ingest: Ingest) -> None:
    made = await full(ingest)
    patched = await patch(ingest, made.id, "description", description="new")
    made.spec.description = "new"
    assert told(patched) == told(made)
    assert await headers(ingest, made.id) == {"Authorization": "one", "X-Team": "two"}


@pytest.mark.parametrize(
    ("path", "name", "default"),
    [
        ("event_types", "event_types", []),
        ("description", "description", ""),
        ("name", "name", ""),
        ("metadata", "metadata", {}),
        ("keep_when_disabled", "keep_when_disabled", True),
        ("timeout_seconds", "timeout_seconds", 0),
        ("retry_policy", "retry_policy", pb.RetryPolicy()),
        ("headers", "header_names", []),
        ("verification_secrets", "has_verification_secret", False),
        ("secret_key", "signature_scheme", pb.SIGNATURE_SCHEME_NONE),
        ("verification", "verification", pb.VERIFICATION_AUTO),
    ],
)
async def test_a_patch_that_names_a_field_without_a_value_resets_it(
    ingest: Ingest, path: str, name: str, default: object
) -> None:
    made = await full(ingest)
    patched = await patch(ingest, made.id, path)
    assert [getattr(part, name) for part in (patched.spec, patched.status) if hasattr(part, name)] == [default]
    changed = {name} | ({"has_secret"} if path == "secret_key" else set())
    for one in (made, patched):
        for field in changed:
            part: Any = one.spec if hasattr(one.spec, field) else one.status
            part.ClearField(field)
    assert told(patched) == told(made)


async def test_a_patch_without_paths_changes_nothing(ingest: Ingest) -> None:
    made = await full(ingest)
    assert await patch(ingest, made.id) == made


async def test_a_patch_of_a_retry_policy_changes_the_named_part(ingest: Ingest) -> None:
    made = await full(ingest)
    patched = await patch(ingest, made.id, "retry_policy.limit", retry_policy=pb.RetryPolicy(limit=1))
    assert patched.spec.retry_policy == pb.RetryPolicy(base_seconds=2, factor=3, cap_seconds=60, limit=1)
    none = await ingest.create()
    filled = await patch(ingest, none.id, "retry_policy.limit", retry_policy=pb.RetryPolicy(limit=1))
    assert filled.spec.HasField("retry_policy")
    mixed = patch(ingest, made.id, "retry_policy.delays_seconds", retry_policy=pb.RetryPolicy(delays_seconds=[1]))
    error = await refused(mixed)
    assert fields(error)[0].startswith("retry_policy")
    assert "null removes stored fields of another kind" in error.message
    other = [f"retry_policy.{name}" for name in ("base_seconds", "factor", "cap_seconds", "limit", "delays_seconds")]
    changed = await patch(ingest, made.id, *other, retry_policy=pb.RetryPolicy(delays_seconds=[1]))
    assert changed.spec.retry_policy == pb.RetryPolicy(delays_seconds=[1])


async def test_a_patch_merges_headers_by_name_in_any_case(ingest: Ingest) -> None:
    made = await full(ingest)
    changes = pb.CustomHeaders(values={"authorization": "new", "X-Team": "", "X-More": "three"}, merge=True)
    patched = await patch(ingest, made.id, "headers", headers=changes)
    assert list(patched.status.header_names) == ["authorization", "X-More"]
    assert await headers(ingest, made.id) == {"authorization": "new", "X-More": "three"}
    too_many = pb.CustomHeaders(values={f"X-{i}": "v" for i in range(19)}, merge=True)
    assert fields(await refused(patch(ingest, made.id, "headers", headers=too_many))) == ["headers"]


async def test_stored_credentials_do_not_follow_a_patch_to_another_host(ingest: Ingest) -> None:
    made = await full(ingest)
    for paths, merged in ((["target_url"], {}), (["target_url", "headers"], {"X-Team": ""})):
        moved = patch(
            ingest, made.id, *paths, target_url=OTHER_URL, headers=pb.CustomHeaders(values=merged, merge=True)
        )
        assert fields(await refused(moved)) == ["headers"]
    every = pb.CustomHeaders(values={"authorization": "new", "X-Team": ""}, merge=True)
    moved_all = await patch(ingest, made.id, "target_url", "headers", target_url=OTHER_URL, headers=every)
    assert (moved_all.spec.target_url, list(moved_all.status.header_names)) == (OTHER_URL, ["authorization"])


@pytest.mark.parametrize("path", ["id", "tenant_id", "nope", "headers.values", "etags", "retry_policy.nope", "", "a.b"])
async def test_a_mask_that_names_what_cannot_be_updated_is_refused(ingest: Ingest, path: str) -> None:
    made = await full(ingest)
    assert fields(await refused(patch(ingest, made.id, "description", path, description="new"))) == ["update_mask"]
    assert await ingest.get(made.id) == made


async def test_a_mask_is_not_longer_than_it_can_have_fields(ingest: Ingest) -> None:
    made = await ingest.create()
    paths = ["description"] * 101
    assert fields(await refused(patch(ingest, made.id, *paths, description="new"))) == ["update_mask"]
    assert (await patch(ingest, made.id, *paths[1:], description="new")).spec.description == "new"


async def test_patches_of_different_fields_at_the_same_time_are_both_kept(ingest: Ingest) -> None:
    made = await full(ingest)
    await asyncio.gather(
        patch(ingest, made.id, "description", description="new"),
        patch(ingest, made.id, "timeout_seconds", timeout_seconds=3),
        patch(ingest, made.id, "event_types", event_types=["a"]),
    )
    found = await ingest.get(made.id)
    assert (found.spec.description, found.spec.timeout_seconds, list(found.spec.event_types)) == ("new", 3, ["a"])


# -- etags --


async def test_etag_changes_with_every_change_and_not_with_a_read(ingest: Ingest) -> None:
    made = await ingest.create()
    assert (await ingest.get(made.id)).status.etag == made.status.etag
    assert (await patch(ingest, made.id, "description", description="new")).status.etag != made.status.etag


async def test_a_change_with_an_old_etag_is_refused_and_changes_nothing(ingest: Ingest) -> None:
    made = await full(ingest)
    now = await patch(ingest, made.id, "description", description="by somebody else")
    delete = pb.DeleteSubscriptionRequest(tenant_id=ingest.tenant_id, subscription_id=made.id, etags=[made.status.etag])
    for call in (
        patch(ingest, made.id, "description", description="mine", etags=[made.status.etag]),
        patch(ingest, made.id, etags=[made.status.etag]),
        ingest.update(made.id, all_event_types=True, etags=[made.status.etag]),
        ingest.subscriptions.DeleteSubscription(delete),
    ):
        assert (await refused(call)).reason == "ETAG_MISMATCH"
    assert await ingest.get(made.id) == now
    mine = await patch(ingest, made.id, "description", description="mine", etags=["0", now.status.etag])
    assert mine.spec.description == "mine"


async def test_changes_with_the_same_etag_have_one_winner(ingest: Ingest) -> None:
    made = await full(ingest)
    calls = [patch(ingest, made.id, "description", description=str(i), etags=[made.status.etag]) for i in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    (won,) = [answer for answer in answers if isinstance(answer, pb.Subscription)]
    assert await ingest.get(made.id) == won


# -- event types --


async def test_a_replacement_without_types_never_widens_a_subscription(ingest: Ingest) -> None:
    made = await full(ingest)
    assert fields(await refused(ingest.update(made.id))) == ["event_types"]
    assert list((await ingest.get(made.id)).spec.event_types) == ["order.*"]
    assert list((await ingest.update(made.id, event_types=["a"])).spec.event_types) == ["a"]
    assert list((await ingest.update(made.id, all_event_types=True)).spec.event_types) == []
    assert list((await ingest.update(made.id, target_url=URL)).spec.event_types) == []
