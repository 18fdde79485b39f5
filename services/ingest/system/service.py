"""SystemService: the processes and the database, for operators."""

import re
from datetime import UTC
from uuid import UUID

from protos.webhook.v1 import system_pb2 as pb
from protos.webhook.v1 import system_pb2_grpc
from services.ingest.system.store import SystemStore
from services.platform import errors, ids
from services.platform.grpc import conversion
from services.platform.grpc.calls import Context
from services.platform.process.fresh import Fresh
from services.platform.process.presence import Presence
from services.platform.stores.processes import ProcessStore

# How old what is shown may be: everybody who looks within this time costs one look.
FRESH_SECONDS = 5.0
MAX_PROCESSES = 200
MAX_PARTITIONS = 500
MAX_ROLES = 8
_ROLE = re.compile(r"[a-z]{1,20}")
_TEXT = re.compile(r"[!-~]{1,253}")


class SystemService(system_pb2_grpc.SystemServiceServicer):
    """Servicer of webhook.v1.SystemService."""

    def __init__(self, store: SystemStore, processes: ProcessStore) -> None:
        self._store = store
        self._processes = processes
        self._system = Fresh(self._look, seconds=FRESH_SECONDS)

    async def GetSystem(self, _request: pb.GetSystemRequest, _context: Context) -> pb.GetSystemResponse:
        """Return what was found of late."""
        return await self._system.get()

    async def _look(self) -> pb.GetSystemResponse:
        database = await self._store.database()
        partitions = await self._store.partitions(MAX_PARTITIONS)
        processes = await self._processes.all(MAX_PROCESSES)
        return pb.GetSystemResponse(
            looked_at=conversion.stamp(database.looked_at),
            processes=[conversion.message(pb.ServiceProcess, process) for process in processes],
            database=conversion.message(pb.Database, database),
            partitions=[conversion.message(pb.TablePartition, partition) for partition in partitions.newest],
            partition_count=partitions.number,
            partitions_until=conversion.stamp(partitions.until),
        )

    async def NoteProcess(self, request: pb.NoteProcessRequest, _context: Context) -> pb.NoteProcessResponse:
        """Note a process, or forget it. InvalidArgument names a field of `process` that no process has."""
        presence = _presence(request.process)
        if request.ends:
            await self._processes.forget(presence)
        else:
            await self._processes.note(presence)
        return pb.NoteProcessResponse()


def _presence(process: pb.ServiceProcess) -> Presence:
    process_id: UUID = ids.parse("process.id", process.id)
    wrong = []
    if not 0 < len(process.roles) <= MAX_ROLES or not all(map(_ROLE.fullmatch, process.roles)):
        wrong.append(errors.Violation(field="process.roles", description=f"must be 1 to {MAX_ROLES} names of roles"))
    for field in ("instance", "version"):
        if not _TEXT.fullmatch(getattr(process, field)):
            description = "must be 1 to 253 printable ASCII characters without spaces"
            wrong.append(errors.Violation(field=f"process.{field}", description=description))
    wrong += [
        errors.Violation(field=f"process.{field}", description="must not be negative")
        for field in ("pid", "slots", "busy_slots")
        if getattr(process, field) < 0
    ]
    if wrong:
        raise errors.InvalidArgument.of(*wrong)
    return Presence(
        id=process_id,
        roles=tuple(process.roles),
        instance=process.instance,
        pid=process.pid,
        version=process.version,
        started_at=conversion.moment("process.started_at", process.started_at).astimezone(UTC),
        slots=process.slots if process.HasField("slots") else None,
        busy_slots=process.busy_slots if process.HasField("busy_slots") else None,
    )
