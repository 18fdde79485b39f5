"""Calls that answer with a stream: how long they last, how many there may be, and how they end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
import pytest

from dev.harness.keys import SERVICE_KEY, metadata
from services.platform import errors
from services.platform.auth import authenticator, identity, keys, known, roles
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role, Rule, Service
from services.platform.grpc import calls, streams
from services.platform.grpc import errors as grpc_errors
from services.platform.grpc.streams import Streams
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc.serving import serving

NAME = "webhook.v1.NewService"
STREAM, CALL = f"/{NAME}/Stream", f"/{NAME}/Call"
KEY = "whk_of_a_tenant_00000000000000000000"
OTHER_KEY = "whk_of_another_one_00000000000000000"
# A generous upper bound. What it guards ends much sooner.
PATIENCE_SECONDS = 60.0


@dataclass(kw_only=True)
class Server:
    """A server with a method that streams and one that does not; each does what a test wants after its first words."""

    channel: Any = None
    go_on: Callable[[], Awaitable[None]] | None = None
    revoked: bool = False
    begun: int = 0
    # Set as its streams end.
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stop: Callable[[], Awaitable[None]] | None = None

    async def stream(self, request: bytes, _context: object) -> AsyncIterator[bytes]:
        """Answer the request twice, with what the test wants in between."""
        self.begun += 1
        try:
            yield request
            if self.go_on:
                await self.go_on()
            yield request
        finally:
            self.ended.set()

    async def call(self, request: bytes, _context: object) -> bytes:
        """Answer once what the test wants is done."""
        if request == b"hang":
            await asyncio.Event().wait()
        return request

    async def find(self, key: str) -> Identity:
        """Return the holder of a key."""
        if self.revoked or key not in {KEY, OTHER_KEY}:
            raise keys.invalid()
        return Identity(tenant_id="acme" if key == KEY else "other", role=Role.READ, key_id="0")

    def begin(self, key: str = KEY, request: bytes = b"x") -> Any:
        """Begin a stream without a deadline."""
        return self.channel.unary_stream(STREAM)(request, metadata=metadata(key))


@contextlib.asynccontextmanager
async def served(**fields: Any) -> AsyncIterator[Server]:
    """Serve, with these settings."""
    server = Server()
    methods: dict[str, Any] = {
        "Stream": grpc.unary_stream_rpc_method_handler(server.stream),
        "Call": grpc.unary_unary_rpc_method_handler(server.call),
    }
    settings = GrpcServerSettings(grpc_port=0, auth_required=True, service_key=SERVICE_KEY, **fields)
    async with contextlib.AsyncExitStack() as stack:
        handler = grpc.method_handlers_generic_handler(NAME, methods)
        port = await stack.enter_async_context(serving(settings, handler, find=server.find))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as server.channel:
            server.stop = stack.aclose
            yield server


@pytest.fixture(autouse=True)
def _with_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {method: Rule(Role.READ, Service.ACTOR) for method in (STREAM, CALL)}
    monkeypatch.setattr(roles, "RULES", {**roles.RULES, **rows})


async def rest_of(stream: Any) -> tuple[list[bytes], errors.WebhookError | None]:
    """Return the messages of a stream from here on, and how it fails."""
    found: list[bytes] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := await stream.read()) is not grpc.aio.EOF:
                found.append(message)
    except grpc.aio.AioRpcError as error:
        return found, grpc_errors.from_rpc_error(error)
    return found, None


async def forever() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()


async def test_a_stream_outlasts_the_longest_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALL_SECONDS", 0.05)
    may_end = asyncio.Event()
    async with served() as server:

        async def wait() -> None:
            await may_end.wait()

        server.go_on = wait
        stream = server.begin()
        assert await stream.read() == b"x"
        # This call began later, and ends at its limit.
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(server.channel.unary_unary(CALL)(b"hang", metadata=metadata(KEY)), PATIENCE_SECONDS)
        may_end.set()
        assert await rest_of(stream) == ([b"x"], None)


async def test_a_stream_ends_at_the_age_of_a_connection_and_says_that_it_is_not_complete() -> None:
    async with served(grpc_max_connection_age_seconds=0.2) as server:
        server.go_on = forever
        found, ended = await rest_of(server.begin())
        assert found == [b"x"]
        assert isinstance(ended, errors.StreamEnded)
        assert server.ended.is_set()


async def test_a_deadline_of_the_caller_ends_a_stream_earlier() -> None:
    async with served() as server:
        server.go_on = forever
        stream = server.channel.unary_stream(STREAM)(b"x", metadata=metadata(KEY), timeout=0.2)
        found, _ = await rest_of(stream)
        assert (found, await stream.code()) == ([b"x"], grpc.StatusCode.DEADLINE_EXCEEDED)
        await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)


async def test_streams_end_when_the_process_begins_to_stop() -> None:
    # Calls have all the time in the world to end, but streams do not wait for it.
    async with served(shutdown_grace_seconds=2 * PATIENCE_SECONDS) as server:
        server.go_on = forever
        streams_of_two = [server.begin(key) for key in (KEY, OTHER_KEY)]
        for stream in streams_of_two:
            assert await stream.read() == b"x"
        assert server.stop
        async with asyncio.timeout(PATIENCE_SECONDS):
            stopping = asyncio.ensure_future(server.stop())
            ends = [await rest_of(stream) for stream in streams_of_two]
            await stopping
        assert [(found, type(ended)) for found, ended in ends] == [([], errors.StreamEnded)] * 2


async def test_a_stream_that_begins_while_the_process_stops_ends_at_once() -> None:
    bound = Streams(seconds=PATIENCE_SECONDS, message_bytes=1)
    bound.end()
    with pytest.raises(errors.StreamEnded):
        async with asyncio.timeout(PATIENCE_SECONDS), bound.bounded():
            await forever()


async def test_a_timeout_within_a_stream_is_not_taken_for_its_end() -> None:
    with pytest.raises(TimeoutError):
        async with Streams(seconds=PATIENCE_SECONDS, message_bytes=1).bounded():
            raise TimeoutError


async def test_a_reader_that_does_not_read_holds_up_no_stop() -> None:
    """What it has not read fills what is buffered on the way, so the stream waits in the middle of a message."""
    async with served(shutdown_grace_seconds=1.0, max_payload_bytes=16 << 20) as server:
        stream = server.begin(request=b"x" * (16 << 20))
        await asyncio.sleep(0)
        await stream.initial_metadata()
        assert server.stop
        await asyncio.wait_for(server.stop(), PATIENCE_SECONDS)


async def test_a_caller_whose_key_is_revoked_gets_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "TTL_SECONDS", 0.0)
    monkeypatch.setattr(known, "RENEW_SECONDS", 0.0)
    async with served() as server:

        async def revoke() -> None:
            server.revoked = True

        server.go_on = revoke
        found, refused = await rest_of(server.begin())
        assert found == [b"x"]
        assert isinstance(refused, errors.Unauthenticated)
        await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)


async def test_a_stream_is_not_repeated_when_postgres_rolls_it_back() -> None:
    async with served() as server:

        async def fail() -> None:
            raise asyncpg.DeadlockDetectedError("rolled back")

        server.go_on = fail
        found, refused = await rest_of(server.begin())
        assert (found, server.begun) == ([b"x"], 1)
        assert isinstance(refused, errors.Unavailable)


async def test_streams_are_shared_by_tenants_and_take_no_place_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 3)
    async with served() as server:
        server.go_on = forever
        mine = [server.begin() for _ in range(2)]
        for stream in mine:
            assert await stream.read() == b"x"
        _, refused = await rest_of(server.begin())
        assert isinstance(refused, errors.Overloaded)
        assert refused.reason == "TENANT_OVERLOADED"
        theirs = server.begin(OTHER_KEY)
        assert await theirs.read() == b"x"
        assert await server.channel.unary_unary(CALL)(b"y", metadata=metadata(KEY), timeout=PATIENCE_SECONDS) == b"y"
        # A place is free again when its stream ends.
        mine[0].cancel()
        await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)


async def test_a_gateway_streams_for_a_key_that_it_names() -> None:
    async with served() as server:
        call = server.channel.unary_stream(STREAM)
        sent = ((authenticator.HEADER, f"Bearer {SERVICE_KEY}"), (identity.ACTOR_HEADER, KEY))
        assert await rest_of(call(b"x", metadata=sent)) == ([b"x", b"x"], None)
        _, refused = await rest_of(call(b"x", metadata=sent[:1]))
        assert isinstance(refused, errors.PermissionDenied)
