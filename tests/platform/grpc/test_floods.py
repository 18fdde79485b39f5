"""A client without a valid key, or with one, can harm only itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from dev.harness.keys import ADMIN_KEY, SERVICE_KEY, metadata
from dev.harness.waiting import wait_until
from services.platform.auth import identity, keys
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.grpc import calls, places, server
from services.platform.grpc import errors as grpc_errors
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc import raw
from tests.platform.grpc.serving import serving

METHOD = "/webhook.v1.AnalyticsService/GetStats"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SETTINGS = GrpcServerSettings(
    grpc_port=0, auth_required=True, service_key=SERVICE_KEY, bootstrap_admin_key=ADMIN_KEY, _env_file=None
)


class Served:
    """A server that requires keys; one of its methods holds each call until it is released."""

    def __init__(self) -> None:
        self.port = 0
        self.channel: grpc.aio.Channel
        self.entered = 0
        self.go_on = asyncio.Event()

    async def handle(self, _request: bytes, _context: object) -> bytes:
        self.entered += 1
        await self.go_on.wait()
        return b"ok"

    async def call(self, tenant: str) -> bytes:
        method: Any = self.channel.unary_unary(METHOD)
        answer: bytes = await method(b"", metadata=metadata(key_of(tenant)), timeout=60)
        return answer


def key_of(tenant: str) -> str:
    """Return a key that is valid for the tenant."""
    return f"whk_{tenant:x<40}"


async def find(key: str) -> Identity:
    """The key's text is the tenant's id."""
    if not key.startswith("whk_"):
        raise keys.invalid()
    if key == ADMIN_KEY:
        return identity.BOOTSTRAP
    if "nobody" in key:
        raise keys.invalid()
    return Identity(tenant_id=key.removeprefix("whk_").rstrip("x"), role=Role.READ, key_id="0")


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Served]:
    """Serve."""
    served = Served()
    service, name = METHOD[1:].split("/")
    handler: Any = grpc.method_handlers_generic_handler(
        service, {name: grpc.unary_unary_rpc_method_handler(served.handle)}
    )
    async with (
        serving(SETTINGS, handler, find=find) as served.port,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as served.channel,
    ):
        yield served
        served.go_on.set()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Run a server, like `running`."""
    async with running() as made:
        yield made


async def never() -> AsyncIterator[bytes]:
    """Messages that never arrive."""
    await asyncio.Event().wait()
    yield b""


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return how a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(60):
            await call
    return raised.value


@pytest.mark.parametrize("key", [None, key_of("nobody")])
async def test_a_call_is_refused_before_its_message_is_there(served: Served, key: str | None) -> None:
    method: Any = served.channel.stream_unary(METHOD)
    refused = await refusal(method(never(), metadata=metadata(key)))
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [METHOD, CHECK])
@pytest.mark.parametrize("deadline_seconds", [None, 3600])
async def test_a_message_must_arrive_in_time(
    served: Served, monkeypatch: pytest.MonkeyPatch, method: str, deadline_seconds: int | None
) -> None:
    monkeypatch.setattr(calls, "MESSAGE_SECONDS", 0.1)
    call: Any = served.channel.stream_unary(method)
    refused = await refusal(call(never(), metadata=metadata(key_of("a")), timeout=deadline_seconds))
    assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refused.details() == "the message did not arrive in time"
    assert served.entered == 0


async def test_a_call_without_a_message_is_an_invalid_argument(served: Served) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    call: Any = served.channel.stream_unary(METHOD)
    assert (await refusal(call(nothing(), metadata=metadata(key_of("a"))))).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_caller_without_a_key_cannot_watch_health_or_use_reflection(served: Served) -> None:
    for method in (WATCH, REFLECTION):
        for key in (None, key_of("nobody")):
            call: Any = served.channel.stream_stream(method)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async for _ in call(never(), metadata=metadata(key), timeout=60):
                    pass
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_of_role_read_watches_health_and_reads_the_reflection(served: Served) -> None:
    watch: Any = served.channel.unary_stream(WATCH)
    call = watch(b"", metadata=metadata(key_of("a")), timeout=60)
    async for answer in call:
        assert health_pb2.HealthCheckResponse.FromString(answer).status
        break
    call.cancel()

    async def requests() -> AsyncIterator[bytes]:
        yield b"\x3a\x00"  # list_services

    reflect: Any = served.channel.stream_stream(REFLECTION)
    found = [answer async for answer in reflect(requests(), metadata=metadata(key_of("a")), timeout=60)]
    assert [b"grpc.health.v1.Health" in answer for answer in found] == [True]


async def test_open_calls_without_a_message_take_no_place_of_a_tenant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "MAX_CALLS", 32)
    async with running() as served, raw.connected(served.port) as stranger, raw.connected(served.port) as prober:
        for _ in range(100):
            stranger.open(METHOD)
            prober.open(CHECK)
        await stranger.drain()
        await prober.drain()
        await wait_until(lambda: len(stranger.ended) == 100, what="all calls to be refused")
        # Health checks need no key: they share some of the places, like a tenant.
        await wait_until(lambda: len(prober.ended) == 100 - 16, what="all calls but their part to be refused")
        served.go_on.set()
        assert await served.call("other") == b"ok"
        check: Any = served.channel.unary_unary(CHECK)
        assert await check(b"", metadata=metadata(SERVICE_KEY), timeout=60) is not None


async def test_a_tenant_that_fills_its_places_leaves_some_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_CALLS", 8)
    async with running() as served:
        greedy = [asyncio.create_task(served.call("greedy")) for _ in range(4)]
        await wait_until(lambda: served.entered == 4, what="its calls to be in progress")
        refused = await refusal(served.call("greedy"))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of this tenant" in grpc_errors.from_rpc_error(refused).message
        other = asyncio.create_task(served.call("other"))
        await wait_until(lambda: served.entered == 5, what="the other tenant's call to be in progress")
        served.go_on.set()
        assert await asyncio.gather(*greedy, other) == [b"ok"] * 5


async def test_a_connection_has_a_bound_of_calls(served: Served) -> None:
    async with raw.connected(served.port) as connection:
        await wait_until(lambda: connection.settings, what="the server's settings")
        assert connection.settings[raw.MAX_CONCURRENT_STREAMS] == server.MAX_STREAMS
        headers = metadata(key_of("a"))
        for _ in range(server.MAX_STREAMS + 10):
            connection.open(METHOD, headers)
        await connection.drain()
        await wait_until(lambda: len(connection.refused) == 10, what="the calls above the bound to be refused")
        assert connection.ended == set()


async def test_an_unread_message_stays_with_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MIN_RECEIVING", 1)
    monkeypatch.setattr(places, "RECEIVING_BYTES", 0)
    async with running() as served, raw.connected(served.port) as connection:
        streams = [connection.open(METHOD, metadata(key_of("a"))) for _ in range(3)]
        for stream in streams:
            connection.begin_message(stream, 1 << 20)
        sent = dict.fromkeys(streams, 0)

        def go_on() -> int:
            for stream in streams:
                sent[stream] += connection.go_on(stream, 16 << 10)
            return max(sent.values())

        # One is being read, so more of it is accepted; those that wait for their turn get no more than the window.
        await wait_until(lambda: go_on() > 500_000, what="most of one message to be let through")
        assert sorted(sent.values())[:2] < [server.WINDOW_BYTES + 1] * 2
        assert served.entered == 0


async def test_a_client_that_resets_its_calls_at_once_leaves_nothing_behind(served: Served) -> None:
    async with raw.connected(served.port) as connection:
        for _ in range(200):
            stream = connection.open(METHOD, metadata(key_of("a")))
            connection.frame(raw.RST_STREAM, 0, stream, b"\x00\x00\x00\x08")
        await connection.drain()
        served.go_on.set()
        assert await served.call("a") == b"ok"
