"""Notes a process that has no connection to Postgres: by ingest."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc

from protos.webhook.v1 import system_pb2 as pb
from protos.webhook.v1 import system_pb2_grpc
from services.platform import errors
from services.platform.grpc import conversion
from services.platform.process import presence
from services.platform.process.lifecycle import Process
from services.platform.process.presence import Presence

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.system_pb2_grpc import SystemServiceAsyncStub

TIMEOUT_SECONDS = 2.0
# Roles that have Postgres, and note the process themselves.
_BY_THEMSELVES = frozenset(("ingest", "delivery", "worker", "analytics"))


class RemoteRegister:
    """The register of processes, over gRPC."""

    def __init__(self, stub: "SystemServiceAsyncStub") -> None:
        self._stub = stub

    async def note(self, process: Presence) -> None:
        """Note that a process is there; raise Unavailable where ingest does not."""
        await self._call(pb.NoteProcessRequest(process=_message(process)))

    async def forget(self, process: Presence) -> None:
        """Forget a process that ends."""
        await self._call(pb.NoteProcessRequest(process=_message(process), ends=True))

    async def _call(self, request: pb.NoteProcessRequest) -> None:
        try:
            await self._stub.NoteProcess(request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            # An ingest of the version before does not know it.
            raise errors.Unavailable(f"ingest did not note this process: {error.details()}") from None


def _message(process: Presence) -> pb.ServiceProcess:
    return conversion.message(pb.ServiceProcess, process)


@contextlib.asynccontextmanager
async def noted(process: Process, ingest: grpc.aio.Channel) -> AsyncIterator[None]:
    """Have a process noted by ingest while this context lasts, unless another of its roles has Postgres."""
    if _BY_THEMSELVES & set(process.whole.roles):
        yield
        return
    async with presence.noted(process, RemoteRegister(system_pb2_grpc.SystemServiceStub(ingest))):
        yield
