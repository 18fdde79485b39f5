"""What is made by SQL for searches among very many deliveries, and those searches: dev/scale."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from dev.harness.stores import Stores
from dev.scale import rows, searches
from dev.scale.rows import Made
from protos.webhook.v1 import deliveries_pb2 as pb
from services.gateway.resources.deliveries import DeliveryFilter
from services.platform import ids
from tests.delivery.conftest import Shared
from tests.delivery.world import opened

NUMBER = 4_000
# Searches that find something only among many more.
RARE = {
    "a rare type",
    "three places and a rare type",
    "in flight",
    "failed ones of a rare type",
    "a tag of many events",
    "failed ones of a tag of many events",
    "unfinished ones of many tags",
    "many keys of failed ones",
}


@dataclass(frozen=True, kw_only=True)
class Few:
    """Few deliveries, made like the many."""

    shared: Shared
    made: Made


@pytest.fixture(scope="module")
async def few(stores: Stores) -> AsyncIterator[Few]:
    with stores.database() as database_url:
        async with opened(database_url, stores.redis_url()) as world, world.delivery() as client:
            async with world.pool.acquire() as connection:
                made = await rows.make(connection, NUMBER, target_url="http://127.0.0.1:9/", say=lambda _: None)
            yield Few(shared=Shared(world=world, client=client), made=made)


async def test_deliveries_are_made_as_the_services_write_them(few: Few) -> None:
    world = few.shared.world
    await world.agrees()
    found = await world.pool.fetch(
        "SELECT d.id, d.event_id, d.tenant_id, s.tenant_id AS owner FROM webhook_deliveries d"
        " JOIN webhook_events e ON e.id = d.event_id JOIN subscriptions s ON s.id = d.subscription_id"
    )
    assert len(found) == NUMBER
    for row in found:
        least, most = ids.delivery_range(row["event_id"])
        assert least <= row["id"] <= most
        assert row["tenant_id"] == row["owner"]
        assert row["id"].version == 7
    unlisted = await world.pool.fetchval(
        "SELECT count(*) FROM webhook_deliveries d FULL JOIN unsuccessful_deliveries u"
        " ON u.id = d.id AND u.status = d.status AND u.subscription_id = d.subscription_id"
        " AND u.attempt_count = d.attempt_count"
        " WHERE d.status IN ('failed', 'cancelled') AND u.id IS NULL OR d.id IS NULL"
    )
    assert unlisted == 0
    moments = [ids.moment_of(row["id"]) for row in found]
    assert few.made.at(0) <= min(moments)
    assert max(moments) <= few.made.at(1)


@pytest.mark.parametrize("name", searches.DELIVERIES)
async def test_a_search_finds_something_unless_its_name_says_otherwise(few: Few, name: str) -> None:
    parameters = searches.DELIVERIES[name](few.made)
    query = DeliveryFilter.model_validate(single(parameters))
    request = pb.SearchDeliveriesRequest(filter=query.message(), ascending=query.order == "oldest", page_size=200)
    found = 0
    while True:
        answer = await few.shared.client.SearchDeliveries(request)
        found += len(answer.deliveries)
        request.page_token = answer.next_page_token
        if not answer.next_page_token:
            break
    if name not in RARE:
        assert bool(found) is ("none" not in name)


def test_there_are_searches_enough() -> None:
    assert len(searches.DELIVERIES) >= 30
    assert len({repr(of(MADE)) for of in searches.DELIVERIES.values()}) == len(searches.DELIVERIES)


MADE = Made(number=NUMBER, from_time=ids.moment_of(ids.new()), subscriptions=[ids.new() for _ in range(60)])


def single(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a query is read: one value where only one can be."""
    return {
        name: values[0] if name in {"order", "from", "to", "min_attempts"} else list(values)
        for name, values in parameters.items()
    }
