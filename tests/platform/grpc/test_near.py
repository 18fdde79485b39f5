"""Calls between roles of one process: contexts, copies, deadlines, cancellation, and what another copy has to do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.authenticator import Authenticator
from services.platform.grpc import client, places
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc import server as grpc_server
from services.platform.grpc.calls import Context
from services.platform.process import lifecycle, shares
from services.platform.settings import GrpcServerSettings
from services.platform.tracing import spans
from services.platform.tracing.spans import Parent
from tests.platform.grpc.serving import no_one
from tests.platform.tracing.recording import Kept

NAMES = ("webhook.v1.IngestService",)


@dataclass
class Servicer(ingest_pb2_grpc.IngestServiceServicer):
    """Answers with what a test wants."""

    answer: Callable[[ingest_pb2.GetEventRequest], Awaitable[None]] | None = None
    kept: ingest_pb2.GetEventResponse = field(default_factory=ingest_pb2.GetEventResponse)
    calls: int = 0
    # Of the last call.
    left_seconds: float | None = None
    metadata: Any = ()

    async def Ingest(self, request: object, context: object) -> ingest_pb2.IngestResponse:
        raise NotImplementedError

    async def BatchIngest(self, request: object, context: object) -> ingest_pb2.BatchIngestResponse:
        raise NotImplementedError

    async def ListEvents(self, request: object, context: object) -> ingest_pb2.ListEventsResponse:
        raise NotImplementedError

    def StreamEvents(self, request: object, context: object) -> AsyncIterator[ingest_pb2.StreamEventsResponse]:
        raise NotImplementedError

    async def CancelEvent(self, request: object, context: object) -> ingest_pb2.CancelEventResponse:
        raise NotImplementedError

    async def CheckFilter(self, request: object, context: object) -> ingest_pb2.CheckFilterResponse:
        raise NotImplementedError

    async def ListEventRoutes(self, request: object, context: object) -> ingest_pb2.ListEventRoutesResponse:
        raise NotImplementedError

    async def GetEvent(self, request: ingest_pb2.GetEventRequest, context: Context) -> ingest_pb2.GetEventResponse:
        self.calls += 1
        self.left_seconds, self.metadata = context.time_remaining(), context.invocation_metadata()
        if self.answer is not None:
            await self.answer(request)
        return self.kept


@dataclass(kw_only=True)
class Roles:
    """A role of this process, and a copy of it in another one."""

    here: Servicer
    there: Servicer
    process: lifecycle.Process
    get: Any
    # Ends the role of this process.
    stop: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(process: lifecycle.Process, servicer: Servicer, *, grace_seconds: float = 1.0) -> AsyncIterator[int]:
    """Serve a role."""
    settings = GrpcServerSettings(
        grpc_port=0, env="development", shutdown_grace_seconds=grace_seconds, max_payload_bytes=1000, _env_file=None
    )

    def register(server: grpc.aio.Server) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(servicer, server)

    authenticator = Authenticator(settings, no_one, no_one)
    async with grpc_server.serving(process, settings, NAMES, register, authenticator) as port:
        yield port
    await process.cancel_all()


@pytest.fixture
async def roles() -> AsyncIterator[Roles]:
    """A role, a copy of it, and a stub that calls the first one directly."""
    here, there, process = Servicer(), Servicer(), lifecycle.Process("ingest")
    async with contextlib.AsyncExitStack() as stack:
        address = f"127.0.0.1:{await stack.enter_async_context(serving(lifecycle.Process('copy'), there))}"
        channel = await stack.enter_async_context(client.channel(address, near=process.near("ingest")))
        serves = await stack.enter_async_context(contextlib.AsyncExitStack())
        await serves.enter_async_context(serving(process, here))
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        yield Roles(here=here, there=there, process=process, get=stub.GetEvent, stop=serves.aclose)


REQUEST = ingest_pb2.GetEventRequest(event_id="of a test")


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """Return the code of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code()


async def test_a_role_of_this_process_is_called_here(roles: Roles) -> None:
    await roles.get(REQUEST, timeout=30)
    assert (roles.here.calls, roles.there.calls) == (1, 0)


async def test_a_call_has_a_context_of_its_own(roles: Roles) -> None:
    """Nothing of the caller's is seen by the servicer, and nothing that is set for it remains."""
    found: list[object] = []

    async def look(_: object) -> None:
        found.extend((spans.CURRENT.get(), shares.OWNER.get(), identity.CALLER.get()))

    roles.here.answer = look
    span = Kept(Parent(7, 8, sampled=True))
    caller = identity.CALLER.get(None)
    spans.CURRENT.set(span)
    shares.OWNER.set("whose request it is")
    try:
        await roles.get(REQUEST, timeout=30)
        assert (spans.CURRENT.get(), shares.OWNER.get()) == (span, "whose request it is")
        assert identity.CALLER.get(None) is caller
    finally:
        spans.CURRENT.set(None)
        shares.OWNER.set(None)
    assert found == [None, "default", identity.ANONYMOUS]


async def test_neither_side_sees_what_the_other_does_to_a_message(roles: Roles) -> None:
    async def change(request: ingest_pb2.GetEventRequest) -> None:
        request.event_id = "changed"

    roles.here.answer = change
    request = ingest_pb2.GetEventRequest(event_id="mine")
    answer = await roles.get(request, timeout=30)
    answer.event.id = "changed"
    assert request.event_id == "mine"
    assert not roles.here.kept.event.id


async def test_a_deadline_ends_the_call_and_the_work(roles: Roles) -> None:
    ended = asyncio.Event()

    async def hang(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    roles.here.answer = hang
    assert await code_of(roles.get(REQUEST, timeout=0.05)) is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(ended.wait(), 60)
    assert roles.there.calls == 0


async def test_a_cancelled_caller_does_not_wait_for_a_servicer_that_is_slow_to_end(roles: Roles) -> None:
    entered, told, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def linger(_: object) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            await may_end.wait()
            raise

    roles.here.answer = linger
    call = asyncio.ensure_future(roles.get(REQUEST, timeout=30))
    await asyncio.wait_for(entered.wait(), 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 60)
    await asyncio.wait_for(told.wait(), 60)
    assert REGISTRY.get_sample_value("webhook_rpc_in_flight") == 1
    may_end.set()
    await wait_until(lambda: REGISTRY.get_sample_value("webhook_rpc_in_flight") == 0, what="the call to end")


async def test_a_message_that_is_too_large_is_refused_as_by_grpc(roles: Roles) -> None:
    large = ingest_pb2.GetEventRequest(event_id="x" * (4 << 20))
    refused = []
    for stop in (False, True):
        if stop:  # then the copy is called
            await roles.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await roles.get(large, timeout=30)
        refused.append(grpc_errors.from_rpc_error(raised.value))
    assert [type(error) for error in refused] == [errors.PayloadTooLarge] * 2
    assert (roles.here.calls, roles.there.calls) == (0, 0)


async def test_another_copy_is_called_when_this_one_has_too_much_to_do(roles: Roles) -> None:
    async def refuse(_: object) -> None:
        raise errors.Overloaded("too many")

    roles.here.answer = refuse
    await roles.get(REQUEST, timeout=30)
    assert (roles.here.calls, roles.there.calls) == (1, 1)
    roles.there.answer = refuse
    assert await code_of(roles.get(REQUEST, timeout=30)) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_to_another_copy_has_the_metadata_and_what_is_left_of_the_time(roles: Roles) -> None:
    async def refuse(_: object) -> None:
        await asyncio.sleep(0.15)
        raise errors.Overloaded("too many")

    roles.here.answer = refuse
    await roles.get(REQUEST, timeout=5, metadata=(("told", "by the caller"),))
    assert roles.there.left_seconds is not None
    assert roles.there.left_seconds <= 4.9
    assert ("told", "by the caller") in [tuple(each) for each in roles.there.metadata]


@pytest.mark.parametrize(
    "error", [errors.TenantOverloaded("yours"), errors.QuotaExceeded("yours"), errors.Unavailable("all of us")]
)
async def test_what_another_copy_would_refuse_too_is_not_repeated(roles: Roles, error: errors.WebhookError) -> None:
    if isinstance(error, errors.QuotaExceeded):
        error = errors.QuotaExceeded("yours", reason=errors.ErrorReason.QUOTA_STORED_BYTES)

    async def refuse(_: object) -> None:
        raise error

    roles.here.answer = refuse
    assert await code_of(roles.get(REQUEST, timeout=30)) is grpc_errors.status_code(error)
    assert (roles.here.calls, roles.there.calls) == (1, 0)


async def test_a_role_with_no_place_for_a_call_leaves_it_to_another_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    there, here, process = Servicer(), Servicer(), lifecycle.Process("ingest")
    async with contextlib.AsyncExitStack() as stack:
        address = f"127.0.0.1:{await stack.enter_async_context(serving(lifecycle.Process('copy'), there))}"
        channel = await stack.enter_async_context(client.channel(address, near=process.near("ingest")))
        monkeypatch.setattr(places, "MAX_CALLS", 0)
        await stack.enter_async_context(serving(process, here))
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        await stub.GetEvent(REQUEST, timeout=30)
        assert (here.calls, there.calls) == (0, 1)


async def test_a_role_that_has_stopped_leaves_calls_to_another_copy(roles: Roles) -> None:
    await roles.stop()
    await roles.get(REQUEST, timeout=30)
    assert (roles.here.calls, roles.there.calls) == (0, 1)


async def test_a_role_that_stops_lets_calls_finish(roles: Roles) -> None:
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        entered.set()
        await may_end.wait()

    roles.here.answer = wait
    call = asyncio.ensure_future(roles.get(REQUEST, timeout=30))
    await asyncio.wait_for(entered.wait(), 60)
    stopping = asyncio.ensure_future(roles.stop())
    await wait_until(lambda: roles.process.near("ingest")() is None, what="the role to stop")
    may_end.set()
    await asyncio.wait_for(call, 60)
    await stopping


async def test_a_role_that_stops_cuts_calls_after_the_grace_period(roles: Roles) -> None:
    entered = asyncio.Event()

    async def hang(_: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    roles.here.answer = hang
    call = asyncio.ensure_future(roles.get(REQUEST, timeout=30))
    await asyncio.wait_for(entered.wait(), 60)
    await roles.stop()
    assert await code_of(call) is grpc.StatusCode.CANCELLED


async def test_the_health_of_a_role_is_asked_for_here(roles: Roles) -> None:
    near = roles.process.near("ingest")()
    assert near is not None
    assert near.serves("/grpc.health.v1.Health/Check")
    assert not near.serves("/grpc.health.v1.Health/Watch")
    assert not near.serves("/webhook.v1.DeliveryService/GetDelivery")
