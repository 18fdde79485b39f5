"""GetSystem and NoteProcess over a real channel."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from protos.webhook.v1 import system_pb2 as pb
from protos.webhook.v1 import system_pb2_grpc
from services.ingest.system import service
from services.platform import ids
from services.platform.grpc import conversion
from services.platform.process import metrics
from tests.ingest.conftest import CALL_SECONDS, Ingest, eventually, fields, refused

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.system_pb2_grpc import SystemServiceAsyncStub

TABLES = {"webhook_deliveries", "unsuccessful_deliveries", "delivery_attempts", "event_tags", "webhook_events"}


@pytest.fixture(autouse=True)
def _look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)


async def looked(alone: Ingest) -> pb.GetSystemResponse:
    stub: SystemServiceAsyncStub = system_pb2_grpc.SystemServiceStub(alone.channel)
    return await stub.GetSystem(pb.GetSystemRequest(), timeout=CALL_SECONDS)


async def test_the_database_and_a_week_of_partitions_are_described(alone: Ingest) -> None:
    found = await looked(alone)
    newest = "SELECT max(version) AS version, max(applied_at) AS at FROM schema_migrations"
    migration = await alone.pool.fetchrow(newest)
    assert migration is not None
    assert found.database.schema_version == migration["version"]
    assert found.database.migrated_at.ToDatetime(tzinfo=UTC) == migration["at"]
    assert found.database.version == await alone.pool.fetchval("SHOW server_version")
    assert found.database.bytes > 1 << 20
    assert 0 < found.database.connections <= found.database.max_connections

    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert {partition.table for partition in found.partitions} == TABLES
    assert found.partition_count == len(found.partitions) >= 9 * len(TABLES)
    # From midnight to midnight, even if the day ends while the test runs.
    ahead = found.partitions_until.ToDatetime(tzinfo=UTC) - today
    assert timedelta(days=8) <= ahead <= timedelta(days=9)
    last = found.partitions[0]
    assert last.to_time == found.partitions_until
    assert last.name.startswith(f"{last.table}_")
    assert last.to_time.seconds - last.from_time.seconds == 86_400
    assert min(partition.bytes for partition in found.partitions) > 0


async def test_rows_of_partitions_are_estimates(alone: Ingest) -> None:
    made = await alone.create()
    await alone.send(made.id)
    await alone.pool.execute("ANALYZE webhook_events")
    rows = [partition.rows for partition in (await looked(alone)).partitions if partition.table == "webhook_events"]
    assert sum(rows) >= 1


async def test_processes_are_listed_with_those_that_ask_ingest_to_note_them(alone: Ingest) -> None:
    stub: SystemServiceAsyncStub = system_pb2_grpc.SystemServiceStub(alone.channel)
    started = datetime.now(UTC).replace(microsecond=0)
    gateway = pb.ServiceProcess(
        id=str(ids.new()),
        roles=["gateway"],
        instance="webhook-gateway-1",
        pid=7,
        version="0.0.9",
        started_at=conversion.stamp(started),
    )
    await stub.NoteProcess(pb.NoteProcessRequest(process=gateway), timeout=CALL_SECONDS)

    async def both() -> bool:
        return {role for process in (await looked(alone)).processes for role in process.roles} == {"gateway", "ingest"}

    await eventually(both, "both processes")
    noted, own = (await looked(alone)).processes
    assert (noted.id, noted.instance, noted.pid, noted.version) == (gateway.id, "webhook-gateway-1", 7, "0.0.9")
    assert noted.started_at.ToDatetime(tzinfo=UTC) == started
    assert (noted.missing, noted.HasField("slots")) == (False, False)
    assert own.version == metrics.VERSION

    await stub.NoteProcess(pb.NoteProcessRequest(process=gateway, ends=True), timeout=CALL_SECONDS)
    assert [list(process.roles) for process in (await looked(alone)).processes] == [["ingest"]]


GOOD: dict[str, Any] = {"id": str(ids.new()), "roles": ["gateway"], "instance": "a", "version": "1"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"id": "x"}, "process.id"),
        ({"roles": []}, "process.roles"),
        ({"roles": ["gateway"] * 9}, "process.roles"),
        ({"roles": ["Gate way"]}, "process.roles"),
        ({"instance": "a\0"}, "process.instance"),
        ({"version": "v" * 254}, "process.version"),
        ({"pid": -1}, "process.pid"),
        ({"slots": -1}, "process.slots"),
    ],
)
async def test_a_wrong_field_of_a_process_is_named(ingest: Ingest, wrong: dict[str, Any], field: str) -> None:
    stub: SystemServiceAsyncStub = system_pb2_grpc.SystemServiceStub(ingest.channel)
    request = pb.NoteProcessRequest(process=pb.ServiceProcess(**GOOD | wrong))
    assert fields(await refused(stub.NoteProcess(request, timeout=CALL_SECONDS))) == [field]
