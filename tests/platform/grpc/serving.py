"""A gRPC server as in the processes, with a test's additions."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

from protos.webhook.v1 import ingest_pb2_grpc
from services.platform.auth import keys
from services.platform.auth.authenticator import Authenticator
from services.platform.auth.identity import Identity
from services.platform.grpc import server as grpc_server
from services.platform.process.lifecycle import Process
from services.platform.settings import GrpcServerSettings
from services.platform.tracing.spans import Tracer


async def no_one(_key: str) -> Identity:
    """Accept callers without keys."""
    raise keys.invalid()


@contextlib.asynccontextmanager
async def serving(
    settings: GrpcServerSettings,
    *added: ingest_pb2_grpc.IngestServiceServicer | grpc.GenericRpcHandler,
    find: Callable[[str], Awaitable[Identity]] = no_one,
    tracer: Tracer | None = None,
) -> AsyncIterator[int]:
    """Serve, and yield the port."""

    def register(server: grpc.aio.Server) -> None:
        for each in added:
            if isinstance(each, ingest_pb2_grpc.IngestServiceServicer):
                ingest_pb2_grpc.add_IngestServiceServicer_to_server(each, server)
            else:
                server.add_generic_rpc_handlers((each,))

    process = Process("test", tracer)
    try:
        async with grpc_server.serving(process, settings, (), register, Authenticator(settings, find, find)) as port:
            yield port
    finally:
        await process.cancel_all()
