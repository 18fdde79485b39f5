"""The cache of subscriptions: when a change becomes visible where, and the cost of lookups."""

import asyncio
import contextlib
import functools
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import grpc
import msgspec
import pytest
import redis.asyncio
import structlog

from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, vault
from dev.harness.network.proxy import Mode, Proxy, proxying
from dev.harness.waiting import PATIENCE_SECONDS, wait_until
from services.domain.deliveries import DUE, Destination
from services.domain.filters.expression import OnError
from services.domain.notices import subscription_changes
from services.domain.secrets.signatures import SignatureScheme
from services.domain.states import SubscriptionState
from services.ingest.subscriptions import cache as caches
from services.ingest.subscriptions import filters
from services.ingest.subscriptions.cache import _Level
from services.ingest.subscriptions.record import Draft, Kind, Subscription
from services.ingest.subscriptions.secrets import Verification
from services.ingest.subscriptions.store import SubscriptionStore
from services.platform import ids
from services.platform.auth import identity
from services.platform.process.lifecycle import Process
from services.platform.settings import RedisSettings
from services.platform.stores import redis as clients
from services.platform.stores import signals
from services.platform.stores.signals import Signals
from tests.ingest.conftest import URL, Breakable, Ingest, counted, draft, eventually, frozen, serving

# For a busy machine; a change that nobody tells of is seen after caches.LISTENING_TTL_SECONDS.
SEEN_WITHIN_SECONDS = 25.0


class Pair:
    """Two servers on the same stores."""

    def __init__(self, first: Ingest, second: Ingest, stores: Breakable) -> None:
        self.first = first
        self.second = second
        self.stores = stores

    async def warm(self, subscription_id: str) -> None:
        """Let both servers, and Redis, cache the subscription and the filters of its tenant."""

        async def in_redis() -> bool:
            async with redis.asyncio.Redis.from_url(self.stores.redis_url) as client:
                return bool(await client.exists(subscription_changes.KEY + subscription_id))

        for ingest in (self.first, self.second):
            await ingest.send(subscription_id)
            await ingest.send(event_type="warm")
        await eventually(in_redis, "a copy in Redis")

    async def forget(self, subscription_id: str) -> None:
        """Let both servers drop the subscription, as after a change."""
        async with redis.asyncio.Redis.from_url(self.stores.redis_url) as client:
            message = subscription_changes.message(UUID(subscription_id), "default", 2**40)
            await client.publish(signals.CHANNEL, _signal(message))

    async def reading(self, subscription_id: str) -> None:
        """Wait until both servers read copies from Redis; right after they start to listen, they do not."""

        async def reads(ingest: Ingest) -> bool:
            await self.forget(subscription_id)
            return "redis hit" in await _cost(ingest.send(subscription_id))

        for ingest in (self.first, self.second):
            await eventually(functools.partial(reads, ingest), "a server to read from Redis")


@pytest.fixture
async def pair(breakable: Breakable) -> AsyncIterator[Pair]:
    """Two servers on stores that a test may stop, which receive changes."""
    async with (
        serving(breakable.database_url, breakable.redis_url) as first,
        serving(breakable.database_url, breakable.redis_url) as second,
    ):
        await _listening(breakable, 2)
        yield Pair(first, second, breakable)


@contextlib.asynccontextmanager
async def _behind_networks(breakable: Breakable) -> AsyncIterator[tuple[Pair, tuple[Proxy, Proxy]]]:
    """The same, with a network between each server and Redis."""
    port = breakable.valkey.port
    async with proxying("near", target_port=port) as near, proxying("far", target_port=port) as far:
        urls = [breakable.redis_url.replace(f":{port}/", f":{proxy.port}/") for proxy in (near, far)]
        async with (
            serving(breakable.database_url, urls[0]) as first,
            serving(breakable.database_url, urls[1]) as second,
        ):
            await _listening(breakable, 2)
            yield Pair(first, second, breakable), (near, far)


async def _listening(breakable: Breakable, servers: int) -> None:
    """Wait until this many servers receive changes."""
    async with redis.asyncio.Redis.from_url(breakable.redis_url) as client:

        async def listening() -> bool:
            return dict(await client.pubsub_numsub(signals.CHANNEL))[signals.CHANNEL.encode()] == servers

        await eventually(listening, f"{servers} servers to listen")


def _signal(message: bytes) -> bytes:
    """Return a signal of another process about a subscription."""
    return Signals(cast("Any", None))._message(subscription_changes.CHANGED.encode(), message)


async def _copied_version(pair: Pair, subscription_id: str) -> bytes | None:
    """Return the version of the copy in Redis."""
    async with redis.asyncio.Redis.from_url(pair.stores.redis_url) as client:
        version: Any = await client.hget(subscription_changes.KEY + subscription_id, "version")
    return version if isinstance(version, bytes) else None


async def _wants(ingest: Ingest, subscription_id: str, event_type: str) -> bool:
    """Return whether this server would deliver an event of that type, in both ways."""
    one = await ingest.send(subscription_id, event_type=event_type)
    fan_out = await ingest.send(event_type=event_type)
    return one.deliveries == 1 and fan_out.deliveries == 1


async def _gone(ingest: Ingest, subscription_id: str) -> bool:
    try:
        await ingest.send(subscription_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


async def _seen(ingest: Ingest, subscription_id: str, event_type: str) -> None:
    await eventually(
        lambda: _wants(ingest, subscription_id, event_type), f"the wish for {event_type}", SEEN_WITHIN_SECONDS
    )


# -- changes --


async def test_a_server_sees_its_own_changes_at_once(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    for version in range(1, 20):
        assert await _wants(pair.first, made.id, f"t{version - 1}")
        await pair.first.update(made.id, event_types=[f"t{version}"])
        assert await _wants(pair.first, made.id, f"t{version}")
        assert not await _wants(pair.first, made.id, f"t{version - 1}")
    await pair.first.delete(made.id)
    assert await _gone(pair.first, made.id)


async def test_a_server_sees_its_own_changes_at_once_while_it_is_being_asked_all_the_time(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    stopping = asyncio.Event()

    async def ask() -> None:
        while not stopping.is_set():
            await pair.first.send(made.id)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    try:
        for version in range(1, 40):
            await pair.first.update(made.id, event_types=[f"t{version}"])
            accepted = await pair.first.send(made.id, event_type=f"t{version}")
            assert accepted.deliveries == 1, version
    finally:
        stopping.set()
        await asyncio.gather(*asking)


async def test_change_is_visible_on_another_server_soon(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    for version in range(1, 4):
        await pair.first.update(made.id, event_types=[f"t{version}"])
        await _seen(pair.second, made.id, f"t{version}")


async def test_new_subscription_is_visible_on_another_server_soon(pair: Pair) -> None:
    assert (await pair.second.send(event_type="t")).deliveries == 0
    made = await pair.first.create()
    await _seen(pair.second, made.id, "t")


async def test_deletion_is_visible_on_another_server_soon(pair: Pair) -> None:
    made = await pair.first.create()
    await pair.warm(made.id)
    await pair.first.delete(made.id)
    await eventually(lambda: _gone(pair.second, made.id), "the deletion", SEEN_WITHIN_SECONDS)
    assert (await pair.second.send(event_type="t")).deliveries == 0


async def test_unchanged_subscriptions_are_not_read_again_while_redis_is_down(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    pair.stores.valkey.kill()
    for ingest in (pair.first, pair.second):
        # Reads it once, after the loss of Redis was noticed.
        await eventually(functools.partial(_goes_on_costing_nothing, ingest, made.id), "look-ups in the process alone")
    await pair.first.update(made.id, event_types=["t1"])
    assert await _wants(pair.first, made.id, "t1")
    await _seen(pair.second, made.id, "t1")


async def _goes_on_costing_nothing(ingest: Ingest, subscription_id: str) -> bool:
    """Whether look-ups in a row, together longer than an entry lives without Redis, need the process alone."""
    for _ in range(3):
        if await _cost(ingest.send(subscription_id)) != {"process hit": 1}:
            return False
        await asyncio.sleep(0.2)
    return True


async def test_a_subscription_that_has_not_changed_is_not_read_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with more subscriptions than get a webhook within an entry's time."""
    monkeypatch.setattr(caches, "LISTENING_TTL_SECONDS", 0.1)
    monkeypatch.setattr(filters, "ASKED_OFTEN", 3)
    made = await pair.first.create(event_types=["t0"])
    # No event of the tenant is matched: its index is loaded because its subscriptions are read again and again.
    await eventually(functools.partial(_goes_on_costing_nothing, pair.second, made.id), "look-ups in the process alone")
    await pair.first.update(made.id, event_types=["t1"])
    await eventually(functools.partial(_reads, pair.second, made.id), "the changed one to be read")
    await eventually(functools.partial(_goes_on_costing_nothing, pair.second, made.id), "look-ups in the process alone")
    await pair.first.delete(made.id)
    await eventually(lambda: _gone(pair.second, made.id), "the deletion", SEEN_WITHIN_SECONDS)


async def _reads(ingest: Ingest, subscription_id: str) -> bool:
    return "process hit" not in await _cost(ingest.send(subscription_id))


async def test_a_change_while_redis_is_away_is_seen_by_another_server_soon(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    pair.stores.valkey.kill()
    await pair.first.update(made.id, event_types=["t1"])
    await _seen(pair.second, made.id, "t1")
    await pair.first.delete(made.id)
    await eventually(lambda: _gone(pair.second, made.id), "the deletion", SEEN_WITHIN_SECONDS)


async def test_change_is_visible_on_another_server_soon_after_redis_restarts(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    pair.stores.valkey.stop()
    pair.stores.valkey.start()
    await pair.first.update(made.id, event_types=["t1"])
    await _seen(pair.second, made.id, "t1")


async def test_a_change_made_while_redis_hung_is_seen_and_never_undone_by_the_copy_that_redis_kept(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    with frozen(pair.stores.valkey):
        await pair.first.update(made.id, event_types=["t1"])
        assert await _wants(pair.first, made.id, "t1")
        # It takes the other one a moment to notice that it receives nothing.
        await eventually(lambda: _wants(pair.second, made.id, "t1"), "the change", SEEN_WITHIN_SECONDS)

    async def told() -> bool:
        for ingest in (pair.first, pair.second):
            assert await _wants(ingest, made.id, "t1")
        return await _copied_version(pair, made.id) == b"2"

    await eventually(told, "Redis to hold the new version")
    until = time.monotonic() + 2 * caches.REDIS_PAUSE_SECONDS
    while time.monotonic() < until:
        await told()


async def test_a_change_that_did_not_reach_redis_is_seen_at_once_by_the_server_that_made_it(
    breakable: Breakable,
) -> None:
    async with _behind_networks(breakable) as (pair, (network, _)):
        made = await pair.first.create(event_types=["t0"])
        await pair.warm(made.id)
        await pair.reading(made.id)
        await network.set_mode(Mode.LOSE)
        await pair.first.update(made.id, event_types=["t1"])
        await network.set_mode(Mode.PASS)
        assert await _wants(pair.first, made.id, "t1")


async def test_a_change_made_while_redis_was_down_is_published_when_it_is_back(
    breakable: Breakable,
) -> None:
    async with _behind_networks(breakable) as (pair, networks):
        made = await pair.first.create(event_types=["t0"])
        await pair.warm(made.id)
        for network in networks:
            await network.set_mode(Mode.RESET)
        await pair.first.update(made.id, event_types=["t1"])
        await _seen(pair.second, made.id, "t1")
        assert await _copied_version(pair, made.id) == b"1"
        await networks[1].set_mode(Mode.PASS)
        await _listening(breakable, 1)
        assert await _wants(pair.second, made.id, "t1")
        await networks[0].set_mode(Mode.PASS)

        async def told() -> bool:
            return await _copied_version(pair, made.id) == b"2"

        await eventually(told, "Redis to hold the new version")
        assert await _wants(pair.second, made.id, "t1")


async def test_a_change_that_a_new_primary_lacks_is_published_again(pair: Pair) -> None:
    """As if the old one died between receiving the change and replicating it."""
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    key = subscription_changes.KEY + made.id
    async with redis.asyncio.Redis.from_url(pair.stores.redis_url) as client:
        before: Any = await client.hgetall(key)
        await pair.first.update(made.id, event_types=["t1"])
        await _seen(pair.second, made.id, "t1")
        await client.delete(key)
        await client.hset(key, mapping=before)
        await client.client_kill_filter(_type="pubsub")

        async def told() -> bool:
            return await _copied_version(pair, made.id) == b"2"

        await eventually(told, "Redis to hold the new version")
        # A server on a busy machine may have read the old one before that.
        await _seen(pair.second, made.id, "t1")


async def test_a_change_that_a_full_redis_cannot_take_is_seen_all_the_same(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    async with redis.asyncio.Redis.from_url(pair.stores.redis_url) as client:
        await client.config_set("maxmemory", "1")
        try:
            await pair.first.update(made.id, event_types=["t1"])
            await _seen(pair.second, made.id, "t1")
            assert await client.hget(subscription_changes.KEY + made.id, "version") != b"1"
        finally:
            await client.config_set("maxmemory", "0")


async def test_messages_and_copies_of_another_version_are_ignored(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    await pair.reading(made.id)
    async with redis.asyncio.Redis.from_url(pair.stores.redis_url) as client:
        await client.hset(subscription_changes.KEY + made.id, mapping={"version": "1", "value": b'{"id": "what?"}'})
        for message in (b"", b"what?", b"\xff\x00", b"v2 " + made.id.encode()):
            await client.publish(signals.CHANNEL, message)
            await client.publish(signals.CHANNEL, _signal(message))
    await pair.forget(made.id)
    for ingest in (pair.first, pair.second):
        assert await _wants(ingest, made.id, "t0")
    await pair.first.update(made.id, event_types=["t1"])
    await _seen(pair.second, made.id, "t1")


async def test_a_change_whose_caller_leaves_is_made_and_seen_all_the_same(pair: Pair) -> None:
    made = await pair.first.create(event_types=["t0"])
    await pair.warm(made.id)
    async with pair.first.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", UUID(made.id))
        request = pair.first.change(made.id, target_url=URL, event_types=["t1"])
        waiting = asyncio.ensure_future(pair.first.subscriptions.UpdateSubscription(request))
        await eventually(pair.first.held_up, "the change to be held up")
        waiting.cancel()
        await asyncio.wait([waiting])
    for ingest in (pair.first, pair.second):
        await _seen(ingest, made.id, "t1")


async def test_dispatchers_are_told_of_each_change(pair: Pair) -> None:
    """A paused subscription that is resumed has something due, and nobody rings for it."""
    process = Process("test")
    settings = RedisSettings(redis_url=pair.stores.redis_url, _env_file=None)
    async with clients.client(settings) as client, signals.running(process, client) as heard:
        await wait_until(lambda: heard.listening, what="it to listen")
        made = await pair.first.create(event_types=["t0"])
        await asyncio.sleep(2 * signals.PACE_SECONDS)
        alarm = heard.alarm(DUE)
        await pair.first.update(made.id, event_types=["t1"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await alarm.wait(3600)
    assert not process.failed


# -- copies in Redis --


@pytest.fixture
async def cache(
    database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[caches.SubscriptionCache]:
    """A cache without a server. It is patient, because a busy machine is not one without Redis."""
    monkeypatch.setattr(caches, "REDIS_TIMEOUT_SECONDS", 10.0)
    monkeypatch.setattr(clients, "TIMEOUT_SECONDS", 10.0)
    client = clients.connect(RedisSettings(redis_url=redis_url, _env_file=None), timeout_seconds=10.0)
    async with asyncpg.create_pool(database, min_size=0, max_size=1) as pool, client:
        store = SubscriptionStore(pool, vault(), key_hours=1, quota=1000)
        yield caches.SubscriptionCache(store, Signals(client), vault(), size=10)


def _version(version: int) -> Subscription:
    now = datetime.now(UTC)
    return Subscription(
        id=ids.new(),
        tenant_id="default",
        destination=Destination.HTTP,
        expires_after_idle_seconds=None,
        target_url=URL,
        sealed_secrets=b"sealed",
        ingest_token_hash=None,
        event_types=(f"t{version}",),
        filter=None,
        filter_on_error=OnError.DELIVER,
        filter_stopped_at=None,
        description="",
        name=f"v{version}",
        metadata='{"version": "some"}',
        tag_paths=None,
        event_versions=None,
        version=version,
        created_at=now,
        updated_at=now,
        status=SubscriptionState.ACTIVE,
        status_reason=None,
        status_since=now,
        keep_when_disabled=True,
        rate_limit_per_second=0.5,
        rate_limit_burst=None,
        timeout_seconds=30.0,
        retry_policy='{"limit": 3}',
        header_names=(f"X-{version}",),
        verification=Verification.STRIPE,
        relay_headers=bool(version % 2),
        sealed_verification_secrets=b"sealed, too",
        kind=Kind.NORMAL,
        signature_scheme=SignatureScheme.ED25519 if version % 2 else SignatureScheme.HMAC_SHA256,
        client_certificate=None,
        template='{"preset":"slack"}',
        template_secret_names=("routing_key",),
    )


async def _stored(cache: caches.SubscriptionCache, asked: Draft) -> Subscription:
    made, _ = await cache._store.create_subscription(ids.new(), "default", asked, lambda _: b"")
    assert made is not None
    return made


async def test_a_slow_reader_cannot_bring_back_an_old_version(cache: caches.SubscriptionCache) -> None:
    old, new = _version(1), _version(2)
    await cache.changed(new.id, new.tenant_id, new, new.version)
    # A server that read the old row before the change would write this.
    await cache._copies.write(new.id, cache._copy(old), old.version)
    assert await cache._read(new.id) == new


async def test_a_slow_reader_cannot_bring_back_what_was_deleted(cache: caches.SubscriptionCache) -> None:
    old = _version(1)
    await cache.changed(old.id, old.tenant_id, None, 2)
    await cache._copies.write(old.id, cache._copy(old), old.version)
    assert await cache._read(old.id) is None


async def test_a_newer_version_replaces_an_older_one(cache: caches.SubscriptionCache) -> None:
    old = _version(9)
    new = msgspec.structs.replace(_version(10), id=old.id)
    await cache.changed(old.id, old.tenant_id, old, old.version)
    await cache._copies.write(old.id, cache._copy(new), new.version)
    assert await cache._read(old.id) == new


async def test_a_copy_in_redis_can_be_read_by_us_alone(cache: caches.SubscriptionCache, redis_url: str) -> None:
    made = _version(1)
    await cache.changed(made.id, made.tenant_id, made, made.version)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        kept: Any = await client.hget(subscription_changes.KEY + str(made.id), "value")
    for told in (made.target_url, made.tenant_id, "active", "auto", str(made.id)):
        assert told.encode() not in kept
    assert await cache._read(made.id) == made


async def test_a_copy_that_somebody_made_or_moved_or_kept_is_a_miss(
    cache: caches.SubscriptionCache, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, neighbour = _version(1), msgspec.structs.replace(_version(1), id=ids.new())
    sealed = cache._copy(made)
    plain = vault().copy(made.id, sealed)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    of_others = vault(OTHER_KEY).seal_copy(made.id, plain)
    as_headers = vault().seal_headers(made.id, {"a": "b"}) or b""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for value in (plain, b"x", changed, of_others, as_headers, cache._copy(neighbour)):
            await client.hset(subscription_changes.KEY + str(made.id), "value", value)
            before = counted("webhook_subscription_cache_unreadable_total")
            assert await cache._read(made.id) is None
            assert counted("webhook_subscription_cache_unreadable_total") == before + 1
        # Our own copy is used for as long as Redis would have kept it.
        for seconds, found in ((0, made), (59, made), (61, None), (-61, None)):
            sealed_at = time.time() - seconds
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda: sealed_at)  # noqa: B023 - called before the next one
                kept = cache._copy(made)
            await client.hset(subscription_changes.KEY + str(made.id), "value", kept)
            assert await cache._read(made.id) == found


async def test_a_copy_under_an_older_key_is_read_while_that_is_known(
    cache: caches.SubscriptionCache, redis_url: str
) -> None:
    made = _version(1)
    older = vault(OTHER_KEY).seal_copy(made.id, vault().copy(made.id, cache._copy(made)))
    cache._vault = vault(ENCRYPTION_KEY, OTHER_KEY)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.hset(subscription_changes.KEY + str(made.id), "value", older)
    assert await cache._read(made.id) == made


async def test_a_copy_in_redis_has_an_end(cache: caches.SubscriptionCache, redis_url: str) -> None:
    made = _version(1)
    await cache.changed(made.id, made.tenant_id, made, made.version)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert 0 < await client.ttl(subscription_changes.KEY + str(made.id)) <= subscription_changes.REDIS_TTL_SECONDS


async def test_copies_in_redis_are_not_trusted_until_others_had_time_to_report_changes(
    cache: caches.SubscriptionCache,
) -> None:
    identity.CALLER.set(identity.INTERNAL)
    asked = draft(event_types=["t1"])
    old = await _stored(cache, asked)
    await cache._copies.write(old.id, cache._copy(old), old.version)
    (new, *_), _ = await cache._store.update_subscription("default", old.id, lambda *_: asked, ())
    listening = asyncio.create_task(cache._signals.listen())
    try:
        await wait_until(lambda: cache._signals.listening, what="the cache to listen")
        assert await cache.get(old.id) == new
    finally:
        listening.cancel()
        await asyncio.wait([listening])


# -- bounds --


def test_the_estimate_of_memory_is_not_below_what_a_record_takes() -> None:
    for types in (["order.created"], [f"{number}-{'x' * 100}" for number in range(100)], []):
        made = _version(1)
        number = 300
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            kept = []
            for _ in range(number):
                row = msgspec.structs.asdict(made) | {"id": ids.new(), "event_types": [f"{each}" for each in types]}
                kept.append(Subscription.from_row(msgspec.json.decode(msgspec.json.encode(row))))
                assert kept[-1].types.wants("")
                assert kept[-1].targets
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before <= sum(record.size_bytes for record in kept) <= 4 * (after - before)


async def test_the_subscriptions_of_a_process_take_no_more_memory_than_they_may(
    cache: caches.SubscriptionCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "MAX_BYTES", 20_000)
    level: _Level[Subscription] = _Level(100, lambda found: found.size_bytes)
    made = [msgspec.structs.replace(_version(1), id=ids.new(), event_types=("x" * 100,) * 20) for _ in range(10)]
    for one in made:

        async def load(one: Subscription = one) -> Subscription:
            return one

        await level.load(one.id, load)
    kept = [one for one in made if level.get(one.id, 10.0)]
    assert kept == made[-len(kept) :]
    assert 0 < sum(one.size_bytes for one in kept) <= 20_000


async def test_changes_that_wait_for_redis_do_not_keep_the_subscriptions_of_all_of_them(
    breakable: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "MAX_UNTOLD_COPIES", 3)
    async with _behind_networks(breakable) as (pair, networks):
        made = [await pair.first.create(event_types=["t0"]) for _ in range(6)]
        for one in made:
            await pair.warm(one.id)
        for network in networks:
            await network.set_mode(Mode.RESET)
        for one in made:
            await pair.first.update(one.id, event_types=["t1"])
        for network in networks:
            await network.set_mode(Mode.PASS)

        async def told() -> bool:
            return [await _copied_version(pair, one.id) for one in made] == [b"2"] * 6

        await eventually(told, "Redis to hold the new versions")
        await _listening(breakable, 2)
        for one in made:
            for ingest in (pair.first, pair.second):
                assert (await ingest.send(one.id, event_type="t1")).deliveries == 1
                assert (await ingest.send(one.id, event_type="t0")).deliveries == 0


async def test_invalid_copy_affects_only_its_subscription(cache: caches.SubscriptionCache, redis_url: str) -> None:
    """A key of another type is refused by Redis, which is there for all others."""
    identity.CALLER.set(identity.INTERNAL)
    listening = asyncio.create_task(cache._signals.listen())
    try:
        await wait_until(cache._redis_usable, what="the cache to read from Redis")
        made = await _stored(cache, draft())
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            await client.set(subscription_changes.KEY + str(made.id), "no hash")
            with structlog.testing.capture_logs() as logs:
                assert await cache.get(made.id) == made
            assert [line["subscription_id"] for line in logs] == [str(made.id)]
            assert cache._redis_usable()
            assert await cache._read(made.id) == made, "a copy took its place"
    finally:
        listening.cancel()
        await asyncio.wait([listening])


# -- what is counted --


def _looked_up() -> dict[str, float]:
    return {
        f"{level} {result}": counted("webhook_subscription_cache_total", level=level, result=result)
        for level in ("process", "redis", "postgres")
        for result in ("hit", "miss")
    }


async def _cost(call: Any) -> dict[str, float]:
    before = _looked_up()
    await call
    return {name: number - before[name] for name, number in _looked_up().items() if number != before[name]}


async def test_look_ups_are_counted_by_where_they_ended(alone: Ingest, database: str, redis_url: str) -> None:
    made = await alone.create()

    async def found_in_redis() -> bool:
        # Right after a server starts to listen, it reads from Postgres.
        async with serving(database, redis_url, cached_subscriptions=1) as other:
            until = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < until:
                first = await _cost(other.send(made.id))
                if first.get("redis hit"):
                    assert first == {"process miss": 1, "redis hit": 1}
                    assert await _cost(other.send(made.id)) == {"process hit": 1}
                    return True
                await other.send((await other.create()).id)  # evicts it from a cache of one
        return False

    assert await found_in_redis()
    unknown = str(ids.new())

    async def missed() -> dict[str, float]:
        with pytest.raises(grpc.aio.AioRpcError):
            await alone.send(unknown)
        return {}

    assert await _cost(missed()) == {"process miss": 1, "redis miss": 1, "postgres miss": 1}


async def test_ids_that_do_not_exist_drive_nothing_out(database: str, redis_url: str) -> None:
    async with serving(database, redis_url, cached_subscriptions=2) as ingest:
        made = await ingest.create()

        async def stays() -> bool:
            # Until the server listens, and on a busy machine, what it holds may become too old meanwhile.
            await _held(ingest, made.id)
            for _ in range(5):
                assert await _gone(ingest, str(ids.new()))
            return await _cost(ingest.send(made.id)) == {"process hit": 1}

        await eventually(stays, "the subscription to stay")


async def test_the_subscription_that_was_used_least_recently_leaves_first(database: str, redis_url: str) -> None:
    async with serving(database, redis_url, cached_subscriptions=2) as ingest:
        used, unused, new = [await ingest.create() for _ in range(3)]

        async def stays() -> bool:
            await _held(ingest, used.id)
            await _held(ingest, unused.id)
            await ingest.send(used.id)
            await ingest.send(new.id)
            return await _cost(ingest.send(used.id)) == {"process hit": 1}

        await eventually(stays, "the one that is used to stay")
        assert "process miss" in await _cost(ingest.send(unused.id))


async def _held(ingest: Ingest, subscription_id: str) -> None:
    """Wait until the server has cached a subscription for longer than a lookup takes."""

    async def hit() -> bool:
        return await _cost(ingest.send(subscription_id)) == {"process hit": 1}

    await eventually(hit, "the subscription to be held")


async def test_a_copy_that_a_version_left_which_verified_less_is_not_used(cache: caches.SubscriptionCache) -> None:
    current = _version(1)
    copy = vault().copy(current.id, cache._copy(current))
    before = copy.replace(b'"verification":"stripe",', b"")
    assert before != copy
    await cache._copies.write(current.id, vault().seal_copy(current.id, before), current.version)
    assert await cache._read(current.id) is None


# -- the cache in the process --


async def _leave(asking: "asyncio.Task[Any]") -> None:
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_value_is_kept_even_if_its_caller_has_left() -> None:
    """A caller's deadline is shorter than a slow Postgres: if the value were dropped, none would ever be cached."""
    level: _Level[str] = _Level(10)
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def load() -> str:
        return await answer

    await _leave(asyncio.create_task(level.load("key", load)))
    answer.set_result("value")
    await asyncio.sleep(0.01)
    assert level.get("key", 1.0) == "value"


async def test_a_failure_without_a_waiting_caller_is_not_logged_as_an_error() -> None:
    level: _Level[str] = _Level(10)
    may_fail = asyncio.Event()
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    async def load() -> str:
        await may_fail.wait()
        raise OSError("away")

    try:
        await _leave(asyncio.create_task(level.load("key", load)))
        may_fail.set()
        await asyncio.sleep(0.01)
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert not unhandled
    assert level.get("key", 1.0) is None


async def test_a_value_whose_key_was_dropped_meanwhile_is_handed_out_and_not_kept() -> None:
    level: _Level[str] = _Level(10)
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def load() -> str:
        return await answer

    asking = asyncio.create_task(level.load("key", load))
    await asyncio.sleep(0)
    level.drop("key")
    answer.set_result("value")
    assert await asking == "value"
    assert level.get("key", 1.0) is None


def test_a_value_is_confirmed_only_where_it_was_loaded_after_what_confirms_it() -> None:
    """As after a look that found Postgres restarted: rows may have the same versions as others that were lost."""
    level: _Level[str] = _Level(1)
    level._entries.put("key", ("value", 10.0))
    assert level.confirm("key", "value", since=11.0, at=20.0) is None
    assert level.confirm("key", "another", since=9.0, at=20.0) is None
    assert level.confirm("another", "value", since=9.0, at=20.0) is None
    assert level.confirm("key", "value", since=9.0, at=20.0) == "value"
    assert level._entries.get("key") == ("value", 20.0)
    assert level.confirm("key", "value", since=9.0, at=15.0) == "value"
    assert level._entries.get("key") == ("value", 20.0)
