"""Refused events: what gateways add, and what callers see of it, over a real channel."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import pytest

from protos.webhook.v1 import analytics_pb2 as pb
from protos.webhook.v1 import analytics_pb2_grpc
from services.analytics import store as store_module
from services.analytics.__main__ import SERVICES
from services.analytics.refusals import MOST_COUNTS
from services.analytics.service import AnalyticsService
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import Refusals, StatsStore
from services.domain.tenants.scopes import Entry
from services.platform import errors, ids
from services.platform.auth.authenticator import Authenticator
from services.platform.auth.identity import Identity, Portal
from services.platform.auth.roles import PortalCapability, Role
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc import server as grpc_server
from services.platform.process.lifecycle import Process
from services.platform.stores.postgres import Pool
from tests.analytics.conftest import Rows
from tests.analytics.test_series import nodes

MISMATCH, NOT_FOUND = "SIGNATURE_MISMATCH", "NOT_FOUND"
HOUR = timedelta(hours=1)
# A class that exists only in the type stubs.
Stub: TypeAlias = "analytics_pb2_grpc.AnalyticsServiceAsyncStub"
Found: TypeAlias = list[tuple[str, str, int]]


class Service:
    """The service, and who calls it: a gateway, unless the holder of a key."""

    def __init__(self, stub: Stub, holders: dict[str, Identity]) -> None:
        self._stub = stub
        self._holders = holders

    async def add(self, *counts: tuple[str, UUID | str | None, str, int, datetime | None]) -> None:
        """Add refused events of tenants, for subscriptions, by reasons."""
        request = pb.AddRefusalsRequest()
        for tenant_id, subscription_id, reason, events, last_at in counts:
            count = request.counts.add(
                tenant_id=tenant_id, subscription_id=str(subscription_id or ""), reason=reason, events=events
            )
            if last_at is not None:
                count.last_at.FromDatetime(last_at)
        await self._stub.AddRefusals(request)

    async def get(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        holder: Identity | None = None,
        **fields: Any,
    ) -> pb.GetRefusalsResponse:
        """Return the response to the holder of a key, or to anybody."""
        request = pb.GetRefusalsRequest(**fields)
        if start is not None:
            request.from_time.FromDatetime(start)
        if end is not None:
            request.to_time.FromDatetime(end)
        metadata = []
        if holder is not None:
            key = f"whk_{len(self._holders):043}"
            self._holders[key] = holder
            metadata.append(("authorization", f"Bearer {key}"))
        return await self._stub.GetRefusals(request, metadata=metadata)

    async def found(self, **fields: Any) -> Found:
        """Return the counts."""
        return [(count.subscription_id, count.reason, count.events) for count in (await self.get(**fields)).counts]


@pytest.fixture
async def service(store: StatsStore, settings: AnalyticsSettings, pool: Pool) -> AsyncIterator[Service]:
    """The service on a real socket."""
    holders: dict[str, Identity] = {}

    def register(server: grpc.aio.Server) -> None:
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(AnalyticsService(store, settings), server)

    async def find(key: str) -> Identity:
        return holders[key]

    async with (
        grpc_server.serving(
            Process("analytics"), settings, SERVICES, register, Authenticator(settings, find, find), Entry(pool).enter
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Service(analytics_pb2_grpc.AnalyticsServiceStub(channel), holders)


@contextlib.asynccontextmanager
async def refused() -> AsyncIterator[list[errors.WebhookError]]:
    """Expect a call to be refused, and return the error in its typed details."""
    caught: list[errors.WebhookError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield caught
    caught.append(grpc_errors.from_rpc_error(raised.value))


async def test_counts_are_added_up_and_the_largest_come_first(service: Service, rows: Rows) -> None:
    own, other = await rows.subscription(), await rows.subscription()
    now = datetime.now(UTC).replace(microsecond=0)
    await service.add(
        ("default", own, MISMATCH, 2, now - timedelta(minutes=1)),
        ("default", own, NOT_FOUND, 1, now),
        ("default", None, NOT_FOUND, 4, now),
    )
    await service.add(("default", own, MISMATCH, 3, now), ("default", other, MISMATCH, 1, now))

    answer = await service.get()

    assert [(count.subscription_id, count.reason, count.events) for count in answer.counts] == [
        (str(own), MISMATCH, 5),
        ("", NOT_FOUND, 4),
        *sorted([(str(own), NOT_FOUND, 1), (str(other), MISMATCH, 1)]),
    ]
    assert (answer.events, answer.counts[0].last_at.ToDatetime(UTC)) == (11, now)
    assert await service.found(subscription_ids=[str(other)]) == [(str(other), MISMATCH, 1)]
    listed = await service.get(limit=1)
    assert (len(listed.counts), listed.events) == (1, 11)


async def test_hours_are_whole(service: Service) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 3 * HOUR
    for number in range(3):
        await service.add(("default", None, MISMATCH, 10**number, hour + number * HOUR + timedelta(minutes=59)))

    async def events(start: datetime, end: datetime) -> int:
        answer = await service.get(start=start, end=end)
        assert answer.from_time.ToDatetime(UTC).minute == answer.to_time.ToDatetime(UTC).minute == 0
        return answer.events

    assert await events(hour, hour + HOUR) == 1
    assert await events(hour + timedelta(minutes=30), hour + HOUR) == 1
    assert await events(hour + HOUR, hour + HOUR + timedelta(seconds=1)) == 10
    assert await events(hour - HOUR, hour + 9 * HOUR) == 111


async def test_the_default_is_the_last_day_with_this_hour(service: Service) -> None:
    now = datetime.now(UTC)
    for hours in (0, 23, 26):
        await service.add(("default", None, MISMATCH, 1, now - hours * HOUR))
    answer = await service.get()
    assert answer.events == 2
    start, end = answer.from_time.ToDatetime(UTC), answer.to_time.ToDatetime(UTC)
    assert start <= now - 24 * HOUR
    assert now <= end <= start + 25 * HOUR


async def test_a_subscription_that_the_tenant_never_had_gets_no_row(service: Service, rows: Rows, pool: Pool) -> None:
    await pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'Other')")
    deleted, foreign = await rows.subscription(deleted=True), await rows.subscription(tenant_id="other")
    await service.add(
        *(("default", ids.new(), MISMATCH, 1, None) for _ in range(20)),
        ("default", foreign, MISMATCH, 1, None),
        ("default", deleted, MISMATCH, 1, None),
        ("nobody", None, MISMATCH, 1, None),
    )
    assert await service.found() == [("", MISMATCH, 21), (str(deleted), MISMATCH, 1)]
    assert await pool.fetchval("SELECT count(*) FROM refusals") == 2


async def test_a_clock_that_is_ahead_makes_no_hours_to_come(service: Service, pool: Pool) -> None:
    await service.add(("default", None, MISMATCH, 1, datetime.now(UTC) + timedelta(days=9)))
    assert await pool.fetchval("SELECT max(last_at) <= now() AND max(hour) <= now() FROM refusals")


async def test_gateways_that_add_the_same_at_once_lose_nothing_and_do_not_deadlock(
    service: Service, rows: Rows
) -> None:
    subscriptions = [await rows.subscription() for _ in range(20)]
    counts = [("default", one, MISMATCH, 1, None) for one in subscriptions]
    await asyncio.gather(*(service.add(*(counts if number % 2 else counts[::-1])) for number in range(10)))
    assert sorted(await service.found()) == sorted((str(one), MISMATCH, 10) for one in subscriptions)


async def test_tenants_are_isolated(service: Service, rows: Rows, pool: Pool) -> None:
    await pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'Other')")
    own, foreign = await rows.subscription(), await rows.subscription(tenant_id="other")
    await service.add(("default", own, MISMATCH, 1, None), ("other", foreign, MISMATCH, 2, None))
    holder = Identity(tenant_id="other", role=Role.READ, key_id="1")

    assert await service.found(holder=holder) == [(str(foreign), MISMATCH, 2)]
    async with refused() as error:
        await service.get(holder=holder, subscription_ids=[str(own)])
    assert isinstance(error[0], errors.NotFound)
    for stated in ("default", "*"):
        async with refused() as error:
            await service.get(holder=holder, tenant_id=stated)
        assert error[0].reason == "TENANT_FORBIDDEN"
    admin = Identity(tenant_id="other", role=Role.ADMIN, key_id="bootstrap")
    assert (await service.get(holder=admin, tenant_id="*")).events == 3


async def test_a_limited_portal_link_sees_only_its_subscriptions(service: Service, rows: Rows) -> None:
    own, other = await rows.subscription(), await rows.subscription()
    await service.add(
        ("default", own, MISMATCH, 1, None),
        ("default", other, MISMATCH, 2, None),
        ("default", None, NOT_FOUND, 3, None),
    )

    def link(*capabilities: PortalCapability) -> Identity:
        portal = Portal(capabilities=frozenset(capabilities), subscriptions=frozenset([own]))
        return Identity(tenant_id="default", role=Role.PORTAL, key_id=f"portal:{ids.new()}", portal=portal)

    answer = await service.get(holder=link(PortalCapability.VIEW))
    assert [(count.subscription_id, count.events) for count in answer.counts] == [(str(own), 1)]
    assert answer.events == 1
    async with refused() as error:
        await service.get(holder=link(PortalCapability.VIEW), subscription_ids=[str(other)])
    assert isinstance(error[0], errors.NotFound)
    async with refused() as error:
        await service.get(holder=link(PortalCapability.MANAGE))
    assert error[0].reason == "CAPABILITY_MISSING"


async def test_of_very_many_rows_the_newest_count(store: StatsStore, service: Service, pool: Pool) -> None:
    await pool.execute("INSERT INTO tenants (id, name) VALUES ('other', 'Other')")
    now = datetime.now(UTC)
    await service.add(*(("default", None, MISMATCH, 10**hours, now - hours * HOUR) for hours in range(4)))
    await service.add(("other", None, MISMATCH, 5, now))

    async def counted(tenant_id: str | None) -> tuple[int, list[Refusals]]:
        return await store.refusals(tenant_id, (), now - 9 * HOUR, now + HOUR, 10, most_rows=2)

    assert (await counted("default"))[0] == 11
    assert (await counted(None))[0] == 16


async def test_no_more_rows_are_read_than_count(store: StatsStore) -> None:
    """Whatever there is of other tenants and subscriptions, and before."""
    async with store._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO refusals (hour, tenant_id, subscription_id, reason, events, last_at)"
            " SELECT now() - make_interval(hours => n), tenant, gen_random_uuid(), 'NOT_FOUND', 1, now()"
            " FROM generate_series(1, 2000) AS n, unnest('{default,other}'::text[]) AS tenant"
        )
        await connection.execute("ANALYZE refusals")
        types = "text[], uuid[], timestamptz, timestamptz, bigint, bigint"
        await connection.execute(f"PREPARE counted ({types}) AS {store_module._queries['select_refusals']}")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        explained = await connection.fetchval(
            "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE counted"
            " ('{default}', ARRAY[gen_random_uuid()], now() - interval '70 days', now() - interval '2 hours', 10, 50)"
        )
        await transaction.rollback()
        await connection.execute("DEALLOCATE counted")
    (scan,) = [node for node in nodes(json.loads(explained)[0]["Plan"]) if node.get("Relation Name")]
    assert scan["Actual Rows"] * scan["Actual Loops"] + scan.get("Rows Removed by Filter", 0) <= 50, scan


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"limit": 201}, "limit"),
        ({"limit": -1}, "limit"),
        ({"subscription_ids": ["\0"]}, "subscription_ids"),
        ({"subscription_ids": [str(ids.new()) for _ in range(101)]}, "subscription_ids"),
        ({"tenant_id": "\0"}, "tenant_id"),
        ({"start": datetime.now(UTC) - timedelta(days=91)}, "from_time"),
        ({"start": datetime.now(UTC) + HOUR}, "from_time"),
        ({"end": datetime.now(UTC) - timedelta(days=91)}, "to_time"),
    ],
)
async def test_a_wrong_field_of_a_request_is_named(service: Service, fields: dict[str, Any], named: str) -> None:
    async with refused() as error:
        await service.get(**fields)
    assert isinstance(error[0], errors.InvalidArgument)
    assert [violation.field for violation in error[0].violations] == [named]


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (("\0", None, MISMATCH, 1, None), "tenant_id"),
        (("default", "no-id", MISMATCH, 1, None), "subscription_id"),
        (("default", None, "no reason", 1, None), "reason"),
        (("default", None, "A" * 65, 1, None), "reason"),
        (("default", None, MISMATCH, 0, None), "events"),
        (("default", None, MISMATCH, 2**63 - 1, None), "events"),
    ],
)
async def test_a_wrong_field_of_what_is_added_is_named(service: Service, count: Any, named: str) -> None:
    async with refused() as error:
        await service.add(count)
    assert isinstance(error[0], errors.InvalidArgument)
    assert [violation.field for violation in error[0].violations] == [named]


async def test_too_much_at_once_is_refused(service: Service) -> None:
    most = [("default", None, MISMATCH, 1, None)] * MOST_COUNTS
    await service.add(*most)
    async with refused() as error:
        await service.add(*most, most[0])
    assert isinstance(error[0], errors.InvalidArgument)
