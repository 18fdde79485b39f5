"""A client of several servers under one name: new servers get calls, too."""

import contextlib
import sys
from collections.abc import AsyncIterator

import pytest

from dev.embedded import ports
from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.platform.grpc import client
from services.platform.grpc.calls import Context
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc import name_server
from tests.platform.grpc.serving import serving

# Only on Linux does all of 127.0.0.0/8 belong to this machine.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="takes more than one loopback address")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
AGE_SECONDS = 1.0
PATIENCE_SECONDS = 60.0


class Named(ingest_pb2_grpc.IngestServiceServicer):
    """Returns its address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def GetEvent(self, request: ingest_pb2.GetEventRequest, _context: Context) -> ingest_pb2.GetEventResponse:
        return ingest_pb2.GetEventResponse(event=ingest_pb2.Event(id=self._address))


@contextlib.asynccontextmanager
async def serving_at(address: str, port: int) -> AsyncIterator[None]:
    """A server as in the processes, at one of the addresses."""
    settings = GrpcServerSettings(bind_host=address, grpc_port=port, grpc_max_connection_age_seconds=AGE_SECONDS)
    async with serving(settings, Named(address)):  # type: ignore[abstract]  # one method is enough
        yield


async def answered(stub: "ingest_pb2_grpc.IngestServiceAsyncStub", calls: int) -> set[str]:
    """Return the servers of this many calls, none of which may fail."""
    found = set()
    for _ in range(calls):
        answer = await stub.GetEvent(ingest_pb2.GetEventRequest(), timeout=60, wait_for_ready=True)
        found.add(answer.event.id)
    return found


async def test_servers_that_come_after_a_client_has_connected_get_calls_and_no_call_fails() -> None:
    port = ports.free_port()
    async with contextlib.AsyncExitStack() as servers, name_server.serving() as names:
        await servers.enter_async_context(serving_at(ADDRESSES[0], port))
        names.addresses = [ADDRESSES[0]]
        async with client.channel(f"dns://127.0.0.1:{names.port}/ingest.test:{port}") as channel:
            stub: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)
            assert await answered(stub, 10) == {ADDRESSES[0]}
            for address in ADDRESSES[1:]:
                await servers.enter_async_context(serving_at(address, port))
            names.addresses = list(ADDRESSES)

            async def all_answer() -> bool:
                return await answered(stub, 10) == set(ADDRESSES)

            await wait_until(all_answer, PATIENCE_SECONDS, what="all servers to get calls")
