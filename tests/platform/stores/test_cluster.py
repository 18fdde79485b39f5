"""Redis as a cluster: which node is asked, and what happens when our slot moves."""

import contextlib
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from dev.harness.redis import cluster
from dev.harness.redis.primaries import KEY, again, settings
from dev.harness.waiting import wait_until
from services.delivery.dispatcher import limiter
from services.domain.doorbell import STREAMS
from services.domain.gates import CLOSED
from services.domain.notices import subscription_changes
from services.platform.stores import redis


@pytest.fixture
def nodes() -> Iterator[cluster.Cluster]:
    """Three primaries and a replica."""
    with cluster.running() as running:
        yield running


def test_keys_are_all_in_one_slot() -> None:
    names = [*STREAMS, CLOSED, limiter.KEY, subscription_changes.KEY]
    assert {key_slot(f"{name}x".encode()) for name in names} == {cluster.SLOT}


async def test_a_node_that_is_dead_is_passed_over(nodes: cluster.Cluster) -> None:
    away = nodes.url.replace("@", "@127.0.0.1:1,")
    async with redis.client(settings(away)) as client:
        await client.set(KEY, "value")


async def test_writes_go_to_the_new_node_after_the_slot_moves(nodes: cluster.Cluster) -> None:
    async with redis.client(settings(nodes.url)) as client:
        await again(client)
        new = nodes.move()
        await again(client)
    with contextlib.closing(nodes.server(new)) as direct:
        assert direct.get(KEY) == b"value"


async def test_a_wrong_password_is_reported_without_showing_it(nodes: cluster.Cluster) -> None:
    async with redis.client(settings(nodes.url.replace(nodes.password, "wrong-one"))) as client:
        with pytest.raises(redis.REDIS_AWAY) as refused:
            await client.set(KEY, "value")
    assert "wrong-one" not in repr(refused.value)


async def test_a_server_that_is_not_a_cluster_counts_as_unavailable(redis_url: str) -> None:
    async with redis.client(settings(redis_url.replace("redis://", "redis+cluster://").rsplit("/", 1)[0])) as client:
        with pytest.raises(redis.REDIS_AWAY, match="cluster support disabled"):
            await client.set(KEY, "value")


async def test_a_client_that_is_closed_leaves_no_connection_to_a_node(nodes: cluster.Cluster) -> None:
    def connections() -> int:
        found = 0
        for node in nodes.nodes:
            with contextlib.closing(nodes.server(node)) as direct:
                # Do not count the connections of this function.
                found += sum(each["cmd"] != "client|list" for each in direct.client_list())
        return found

    before = connections()
    async with redis.client(settings(nodes.url)) as client:
        await client.set(KEY, "value")
        # To the node that was asked, and to the node that has our slot.
        await wait_until(lambda: connections() == before + 2, what="two connections")
    await wait_until(lambda: connections() == before, what="no connection of ours")
