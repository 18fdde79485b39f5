"""Name and metadata of a subscription: unique names, filters of lists, and what an update makes of them."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.ingest.subscriptions import store
from services.platform import errors, ids
from tests.ingest.conftest import Ingest, fields, refused

SALES = {"team": "sales"}


@pytest.fixture
async def own(ingest: Ingest) -> Ingest:
    """A new tenant."""
    return await ingest.of(f"t{ids.new().hex}")


async def pages(ingest: Ingest, **labels: Any) -> list[list[str]]:
    """Return the ids of each page of at most two."""
    listed, token = [], ""
    while True:
        page = await ingest.page(2, token, **labels)
        listed.append([one.id for one in page.subscriptions])
        token = page.next_page_token
        if not token:
            return listed


async def found(ingest: Ingest, **labels: Any) -> list[str]:
    """Return the ids of all pages."""
    return [one for page in await pages(ingest, **labels) for one in page]


async def test_a_name_is_unique_among_the_live_subscriptions_of_a_tenant(ingest: Ingest, own: Ingest) -> None:
    made = await own.create(name="shop")
    assert made.spec.name == (await own.get(made.id)).spec.name == "shop"
    other = await own.create()
    patch = own.change(other.id, update_mask=FieldMask(paths=["name"]), name="shop")
    for call in (
        own.create(name="shop"),
        own.create(name="shop", idempotency_key="k"),
        own.update(other.id, name="shop"),
        own.subscriptions.UpdateSubscription(patch),
    ):
        error = await refused(call)
        assert (type(error), error.reason) == (errors.Conflict, "NAME_TAKEN")
    assert not (await own.get(other.id)).spec.HasField("name")
    assert (await own.update(made.id, name="shop", description="the same name")).spec.name == "shop"
    elsewhere = await ingest.of(f"t{ids.new().hex}")
    assert (await elsewhere.create(name="shop")).spec.name == "shop"
    await own.delete(made.id)
    assert (await own.update(other.id, name="shop")).spec.name == "shop"


async def test_of_creations_with_one_name_at_once_one_succeeds(own: Ingest) -> None:
    answers = await asyncio.gather(*(own.create(name="shop") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, pb.Subscription) for answer in answers) == 1
    assert sum(isinstance(answer, grpc.aio.AioRpcError) for answer in answers) == 4
    assert len(await found(own)) == 1


async def test_a_repeated_creation_with_a_name_is_answered_as_the_first(own: Ingest) -> None:
    made = await asyncio.gather(*(own.create(name="shop", metadata=SALES, idempotency_key="k") for _ in range(4)))
    assert {one.id for one in made} == {made[0].id}
    error = await refused(own.create(name="shop", metadata={"team": "other"}, idempotency_key="k"))
    assert error.reason == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("labels", "at_fault"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "Shop"}, ["name"]),
        ({"name": "n" * 65}, ["name"]),
        ({"name": "a\n"}, ["name"]),
        ({"metadata": {"": "v"}}, ["metadata"]),
        ({"metadata": {"a b": "v"}}, ["metadata"]),
        ({"metadata": {"k" * 65: "v"}}, ["metadata"]),
        ({"metadata": {"k": ""}}, ["metadata.k"]),
        ({"metadata": {"k": "v" * 513}}, ["metadata.k"]),
        ({"metadata": {"k": "a\x00"}}, ["metadata.k"]),
        ({"metadata": {str(number): "v" for number in range(21)}}, ["metadata"]),
        ({"name": "!", "metadata": {"k": ""}}, ["metadata.k", "name"]),
    ],
    ids=str,
)
async def test_wrong_labels_are_named(ingest: Ingest, labels: dict[str, Any], at_fault: list[str]) -> None:
    before = await ingest.count("subscriptions")
    assert sorted(fields(await refused(ingest.create(**labels)))) == at_fault
    assert await ingest.count("subscriptions") == before


async def test_labels_at_their_bounds_are_kept_exactly(ingest: Ingest) -> None:
    name = f"{ids.new().hex}{'.' * 32}"
    metadata = {f"{number:02}{'k' * 62}": "\u2603\U0001f600" * 256 for number in range(20)}
    made = await ingest.create(name=name, metadata=metadata)
    for one in (made, await ingest.get(made.id)):
        assert (one.spec.name, dict(one.spec.metadata)) == (name, metadata)


async def test_a_list_is_filtered_by_name(ingest: Ingest, own: Ingest) -> None:
    made = await own.create(name="shop", metadata=SALES)
    await own.create(name="shop-2")
    assert await found(own, name="shop") == await found(own, name="shop", metadata=SALES) == [made.id]
    assert await found(own, name="shop", metadata={"team": "other"}) == await found(own, name="none") == []
    elsewhere = await ingest.of(f"t{ids.new().hex}")
    assert await found(elsewhere, name="shop") == []
    await own.delete(made.id)
    assert await found(own, name="shop") == []


async def test_a_list_is_filtered_by_all_pairs_of_metadata(ingest: Ingest, own: Ingest) -> None:
    sales = [await own.create(metadata=SALES | {"region": f"r{number % 2}"}) for number in range(5)]
    await own.create(metadata={"team": "support", "region": "r0"})
    await own.create()
    newest_first = [one.id for one in reversed(sales)]
    assert await found(own, metadata=SALES) == newest_first
    assert await found(own, metadata=SALES | {"region": "r0"}) == newest_first[::2]
    assert await found(own, metadata={"team": "sale"}) == await found(own, metadata={"sales": "team"}) == []
    elsewhere = await ingest.of(f"t{ids.new().hex}")
    assert await found(elsewhere, metadata=SALES) == []
    await own.delete(sales[0].id)
    assert await found(own, metadata=SALES) == newest_first[:-1]


async def test_a_page_looks_at_a_bounded_number_of_subscriptions_and_the_pages_miss_none(
    own: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOOKED_AT", 3)
    oldest = (await own.create(metadata=SALES)).id
    for _ in range(7):
        await own.create()
    newest = [(await own.create(metadata=SALES)).id for _ in range(3)]
    read = await pages(own, metadata=SALES)
    assert [one for page in read for one in page] == [*reversed(newest), oldest]
    assert [] in read, "three that do not match were looked at for one page"


async def test_filters_of_all_tenants_are_refused_and_wrong_ones_named(ingest: Ingest) -> None:
    cases: list[tuple[dict[str, Any], str]] = [({"name": "a"}, "name"), ({"metadata": SALES}, "metadata")]
    for labels, field in cases:
        every = pb.ListSubscriptionsRequest(tenant_id="*", **labels)
        assert fields(await refused(ingest.subscriptions.ListSubscriptions(every))) == [field]
    assert fields(await refused(ingest.page(name="A"))) == ["name"]
    assert fields(await refused(ingest.page(metadata={"k": ""}))) == ["metadata.k"]


async def test_an_update_replaces_metadata_and_a_merge_changes_the_named_pairs(own: Ingest) -> None:
    made = await own.create(metadata={"a": "1", "b": "2", "c": "3"})
    mask = FieldMask(paths=["metadata"])
    merge = own.change(made.id, update_mask=mask, merge_metadata=True, metadata={"a": "", "b": "new", "d": "4"})
    merged = (await own.subscriptions.UpdateSubscription(merge)).subscription
    assert dict(merged.spec.metadata) == {"b": "new", "c": "3", "d": "4"}
    too_many = own.change(
        made.id, update_mask=mask, merge_metadata=True, metadata={str(number): "v" for number in range(18)}
    )
    assert fields(await refused(own.subscriptions.UpdateSubscription(too_many))) == ["metadata"]
    replace = own.change(made.id, update_mask=mask, metadata={"e": "5"})
    replaced = (await own.subscriptions.UpdateSubscription(replace)).subscription
    assert dict(replaced.spec.metadata) == {"e": "5"}
    assert dict((await own.update(made.id)).spec.metadata) == {}
