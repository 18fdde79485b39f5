"""Ingest tokens: which senders they let in, and which not."""

from uuid import UUID

import pytest

from protos.webhook.v1 import subscriptions_pb2
from services.platform import errors
from tests.ingest.conftest import Ingest, fields, refused, serving

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


async def token(ingest: Ingest, subscription_id: str) -> str:
    request = subscriptions_pb2.CreateIngestTokenRequest(tenant_id=ingest.tenant_id, subscription_id=subscription_id)
    return (await ingest.subscriptions.CreateIngestToken(request)).token


async def remove(ingest: Ingest, subscription_id: str) -> None:
    request = subscriptions_pb2.DeleteIngestTokenRequest(tenant_id=ingest.tenant_id, subscription_id=subscription_id)
    await ingest.subscriptions.DeleteIngestToken(request)


async def test_a_token_lets_a_webhook_in_for_the_tenant_of_its_subscription(ingest: Ingest) -> None:
    made = await ingest.create()
    assert not made.status.has_ingest_token
    given = await token(ingest, made.id)
    assert (await ingest.get(made.id)).status.has_ingest_token
    for stated in ("", "default"):
        accepted = await ingest.send(made.id, tenant_id=stated, ingest_token=given)
        assert (await ingest.event(accepted.event_id)).tenant_id == ingest.tenant_id
        (delivery,) = await ingest.deliveries(accepted.event_id)
        assert delivery["tenant_id"] == ingest.tenant_id


async def test_wrong_token_gets_the_response_for_an_unknown_subscription(ingest: Ingest) -> None:
    with_token, without = await ingest.create(), await ingest.create()
    given, neighbours = await token(ingest, with_token.id), await token(ingest, (await ingest.create()).id)
    unknown = await refused(ingest.send(UNKNOWN, ingest_token=given))
    wrong = [given[:-1], given + "a", given.upper(), neighbours, "whi_", " ", "\x00", "☃", "a" * 8000]
    for subscription_id, tokens in ((with_token.id, wrong), (without.id, [given, *wrong])):
        for text in tokens:
            error = await refused(ingest.send(subscription_id, ingest_token=text))
            assert type(error) is type(unknown) is errors.NotFound
            assert error.reason == unknown.reason
            assert error.message.replace(subscription_id, UNKNOWN) == unknown.message
    assert await ingest.count() == 0


async def test_a_new_token_takes_the_place_of_the_old_and_a_removed_one_is_none(ingest: Ingest) -> None:
    made = await ingest.create()
    old = await token(ingest, made.id)
    new = await token(ingest, made.id)
    assert isinstance(await refused(ingest.send(made.id, ingest_token=old)), errors.NotFound)
    await ingest.send(made.id, ingest_token=new)
    await remove(ingest, made.id)
    await remove(ingest, made.id)
    assert isinstance(await refused(ingest.send(made.id, ingest_token=new)), errors.NotFound)
    assert not (await ingest.get(made.id)).status.has_ingest_token


async def test_an_update_keeps_the_token(ingest: Ingest) -> None:
    made = await ingest.create()
    given = await token(ingest, made.id)
    assert (await ingest.update(made.id)).status.has_ingest_token
    await ingest.send(made.id, ingest_token=given)


async def test_token_is_stored_only_as_a_hash(ingest: Ingest) -> None:
    made = await ingest.create()
    given = await token(ingest, made.id)
    row = await ingest.pool.fetchrow("SELECT s::text AS text, * FROM subscriptions s WHERE id = $1", UUID(made.id))
    assert row
    assert len(row["ingest_token_hash"]) == 32
    assert given not in row["text"]


async def test_a_token_does_not_make_up_for_a_wrong_signature(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s")
    item = ingest.item(made.id, ingest_token=await token(ingest, made.id))
    item.hub_signature.signature = "sha256=00"
    assert isinstance(await refused(ingest.send_item(item)), errors.Unauthenticated)


async def test_a_token_is_for_one_subscription_and_not_for_a_fan_out(ingest: Ingest) -> None:
    given = await token(ingest, (await ingest.create()).id)
    assert fields(await refused(ingest.send(event_type="a", ingest_token=given))) == ["ingest_token"]


async def test_token_cannot_be_created_or_removed_by_another_tenant(ingest: Ingest) -> None:
    made = await ingest.create()
    given = await token(ingest, made.id)
    other = await ingest.of("another")
    for call in (token(other, made.id), remove(other, made.id)):
        assert isinstance(await refused(call), errors.NotFound)
    await ingest.send(made.id, ingest_token=given)


@pytest.mark.parametrize("subscription_id", ["", "no-uuid", UNKNOWN])
async def test_a_token_requires_a_subscription_that_exists(ingest: Ingest, subscription_id: str) -> None:
    expected = errors.NotFound if subscription_id == UNKNOWN else errors.InvalidArgument
    for call in (token(ingest, subscription_id), remove(ingest, subscription_id)):
        assert isinstance(await refused(call), expected)


async def test_a_server_learns_a_token_from_the_copy_that_another_left(database: str, redis_url: str) -> None:
    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        made = await one.create()
        await other.send(made.id)
        given = await token(one, made.id)
        await one.send(made.id, ingest_token=given)
        await other.send(made.id, ingest_token=given)
