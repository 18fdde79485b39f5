"""Rows of an outbox become events: each once, whatever is refused, late, or away."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from dev.embedded import ports
from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, metadata
from dev.harness.stores import PGBOUNCER, Stores, pooling
from dev.harness.waiting import wait_until
from protos.webhook.v1 import access_pb2, access_pb2_grpc, ingest_pb2_grpc
from services.platform.errors import PayloadTooLarge
from services.platform.grpc import client
from services.platform.process import lifecycle
from services.platform.settings import load
from services.platform.stores import postgres
from services.relay import relay as relays
from services.relay.publisher import Publisher
from services.relay.relay import pause_seconds
from services.relay.settings import RelaySettings
from services.relay.store import BATCH_BYTES, BATCH_ROWS, MAX_PAYLOAD_BYTES, Deferral, OutboxStore, Row
from tests.ingest.conftest import serving
from tests.relay.conftest import Outbox, Service, counted, relaying

MISSING = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"


async def events(service: Service) -> list[asyncpg.Record]:
    """Return the events of the tenant in the order in which they were accepted."""
    return await service.ingest.pool.fetch(
        "SELECT * FROM webhook_events WHERE tenant_id = $1 ORDER BY id", service.ingest.tenant_id
    )


def connected(url: str, **more: Any) -> Any:
    """Return the pool of a relay."""
    settings = RelaySettings(outbox_database_url=url, _env_file=None, **more)
    return postgres.pool(lifecycle.Process("relay"), settings.outbox_postgres, store="outbox")


async def test_committed_rows_become_events(outbox: Outbox, service: Service) -> None:
    tenant = service.ingest.tenant_id
    subscription = await service.ingest.create(event_types=["order.*"])
    other = await service.ingest.of(f"other-{uuid4()}")
    async with relaying(outbox, service):
        await outbox.publish("order.created", '{"b":  1}', tags='{"order": 42}')
        gzipped = {"content_type": "text/plain", "content_encoding": "gzip"}
        await outbox.owner.execute("SELECT webhook_publish('order.packed', '\\x00ff'::bytea)")
        await outbox.publish("order.sent", "x", **gzipped, event_version=2)
        await outbox.publish(None, subscription_id=subscription.id)  # type: ignore[arg-type]
        await outbox.publish("order.created", tenant_id=other.tenant_id)
        await wait_until(outbox.empty)
    found = {row["event_type"]: row for row in await events(service)}
    assert {event_type: row["payload"] for event_type, row in found.items()} == {
        "order.created": b'{"b":  1}',
        "order.packed": b"\x00\xff",
        "order.sent": b"x",
        None: b"{}",
    }
    assert (found["order.sent"]["content_type"], found["order.sent"]["content_encoding"]) == ("text/plain", "gzip")
    contexts = {name: row["sender_context"] for name, row in found.items()}
    assert contexts.pop("order.sent") == '{"event_version":2}'
    assert set(contexts.values()) == {None}
    assert await other.count() == 1
    tag = await service.ingest.pool.fetchval(
        "SELECT tag FROM event_tags WHERE event_id = $1", found["order.created"]["id"]
    )
    assert tag == "order=42"
    deliveries = await service.ingest.pool.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE tenant_id = $1", tenant
    )
    assert deliveries == 4


async def test_refused_rows_stay_with_the_reason_and_delay_no_others(outbox: Outbox, service: Service) -> None:
    await outbox.publish("a", subscription_id=MISSING)
    await outbox.publish("a", "x" * 100_001)
    await outbox.publish("a", "1", idempotency_key="same")
    await outbox.publish("a", "2", idempotency_key="same")
    await outbox.publish("a", "1", idempotency_key="same")
    await outbox.publish("a", "last")
    refused = counted("webhook_outbox_rows_total", outcome="refused")
    async with relaying(outbox, service):
        await wait_until(lambda: len_is(outbox, 3))
        await wait_until(lambda: failed(outbox, 3))
        rows = await outbox.rows()
        assert [row["error"].partition(":")[0] for row in rows] == [
            "NOT_FOUND",
            "PAYLOAD_TOO_LARGE",
            "IDEMPOTENCY_KEY_REUSED",
        ]
        assert counted("webhook_outbox_rows_total", outcome="refused") == refused + 3
        assert sorted(row["payload"] for row in await events(service)) == [b"1", b"last"]
        # As the guide says.
        await outbox.owner.execute(
            "UPDATE webhook_outbox SET subscription_id = NULL, failed_at = NULL, error = NULL WHERE id = $1",
            rows[0]["id"],
        )
        await wait_until(lambda: len_is(outbox, 2))
    assert len(await events(service)) == 3


async def len_is(outbox: Outbox, number: int) -> bool:
    return len(await outbox.rows()) == number


async def failed(outbox: Outbox, number: int) -> bool:
    return sum(row["failed_at"] is not None for row in await outbox.rows()) == number


async def test_rows_over_a_quota_wait(outbox: Outbox, service: Service) -> None:
    """They are not refused, and are accepted when the tenant may send again."""
    own = "UPDATE tenants SET max_events_per_second = $2 WHERE id = $1"
    await service.ingest.pool.execute(own, service.ingest.tenant_id, 0.5)

    async def limited() -> bool:
        """Ingest looks at quotas every second."""
        await outbox.publish("a")
        await wait_until(lambda: settled(outbox))
        return any(row["error"] for row in await outbox.rows())

    async with relaying(outbox, service):
        await wait_until(limited)
        (row, *_) = [row for row in await outbox.rows() if row["error"]]
        assert row["error"].startswith("QUOTA_EVENTS_PER_SECOND")
        assert (row["failed_at"], row["token"]) == (None, None)
        await service.ingest.pool.execute(own, service.ingest.tenant_id, None)
        await wait_until(outbox.empty)


async def settled(outbox: Outbox) -> bool:
    return all(row["error"] for row in await outbox.rows())


async def test_no_transaction_is_open_during_a_call(outbox: Outbox, service: Service) -> None:
    """Ingest waits for a lock, and the relay for ingest."""
    pool = service.ingest.pool
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE webhook_events IN ACCESS EXCLUSIVE MODE")
        async with relaying(outbox, service):
            await outbox.publish("a")
            await wait_until(lambda: claimed(outbox))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'webhook_events'::regclass"
            await wait_until(lambda: connection.fetchval(waiting))
            open_ones = await outbox.owner.fetch(
                "SELECT pid FROM pg_locks WHERE locktype = 'virtualxid' AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            assert not open_ones
            held = await outbox.owner.fetchval(
                "SELECT count(*) FROM pg_locks WHERE relation = 'webhook_outbox'::regclass AND pid <> pg_backend_pid()"
            )
            assert held == 0
            await transaction.rollback()
            await wait_until(outbox.empty)
    assert len(await events(service)) == 1


async def claimed(outbox: Outbox) -> bool:
    return any(row["token"] for row in await outbox.rows())


async def test_rows_of_a_relay_that_died_are_repeated_and_recognized(outbox: Outbox, service: Service) -> None:
    """It died after ingest accepted them, and before it deleted them."""
    for number in range(3):
        await outbox.publish("a", str(number))
    async with relaying(outbox, service):
        await outbox.owner.execute(
            "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        await outbox.owner.execute(
            "CREATE TRIGGER stay BEFORE DELETE ON webhook_outbox FOR EACH ROW EXECUTE FUNCTION stay()"
        )
        await outbox.publish("a", "3")
        await wait_until(lambda: all_events(service))
    await outbox.owner.execute("DROP TRIGGER stay ON webhook_outbox")
    left = len(await outbox.rows())
    assert left >= 1
    # As if the lease had ended.
    await outbox.owner.execute("UPDATE webhook_outbox SET claimed_until = now()")
    repeated = counted("webhook_outbox_rows_total", outcome="repeated")
    async with relaying(outbox, service), relaying(outbox, service):
        await wait_until(outbox.empty)
    assert counted("webhook_outbox_rows_total", outcome="repeated") == repeated + left
    assert sorted(row["payload"] for row in await events(service)) == [b"0", b"1", b"2", b"3"]


async def all_events(service: Service) -> bool:
    return len(await events(service)) == 4


async def test_ingest_that_is_away_is_waited_for(outbox: Outbox, service: Service, free_port: int) -> None:
    await outbox.publish("a")
    failures = counted("webhook_outbox_call_failures_total", reason="UNAVAILABLE")
    async with relaying(outbox, service, ingest_addr=f"127.0.0.1:{free_port}") as process:
        await wait_until(lambda: counted("webhook_outbox_call_failures_total", reason="UNAVAILABLE") >= failures + 2)
        await wait_until(lambda: settled(outbox))
        (row,) = await outbox.rows()
        assert row["error"].startswith("UNAVAILABLE")
        assert row["failed_at"] is None
        assert "relaying" in (await process.health.degraded())
    async with relaying(outbox, service) as process:
        await wait_until(outbox.empty)
        assert not await process.health.degraded()


async def test_an_outbox_that_is_missing_or_closed_is_named_and_waited_for(outbox: Outbox, service: Service) -> None:
    async with relaying(outbox, service, outbox_schema="nowhere", outbox_poll_seconds=0.05) as process:

        async def named() -> bool:
            why = (await process.health.degraded()).get("relaying", "")
            return '"nowhere".webhook_outbox' in why and "webhook_outbox.sql" in why

        await wait_until(named)
        await outbox.publish("a")
        await outbox.owner.execute("CREATE SCHEMA nowhere; ALTER TABLE webhook_outbox SET SCHEMA nowhere")
        user = await outbox.owner.fetchval(
            "SELECT grantee FROM information_schema.role_table_grants WHERE privilege_type = 'DELETE'"
            " AND table_name = 'webhook_outbox' AND grantee <> current_user"
        )
        await outbox.owner.execute(f'GRANT USAGE ON SCHEMA nowhere TO "{user}"')
        await wait_until(lambda: outbox.owner.fetchval("SELECT NOT EXISTS (SELECT FROM nowhere.webhook_outbox)"))


async def test_a_key_publishes_in_its_tenant_and_a_service_key_in_any(stores: Stores, outbox: Outbox) -> None:
    port = ports.free_port()
    keys = {"auth_required": True, "service_key": SERVICE_KEY, "bootstrap_admin_key": ADMIN_KEY}
    with stores.database() as database_url:
        async with serving(database_url, stores.redis_url(), grpc_port=port, **keys) as ingest:
            for tenant in ("acme", "other"):
                await ingest.of(tenant)
            asked = access_pb2.CreateApiKeyRequest(tenant_id="acme", name="shop", role=access_pb2.ROLE_INGEST)
            access = access_pb2_grpc.AccessServiceStub(ingest.channel)
            key = (await access.CreateApiKey(asked, timeout=60, metadata=metadata(ADMIN_KEY))).key
            acme = Service(ingest=await ingest.of("acme"), address=f"127.0.0.1:{port}")
            await outbox.publish("a")
            wrong = {"outbox_api_key": "whk_" + "a" * 43, "auth_required": True, "outbox_tenant": ""}
            async with relaying(outbox, acme, **wrong):
                await wait_until(lambda: settled(outbox))
            (row,) = await outbox.rows()
            assert (row["error"].partition(":")[0], row["failed_at"]) == ("KEY_INVALID", None)
            async with relaying(outbox, acme, outbox_api_key=key, auth_required=True, outbox_tenant=""):
                await wait_until(outbox.empty)
                await outbox.publish("a", tenant_id="other")
                await wait_until(lambda: failed(outbox, 1))
            (row,) = await outbox.rows()
            assert row["error"].partition(":")[0] == "TENANT_FORBIDDEN"
            assert [row["event_type"] for row in await events(acme)] == ["a"]
            await outbox.owner.execute("UPDATE webhook_outbox SET failed_at = NULL")
            async with relaying(outbox, acme, service_key=SERVICE_KEY, auth_required=True):
                await wait_until(outbox.empty)
                await outbox.publish("a", tenant_id="nobody")
                await wait_until(lambda: failed(outbox, 1))
            (row,) = await outbox.rows()
            assert row["error"] == "INVALID_ARGUMENT: tenant_id: tenant not found"
            assert await (await ingest.of("other")).count() == 1


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "OUTBOX_DATABASE_URL: is required"),
        ({"OUTBOX_DATABASE_URL": "mysql://shop"}, "OUTBOX_DATABASE_URL: must look like postgresql://"),
        (
            {"OUTBOX_DATABASE_URL": "postgresql://h/d", "OUTBOX_API_KEY": "secret"},
            "OUTBOX_API_KEY: must begin with whk_",
        ),
        ({"OUTBOX_DATABASE_URL": "postgresql://h/d", "ENV": "production"}, "SERVICE_KEY: is required"),
        ({"OUTBOX_DATABASE_URL": "postgresql://h/d", "OUTBOX_SCHEMA": "a-b"}, "OUTBOX_SCHEMA: must be 1 to 63 letters"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], environment: Any, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(RelaySettings)
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert "secret" not in said


async def test_a_row_that_fails_a_whole_call_fails_alone(service: Service) -> None:
    """A call with it is larger than ingest receives."""

    def row(number: int, payload: bytes) -> Row:
        return Row(
            id=number,
            event_type="a",
            payload=payload,
            content_type="text/plain",
            content_encoding=None,
            tags={},
            subscription_id=None,
            tenant_id=None,
            idempotency_key=str(number),
            traceparent=None,
            event_version=None,
            attempts=1,
            waited_seconds=0.0,
        )

    payloads = [b"0", b"1", bytes(3 << 20), b"3", b"4"]
    async with client.channel(service.address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        publisher = Publisher(stub, tenant_id=service.ingest.tenant_id)
        results = await publisher.publish([row(number, payload) for number, payload in enumerate(payloads)])
    refused = [number for number, result in enumerate(results) if isinstance(result, PayloadTooLarge)]
    assert refused == [2]
    assert sorted(bytes(row["payload"]) for row in await events(service)) == [b"0", b"1", b"3", b"4"]


# -- claims --


async def test_claims_are_in_order_bounded_and_apart(outbox: Outbox) -> None:
    await outbox.owner.execute(
        "SELECT webhook_publish('a', n::text) FROM generate_series(1, $1::int) AS n", BATCH_ROWS + 1
    )
    async with connected(outbox.relay_url) as pool:
        store = OutboxStore(pool, "public", lease_seconds=60)
        first = await store.claim()
        assert [row.payload for row in first.rows] == [str(n).encode() for n in range(1, BATCH_ROWS + 1)]
        second = await store.claim()
        assert ([row.payload for row in second.rows], first.more, second.more) == ([b"501"], True, False)
        assert not (await store.claim()).rows
        deferral = Deferral(row_id=second.rows[0].id, error="QUOTA: later", seconds=0)
        assert await store.defer(first.token, [deferral]) == 0
        assert await store.defer(second.token, [deferral]) == 1
        again = await store.claim()
        assert [row.attempts for row in again.rows] == [2]
        assert await store.delete(second.token, [again.rows[0].id]) == 0
        assert await store.delete(again.token, [again.rows[0].id]) == 1


async def test_a_claim_has_few_bytes_or_one_row(outbox: Outbox) -> None:
    for size in (BATCH_BYTES + 1, BATCH_BYTES // 2, BATCH_BYTES // 2, 1, MAX_PAYLOAD_BYTES + 1, 1):
        await outbox.owner.execute("SELECT webhook_publish('a', repeat('x', $1))", size)
    async with connected(outbox.relay_url) as pool:
        store = OutboxStore(pool, "public", lease_seconds=60)
        claims = [await store.claim() for _ in range(4)]
    sizes = [[len(row.payload) if row.payload is not None else None for row in claim.rows] for claim in claims]
    assert sizes == [[BATCH_BYTES + 1], [BATCH_BYTES // 2] * 2, [1], [None]]
    assert [claim.more for claim in claims] == [True, True, True, True]


async def test_claims_use_the_index_of_waiting_rows(outbox: Outbox) -> None:
    await outbox.owner.execute("SELECT webhook_publish('a', '') FROM generate_series(1, 5000)")
    await outbox.owner.execute("UPDATE webhook_outbox SET failed_at = now() WHERE id < 4000")
    await outbox.owner.execute("ANALYZE webhook_outbox")
    async with connected(outbox.relay_url) as pool:
        store = OutboxStore(pool, "public", lease_seconds=60)
        arguments = (uuid4(), 0, 100, BATCH_BYTES, 60.0, MAX_PAYLOAD_BYTES)
        plan = await outbox.owner.fetchval(f"EXPLAIN (FORMAT JSON) {store._sql['claim']}", *arguments)
    scanned = set(_indexes(json.loads(plan)[0]["Plan"]))
    assert scanned == {"webhook_outbox_waiting", "webhook_outbox_pkey"}
    assert "Seq Scan" not in plan


def _indexes(plan: dict[str, Any]) -> list[str]:
    own = [plan["Index Name"]] if "Index Name" in plan else []
    return own + [name for inner in plan.get("Plans", []) for name in _indexes(inner)]


async def test_rows_that_are_committed_late_are_found_in_a_backlog(
    outbox: Outbox, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids are lower than those that are claimed by then."""
    monkeypatch.setattr(relays, "FROM_BEGINNING_SECONDS", 0.0)
    transaction = outbox.connection.transaction()
    await transaction.start()
    late = await outbox.publish("late")
    await outbox.owner.execute("SELECT webhook_publish('a', '') FROM generate_series(1, $1::int)", 2 * BATCH_ROWS)
    async with relaying(outbox, service):
        await wait_until(outbox.empty)
        await transaction.commit()
        await wait_until(outbox.empty)
    assert late == 1
    assert len(await events(service)) == 2 * BATCH_ROWS + 1


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
async def test_a_relay_works_behind_a_pooler_of_transactions(stores: Stores, service: Service, outbox: Outbox) -> None:
    database = outbox.owner_url.partition("?")[0].rpartition("/")[2]
    async with pooling(stores, servers=1) as port:
        url = f"postgresql://anyone:any@127.0.0.1:{port}/{database}"
        async with (
            relaying(outbox, service, outbox_database_url=url, outbox_pooler="transaction"),
            relaying(outbox, service, outbox_database_url=url, outbox_pooler="transaction"),
        ):
            for number in range(20):
                await outbox.publish("a", str(number))
            await wait_until(outbox.empty)
    assert len(await events(service)) == 20


def test_pauses_grow_to_a_bound() -> None:
    assert 0.125 <= pause_seconds(1, 0.25, 30) <= 0.25
    assert 0.5 <= pause_seconds(3, 0.25, 30) <= 1
    assert 15 <= pause_seconds(10_000, 0.25, 30) <= 30


async def test_a_relay_that_stops_leaves_nothing_claimed(outbox: Outbox) -> None:
    """It is cancelled while a claim is on its way."""
    async with connected(outbox.relay_url) as pool:
        store = OutboxStore(pool, "public", lease_seconds=60)
        relay = relays.Relay(store, Publisher(None), poll_seconds=1)  # type: ignore[arg-type]
        async with outbox.owner.transaction():
            await outbox.owner.execute("SELECT webhook_publish('a', '')")
        async with outbox.owner.transaction():
            await outbox.owner.execute("LOCK TABLE webhook_outbox IN ACCESS EXCLUSIVE MODE")
            running = asyncio.ensure_future(relay.run())
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'webhook_outbox'::regclass"
            await wait_until(lambda: outbox.owner.fetchval(waiting))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await relay.stop(grace_seconds=60)
        (row,) = await outbox.rows()
        assert (row["attempts"], row["token"]) == (1, None)
        assert (await store.claim()).rows
