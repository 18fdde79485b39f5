"""The generic plans of frequent statements: they read no unnecessary partition, and none completely."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.harness.stores import Stores
from services.delivery.api import store as api
from services.delivery.destinations.pull import store as pull
from services.delivery.dispatcher import store as dispatcher
from services.delivery.jobs import erasure
from services.delivery.worker import store as worker
from services.domain import deliveries
from services.ingest.events import store as ingest
from services.platform import ids
from services.platform.stores import postgres, walks
from services.platform.stores.postgres import Connection
from tests.delivery.world import World

DAYS = 14
ROWS_PER_DAY = 400
BATCH = 100
_PARTITION = re.compile(
    r"(webhook_events|event_tags|webhook_deliveries|unsuccessful_deliveries|delivery_attempts)_(\d{8})"
)
QUEUE = "delivery_queue"


@dataclass(frozen=True, kw_only=True)
class Data:
    """A database with fifteen daily partitions, and for one day the ids of a batch."""

    connection: Connection
    day: str
    event_ids: list[UUID]
    delivery_ids: list[UUID]
    subscriptions: list[UUID]
    # Of their turns.
    turns: list[datetime]


@pytest.fixture(scope="module")
async def data(stores: Stores) -> AsyncIterator[Data]:
    with stores.database() as database_url:
        connection = await asyncpg.connect(database_url, server_settings=postgres._POOL_SETTINGS)
        try:
            yield await _fill(connection)
        finally:
            await connection.close()


async def _fill(connection: Connection) -> Data:
    today = datetime.now(UTC).date()
    await connection.execute("SELECT create_partitions($1, $2)", today - timedelta(days=DAYS), today)
    subscriptions = [ids.new() for _ in range(20)]
    await connection.execute(
        "INSERT INTO subscriptions (id, tenant_id, target_url)"
        " SELECT id, 'default', 'http://x' FROM unnest($1::uuid[]) AS id",
        subscriptions,
    )
    batch: list[UUID] = []
    for age in range(DAYS + 1):
        noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC) - timedelta(days=age)
        event_ids = [_id_at(noon, number) for number in range(ROWS_PER_DAY)]
        owners = [subscriptions[number % 20] for number in range(ROWS_PER_DAY)]
        delivery_ids = [ids.of_delivery(event, owner) for event, owner in zip(event_ids, owners, strict=True)]
        if age == 1:
            batch = event_ids[:BATCH]
        await connection.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload)"
            " SELECT id, 'default', 'application/json', repeat('x', 500)::bytea FROM unnest($1::uuid[]) AS id",
            event_ids,
        )
        await connection.execute(
            "INSERT INTO event_tags (event_id, tenant_id, tag)"
            " SELECT id, 'default', 'order=' || n FROM unnest($1::uuid[]) AS id CROSS JOIN generate_series(1, 2) AS n",
            event_ids,
        )
        # A few deliveries of each day are unfinished in each state, as after an outage; the rest is delivered.
        await connection.execute(
            "INSERT INTO webhook_deliveries (id, event_id, subscription_id, tenant_id, status)"
            " SELECT id, event_id, owner, 'default',"
            " (CASE WHEN n % 100 <= 3 THEN 'pending' WHEN n % 100 = 4 THEN 'failed' ELSE 'delivered' END)"
            "::delivery_status"
            " FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS d (id, event_id, owner, n)",
            delivery_ids, event_ids, owners,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO unsuccessful_deliveries (id, subscription_id, status, tenant_id, attempt_count)"
            " SELECT id, subscription_id, status, tenant_id, attempt_count FROM webhook_deliveries"
            " WHERE status = 'failed' AND id = ANY($1::uuid[])",
            delivery_ids,
        )
        await connection.execute(
            "INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at,"
            " scheduled, claim_token, lease_until)"
            " SELECT id, event_id, owner, 'default', now(), now() + interval '7 days', n % 100 = 2,"
            " CASE WHEN n % 100 = 3 THEN id END, CASE WHEN n % 100 = 3 THEN now() END"
            " FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS d (id, event_id, owner, n)"
            " WHERE n % 100 <= 3",
            delivery_ids, event_ids, owners,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO delivery_attempts"
            " (delivery_id, claim_token, request, subscription_id, started_at, number, final, outcome, tenant_id)"
            " SELECT id, gen_random_uuid(), 1, owner, now(), 1, true, 'success', 'default'"
            " FROM unnest($1::uuid[], $2::uuid[]) AS a (id, owner)",
            delivery_ids, owners,
        )  # fmt: skip
    # So many others wait that reading all of the queue is never the cheapest.
    await connection.execute(
        "INSERT INTO delivery_queue (delivery_id, event_id, subscription_id, tenant_id, due_at, expires_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'default', now() + interval '1 day',"
        " now() + interval '7 days' FROM generate_series(1, 5000)"
    )
    turn_at = await connection.fetchval("SELECT now()")
    await connection.execute(
        "INSERT INTO due_subscriptions (subscription_id, tenant_id, turn_at, due_from, held_by)"
        " SELECT id, 'default', $2, 'epoch', CASE WHEN n % 2 = 0 THEN 'rate_limit' END"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS d (id, n)",
        subscriptions, turn_at,
    )  # fmt: skip
    await connection.execute("VACUUM ANALYZE")
    rows = await connection.fetch("SELECT id FROM webhook_deliveries WHERE event_id = ANY($1::uuid[])", batch)
    yesterday = (today - timedelta(days=1)).strftime("%Y%m%d")
    return Data(
        connection=connection,
        day=yesterday,
        event_ids=batch,
        delivery_ids=[row["id"] for row in rows],
        subscriptions=subscriptions,
        turns=[turn_at] * len(subscriptions),
    )


def _id_at(moment: datetime, number: int) -> UUID:
    """Return a UUIDv7 of that time."""
    milliseconds = int(moment.timestamp() * 1000) + number
    return UUID(int=(milliseconds << 80) | (ids.new().int & ((1 << 80) - 1)))


async def plan(connection: Connection, query: str, *arguments: Any) -> Any:
    """Return the generic plan of a statement, with statistics of its execution, which is rolled back."""
    types = [parameter.name for parameter in (await connection.prepare(query)).get_parameters()]
    names = [f"{name.removesuffix('[]')}[]" if name.endswith("[]") else name for name in types]
    transaction = connection.transaction()
    await transaction.start()
    try:
        signature = f"({', '.join(names)})" if names else ""
        await connection.execute(f"PREPARE looked_at {signature} AS {query}")
        values = ", ".join(_literal(value) for value in arguments)
        execute = f"EXECUTE looked_at ({values})" if arguments else "EXECUTE looked_at"
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}")
        return json.loads(explained)[0]["Plan"]
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE looked_at")


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join("NULL" if each is None else f'"{each}"' for each in value) + "}'"
    return f"'{value}'"


def nodes(node: Any) -> Iterator[Any]:
    """Return the nodes of a plan that were executed."""
    if node["Actual Loops"] > 0:
        yield node
        for child in node.get("Plans", ()):
            yield from nodes(child)


def read(node: Any) -> set[tuple[str, str]]:
    """Return the partitions whose rows were read, as (table, day)."""
    relations = {
        each["Relation Name"] for each in nodes(node) if "Relation Name" in each and "Scan" in each["Node Type"]
    }
    matches = [_PARTITION.fullmatch(relation) for relation in relations]
    return {(match[1], match[2]) for match in matches if match}


def whole(node: Any) -> list[str]:
    """The partitions that were read row by row, and had rows; the queue if it was."""
    return [
        each["Relation Name"]
        for each in nodes(node)
        if each["Node Type"] == "Seq Scan" and _is_large(each["Relation Name"]) and _passed(each)
    ]


def _is_large(relation: str) -> bool:
    return relation == QUEUE or _PARTITION.fullmatch(relation) is not None


def touched(node: Any) -> int:
    """Rows that scans of partitions and of the queue passed, whether they were wanted or not."""
    return sum(
        _passed(each)
        for each in nodes(node)
        if "Scan" in each["Node Type"] and _is_large(each.get("Relation Name", ""))
    )


def _passed(node: Any) -> int:
    return int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])


def record_arguments(data: Data) -> list[Any]:
    some = data.delivery_ids
    number = len(some)
    token, now = ids.new(), datetime.now(UTC)
    owners = [data.subscriptions[0]] * number
    return [
        some, [token] * number, ["delivered"] * number, [0.0] * number, [0] * number, [None] * number, [1] * number,
        some, [1] * number, owners, ["default"] * number, [now] * number, [5] * number, [200] * number,
        ["success"] * number, [None] * number, ["ok"] * number, [True] * number, min(some), max(some),
        ["order.created"] * number, ["{}"] * number,
    ]  # fmt: skip


def late_arguments(data: Data) -> list[Any]:
    _, _, _, _, _, _, _, some, requests, owners, tenants, *rest, _, _, types, details = record_arguments(data)
    events = data.event_ids
    return [some, [ids.new()] * len(some), requests, [2] * len(some), owners, tenants, *rest, types, details, events]


def settle_arguments(data: Data) -> list[Any]:
    some = data.delivery_ids
    rest: list[Any] = [1, True, True, 503, "http_5xx"]
    return [some, *([value] * len(some) for value in rest), min(some), max(some)]


def by_id(data: Data) -> dict[str, tuple[str, list[Any]]]:
    """Return every statement that a batch of ids runs, with its arguments."""
    some = data.delivery_ids
    least, greatest = min(some), max(some)
    token, tokens = ids.new(), [ids.new()] * len(some)
    owners = [data.subscriptions[0]] * len(some)
    event_range = [ids.delivery_range(least)[0], ids.delivery_range(greatest)[1]]
    one = [some[0], ids.delivery_range(some[0])[0], ids.delivery_range(some[0])[1]]
    return {
        "claim": (worker.SQL["claim"], [some, token, 60.0, 65536, *event_range]),
        "renew": (worker.SQL["renew"], [some, tokens, 60.0]),
        "record": (worker.SQL["record"], record_arguments(data)),
        "lock_late": (worker.SQL["lock_late"], [some]),
        "lock_late_ended": (worker.SQL["lock_late_ended"], [some, least, greatest]),
        "select_attempts_of_claims": (worker.SQL["select_attempts_of_claims"], [some, least, greatest, tokens]),
        "record_late": (worker.SQL["record_late"], late_arguments(data)),
        "settle_late": (worker.SQL["settle_late"], settle_arguments(data)),
        "select_payload": (worker.SQL["select_payload"], [data.event_ids[0]]),
        "take_due": (dispatcher.SQL["take_due"], [some, 10.0]),
        "keep_leases": (dispatcher.SQL["keep_leases"], [some, 0.0]),
        "lock_leases": (dispatcher.SQL["lock_leases"], [some]),
        "expire_leases": (dispatcher.SQL["expire_leases"], [some, least, greatest, 10, 60.0, tokens]),
        "mark_due": (deliveries.SQL["mark_due"], [some, None]),
        "end_waiting": (deliveries.SQL["end_waiting"], [some, least, greatest, "failed", "expired", False]),
        "find_of_event": (api.SQL["find_of_event"], [data.event_ids[0], one[1], one[2], None, 50]),
        "select_whole": (api.SQL["select_whole"], [some, "default", least, greatest, True]),
        "count_by": (api.SQL["count_by"], [some, least, greatest, "status"]),
        "select_attempts": (api.SQL["select_attempts"], [some, least, greatest]),
        "event_exists": (api.SQL["event_exists"], [data.event_ids[0], "default"]),
        "lock_deliveries": (api.SQL["lock_deliveries"], [some, "default", least, greatest]),
        "retry_deliveries": (api.SQL["retry_deliveries"], [some, [10.0] * len(some), 168, least, greatest, "a"]),
        "unlist": (api.SQL["unlist"], [some, owners, ["failed"] * len(some), least, greatest]),
        "lock_queued": (api.SQL["lock_queued"], [some, "default"]),
        "select_queued": (api.SQL["select_queued"], [some]),
        "select_owners_of": (deliveries.SQL["select_owners_of"], [some, least, greatest]),
        "select_visible_events": (
            deliveries.SQL["select_visible_events"],
            [*ranges(data, BATCH), data.subscriptions[:1], *event_range],
        ),
        **erasing(data),
    }


def erasing(data: Data) -> dict[str, tuple[str, list[Any]]]:
    """Return the statements that erase events."""
    some, events = data.delivery_ids, data.event_ids
    of_deliveries, of_events = [some, min(some), max(some)], [events, min(events), max(events)]
    between = ranges(data, len(events))
    return {
        "count_deliveries": (erasure.SQL["count_deliveries"], [*between, 10]),
        "find_of_events": (erasure.SQL["find_of_events"], [*between, FIRST, None]),
        "erase_payloads": (erasure.SQL["erase_payloads"], of_events),
        "lock_queue": (erasure.SQL["lock_queue"], [some]),
        "lock_history": (erasure.SQL["lock_history"], of_deliveries),
        "erase_attempts": (erasure.SQL["erase_attempts"], of_deliveries),
        "finish_erasing": (erasure.SQL["finish_erasing"], of_events),
    }


BY_ID = [
    "claim", "renew", "record", "lock_late", "lock_late_ended", "select_attempts_of_claims",
    "record_late", "settle_late", "select_payload", "take_due", "keep_leases", "lock_leases",
    "expire_leases", "mark_due",
    "end_waiting", "find_of_event", "select_whole", "count_by", "select_attempts", "event_exists", "lock_deliveries",
    "retry_deliveries", "unlist", "lock_queued", "select_queued", "select_owners_of",
    "select_visible_events", "count_deliveries", "find_of_events", "erase_payloads", "lock_queue", "lock_history",
    "erase_attempts", "finish_erasing",
]  # fmt: skip


@pytest.mark.parametrize("name", BY_ID)
async def test_a_statement_by_ids_reads_only_the_partitions_of_their_days_and_no_more_rows_than_ids(
    data: Data, name: str
) -> None:
    """For each table and scan of it."""
    query, arguments = by_id(data)[name]
    found = await plan(data.connection, query, *arguments)
    assert {day for _, day in read(found)} <= {data.day}, name
    assert whole(found) == []
    scans = [node for node in nodes(found) if _is_large(node.get("Relation Name", "")) and "Scan" in node["Node Type"]]
    assert touched(found) <= BATCH * max(1, len(scans)), name


async def test_storing_events_reads_the_subscriptions_of_deliveries_with_a_slot_and_no_others(data: Data) -> None:
    noon = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
    events = [_id_at(noon, number) for number in range(BATCH)]
    owner = data.subscriptions[0]
    with_slot = [number % 10 == 0 for number in range(BATCH)]
    arguments = [
        events, ["default"] * BATCH, [None] * BATCH, ["text/plain"] * BATCH, ["x"] * BATCH,
        [ids.of_delivery(event, owner) for event in events], events, [owner] * BATCH,
        [10.0] * BATCH, 168, [None] * BATCH, [None] * BATCH, with_slot, ids.new(), 60.0, [None] * BATCH, [None] * BATCH,
    ]  # fmt: skip
    found = await plan(data.connection, ingest.SQL["insert_events"], *arguments)
    for table in ("subscriptions", "subscription_health"):
        (scan,) = (node for node in nodes(found) if node.get("Relation Name") == table)
        assert scan["Node Type"] == "Index Scan", table
        assert scan["Actual Loops"] <= sum(with_slot), table  # fewer where what was read is used again


PULLS: dict[str, Callable[[Data], list[Any]]] = {
    "find_ready": lambda data: [data.subscriptions],
    "pull": lambda data: [data.subscriptions[0], 10, ids.new(), 60.0, 1 << 20],
    "extend": lambda data: [data.subscriptions[0], data.delivery_ids[:10], data.delivery_ids[:10], [60.0] * 10],
    "select_held": lambda data: [data.delivery_ids[:10]] * 2,
    "select_leased": lambda data: [data.subscriptions[0], data.delivery_ids[:10], data.delivery_ids[:10]],
}


@pytest.mark.parametrize("name", PULLS)
async def test_a_pull_reads_no_more_rows_than_it_leases_and_no_partition_whole(data: Data, name: str) -> None:
    """For each table and scan of it. Of a batch of subscriptions those are read besides that others have claimed."""
    found = await plan(data.connection, pull.SQL[name], *PULLS[name](data))
    assert whole(found) == []
    scans = [node for node in nodes(found) if _is_large(node.get("Relation Name", "")) and "Scan" in node["Node Type"]]
    assert touched(found) <= (BATCH if name == "find_ready" else 10) * max(1, len(scans)), name


FIRST = UUID(int=0)
LAST = UUID(int=2**128 - 1), True


def each(data: Data, value: Any) -> list[Any]:
    return [value] * len(data.subscriptions)


TURNS = [
    ("sweep", lambda _: [None, 1_000, 3600.0]),
    ("check_queue", lambda _: [FIRST, False, 1_000]),
    ("count_run", lambda data: [data.subscriptions[0], False, 100]),
    ("count_outstanding", lambda data: [data.subscriptions, each(data, 100)]),
    ("find_due", lambda data: [data.subscriptions, each(data, dispatcher.BEGINNING), each(data, 10)]),
    (
        "leave_turns",
        lambda data: [data.subscriptions, data.turns, each(data, dispatcher.BEGINNING), each(data, value=False)],
    ),
    ("find_expired", lambda _: [FIRST, 1_000]),
    ("remove_turn", lambda data: [data.subscriptions[0]]),
    ("count_queue", lambda _: [100_000, 10.0]),
    ("count_due", lambda _: [100_000, 10.0, dispatcher.BEGINNING, FIRST, 100_000]),
    ("count_held", lambda _: [100_000]),
]


@pytest.mark.parametrize(("name", "arguments"), TURNS, ids=[name for name, _ in TURNS])
async def test_a_turn_reads_no_partition_whole_and_unfinished_rows_alone(data: Data, name: str, arguments: Any) -> None:
    found = await plan(data.connection, dispatcher.SQL[name], *arguments(data))
    assert whole(found) == []
    unfinished = await data.connection.fetchval("SELECT count(*) FROM delivery_queue")
    assert touched(found) <= 4 * unfinished


async def test_statements_of_turns_do_not_read_past_deliveries_that_were_due_before(data: Data) -> None:
    now = datetime.now(UTC)
    cases: dict[str, list[Any]] = {
        "sweep": [now, 1_000, 1.0],
        "find_due": [data.subscriptions, each(data, now), each(data, 10)],
        "leave_turns": [data.subscriptions, data.turns, each(data, now), each(data, value=False)],
    }
    for name, arguments in cases.items():
        # The sweep reads the next one that becomes due, to say when that is.
        assert touched(await plan(data.connection, dispatcher.SQL[name], *arguments)) <= (name == "sweep"), name


async def test_a_pass_over_the_queue_goes_on_where_it_was(data: Data) -> None:
    found = await plan(data.connection, dispatcher.SQL["check_queue"], *LAST, 1_000)
    assert touched(found) == 0
    found = await plan(data.connection, dispatcher.SQL["find_expired"], LAST[0], 1_000)
    assert touched(found) == 0


async def test_cancelling_what_waits_reads_no_partition_whole(data: Data) -> None:
    arguments = [data.subscriptions[0], False, datetime(1970, 1, 1, tzinfo=UTC), 1_000]
    found = await plan(data.connection, deliveries.SQL["lock_waiting"], *arguments)
    assert whole(found) == []
    waiting = "SELECT count(*) FROM delivery_queue WHERE subscription_id = $1"
    assert touched(found) <= await data.connection.fetchval(waiting, data.subscriptions[0])


async def test_a_page_of_a_subscription_reads_no_partition_whole(data: Data) -> None:
    arguments = [data.subscriptions[0], UUID(int=2**128 - 1)]
    found = await plan(data.connection, api.SQL["find_of_subscription"], *arguments, 50)
    assert whole(found) == []
    assert touched(found) <= 2 * (50 + DAYS + 1)
    found = await plan(data.connection, api.SQL["find_unsuccessful"], *arguments, "failed", 50)
    assert whole(found) == []
    assert touched(found) <= 50 + DAYS + 1
    for name, more in (("find_newest_in", [50]), ("find_in_queue", [])):
        found = await plan(data.connection, api.SQL[name], *arguments, "scheduled", 50, *more)
        assert whole(found) == []
        assert touched(found) <= 2 * (50 + DAYS + 1)


async def test_a_look_for_test_events_reads_none_that_wait_for_nothing(data: Data) -> None:
    """Those of the last minute stay for the rate, of all tenants."""
    await data.connection.execute(
        "INSERT INTO endpoint_tests (id, subscription_id, tenant_id, actor, asked_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'default', 'a', now() - interval '30 seconds'"
        " FROM generate_series(1, 5000)"
    )
    await data.connection.execute("ANALYZE endpoint_tests")
    found = await plan(data.connection, worker.SQL["take_tests"], *[[], 10, 10.0, 60.0, False])
    assert sum(_passed(node) for node in nodes(found) if node.get("Relation Name") == "endpoint_tests") == 0


STEP = 50
# Statements that search, each on its walk, and their parameters after those of a step: filters that match nothing, so
# that each row that is passed is looked at as much as it can be.
SEARCHES: list[tuple[str, str, Callable[[Data], list[Any]]]] = [
    ("find_in_history", "history", lambda _: ["delivered", ["a.%"], 1, None]),
    ("find_in_history", "history_of_subscriptions", lambda data: [None, ["a.%"], 1, *[data.subscriptions[:3]] * 2]),
    ("find_in_history", "history_of_events", lambda data: [None, ["a.%"], 1, None, *ranges(data)]),
    ("find_in_history", "history_of_tags", lambda _: [None, ["a.%"], 1, None, ["order=1", "order=2"]]),
    (
        "find_unsuccessful_like",
        "unsuccessful_of_tags",
        lambda _: [["failed"], ["expired"], ["a.%"], None, None, 0, None, ["order=1", "order=2"]],
    ),
    (
        "find_unfinished",
        "queue_of_tags",
        lambda _: [["pending"], ["a.%"], None, None, 0, ["paused"], None, ["order=1", "order=2"]],
    ),
    ("find_unsuccessful_like", "unsuccessful", lambda _: [["failed"], ["expired"], ["a.%"], None, None, 0, None]),
    (
        "find_unsuccessful_like",
        "unsuccessful_of_subscriptions",
        lambda data: [["failed"], ["expired"], ["a.%"], [503], None, 0, data.subscriptions[:3]],
    ),
    (
        "find_unsuccessful_like",
        "unsuccessful_of_events",
        lambda data: [["failed"], ["expired"], ["a.%"], None, None, 0, None, *ranges(data)],
    ),
    ("find_unfinished", "queue", lambda _: [["pending"], ["a.%"], None, None, 0, ["paused"], None]),
    (
        "find_unfinished",
        "queue_of_subscriptions",
        lambda data: [["pending"], ["a.%"], None, None, 0, ["paused"], *[data.subscriptions[:3]] * 2],
    ),
    (
        "find_unfinished",
        "queue_of_events",
        lambda data: [["pending"], ["a.%"], None, None, 0, ["paused"], None, *ranges(data)],
    ),
]


def ranges(data: Data, number: int = 3) -> list[list[UUID]]:
    """Return so many events, and the least and the greatest id that the deliveries of each can have."""
    found = [ids.delivery_range(event_id) for event_id in data.event_ids[:number]]
    return [data.event_ids[:number], [least for least, _ in found], [most for _, most in found]]


@pytest.mark.parametrize("ascending", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize(("find", "walk", "arguments"), SEARCHES, ids=[walk for _, walk, _ in SEARCHES])
async def test_a_step_of_a_search_reads_no_more_rows_than_it_passes(
    data: Data, find: str, walk: str, arguments: Callable[[Data], list[Any]], *, ascending: bool
) -> None:
    parameters = ["default", UUID(int=0), UUID(int=2**128 - 1), STEP, STEP, *arguments(data)]
    query = walks.statement(api.SQL, find, walk, ascending=ascending, parameters=len(parameters))
    found = await plan(data.connection, query, *parameters)
    assert whole(found) == []
    # A row of each partition may be read ahead; each row that is passed may be looked up in another table.
    owners = 1 if "_of_" not in walk else 3
    assert touched(found) <= (owners + 1) * (STEP + DAYS + 1)


@pytest.mark.parametrize("state", ["delivered", "scheduled", "pending"])
@pytest.mark.parametrize("tables", ["new", "analyzed while empty", "analyzed while large"])
async def test_claims_and_outcomes_cost_the_same_whatever_the_tables_were_when_they_were_planned(
    stores: Stores, tables: str, state: str
) -> None:
    """No row is looked at more than a few times, and none of another batch."""
    with stores.database() as url:
        async with asyncpg.create_pool(url, min_size=1, max_size=1, server_settings=postgres._POOL_SETTINGS) as pool:
            world = World(pool=pool, database_url=url, redis_url=stores.redis_url())
            subscription = await world.subscription("http://127.0.0.1:1/")
            if tables == "analyzed while large":
                await world.deliver_many(subscription, 2_000)
            async with pool.acquire() as connection:
                if tables != "new":
                    await connection.execute("VACUUM ANALYZE")
                for name in ("claim", "record"):
                    await _prepare_and_plan(connection, name)
            await world.deliver_many(subscription, 2_000)
            await pool.execute(
                "INSERT INTO subscriptions (id, tenant_id, target_url)"
                " SELECT gen_random_uuid(), 'default', 'http://x' FROM generate_series(1, 2000)"
            )
            batch = sorted(await world.deliver_many(subscription, BATCH))
            bounds = [ids.delivery_range(batch[0])[0], ids.delivery_range(batch[-1])[1]]
            async with pool.acquire() as connection:
                token = ids.new()
                claimed = await _executed(connection, "claim", [batch, token, 60.0, 65536, *bounds])
                recorded = await _executed(connection, "record", _outcomes(batch, token, subscription, state))
            states = await pool.fetch("SELECT status FROM deliveries WHERE id = ANY($1::uuid[])", batch)
    assert {row["status"] for row in states} == {state}
    for found in (claimed, recorded):
        assert [_describe(node) for node in nodes(found) if _worked(node) > 2 * BATCH] == []


async def _prepare_and_plan(connection: Connection, name: str) -> None:
    """Prepare a statement of workers, and have its generic plan made by running it for a delivery that is none."""
    query = worker.SQL[name]
    types = ", ".join(parameter.name for parameter in (await connection.prepare(query)).get_parameters())
    await connection.execute(f"PREPARE planned_{name} ({types}) AS {query}")
    token, nothing = ids.new(), [UUID(int=0)]
    arguments = (
        _outcomes(nothing, token, token, "delivered") if name == "record" else [nothing, token, 60.0, 1, *nothing * 2]
    )
    await connection.execute(f"EXECUTE planned_{name} ({', '.join(map(_literal, arguments))})")


async def _executed(connection: Connection, name: str, arguments: Sequence[Any]) -> Any:
    """Run what was prepared, and return the plan with what it did."""
    values = ", ".join(map(_literal, arguments))
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE planned_{name} ({values})")
    return json.loads(explained)[0]["Plan"]


def _outcomes(batch: Sequence[UUID], token: UUID, subscription: UUID, state: str) -> list[Any]:
    def each(value: object) -> list[Any]:
        return [value] * len(batch)

    failures, outcome = (0, "success") if state == "delivered" else (1, "timeout")
    return [
        list(batch), each(token), each(state), each(60.0), each(failures), each(None), each(1),
        list(batch), each(1), each(subscription), each("default"), each(datetime.now(UTC)), each(5), each(200),
        each(outcome), each(None), each("ok"), [True] * len(batch), min(batch), max(batch), each("order.created"),
        each(None),
    ]  # fmt: skip


def _describe(node: Any) -> str:
    names = ("Node Type", "Relation Name", "CTE Name", "Index Name", "Index Cond", "Join Filter", "Filter")
    return " ".join(str(node[name]) for name in names if name in node)


def _worked(node: Any) -> int:
    """Return how many rows a node looked at: those it returned, and those it found not to be wanted."""
    found = node["Actual Rows"] + sum(number for name, number in node.items() if name.startswith("Rows Removed by"))
    return int(found * node["Actual Loops"])


def test_statements_of_a_batch_are_all_checked() -> None:
    # The last one looks up one id that was not found.
    named = [*BY_ID, *(name for name, _ in TURNS), "lock_waiting", "select_kind"]
    known = {
        name
        for queries in (worker.SQL, dispatcher.SQL, deliveries.SQL)
        for name, query in queries.items()
        if "webhook_" in query or "delivery_attempts" in query or QUEUE in query
    }
    assert known <= set(named)
