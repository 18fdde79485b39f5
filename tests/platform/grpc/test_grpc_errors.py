"""Errors over a real channel: the client gets what the server raised."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from prometheus_client import REGISTRY

from dev.harness.waiting import wait_until
from services.platform import errors
from services.platform.grpc import calls, places
from services.platform.grpc import errors as grpc_errors
from services.platform.settings import GrpcServerSettings
from tests.platform.grpc.serving import serving

METHOD = "/webhook.v1.AnalyticsService/GetStats"
# Its requests are messages.
TYPED_METHOD = "/webhook.v1.DeliveryService/GetDelivery"
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
VIOLATIONS = (
    errors.Violation(field="target_url", description="is required"),
    errors.Violation(field="event_types.3", description="is too long · ☃"),
)
ERRORS = [
    errors.InvalidArgument.of(*VIOLATIONS),
    errors.PayloadTooLarge.field("payload", "must be at most 3 bytes"),
    errors.Unauthenticated("not valid"),
    errors.SignatureMismatch("does not match"),
    errors.PermissionDenied("not yours"),
    errors.NotFound("no subscription 1"),
    errors.Conflict("in flight"),
    errors.Conflict("taken", reason=errors.ErrorReason.EVENT_ID_TAKEN),
    errors.Gone("no longer retained"),
    errors.Overloaded("too many"),
    errors.Unavailable("away"),
]


class Server:
    """Two methods that do what the test says."""

    def __init__(self) -> None:
        self.answer: Callable[[], Awaitable[None]] = self.nothing
        self.call: Callable[..., Any] = lambda *_: None
        self.call_typed: Callable[..., Any] = lambda *_: None
        self.check: Callable[..., Any] = lambda *_: None

    async def nothing(self) -> None:
        """Respond."""

    def raising(self, error: Exception) -> None:
        async def answer() -> None:
            raise error

        self.answer = answer

    async def handle(self, request: object, context: object) -> bytes:
        await self.answer()
        return b"ok"


@contextlib.asynccontextmanager
async def _serving() -> AsyncIterator[Server]:
    """A server with the interceptor of all services, and a client of it."""
    server = Server()
    added = []
    for method, deserializer in ((METHOD, None), (TYPED_METHOD, status_pb2.Status.FromString)):
        service, name = method[1:].split("/")
        handler: calls.Handler = grpc.unary_unary_rpc_method_handler(server.handle, deserializer)
        added.append(grpc.method_handlers_generic_handler(service, {name: handler}))
    settings = GrpcServerSettings(grpc_port=0, max_payload_bytes=1000, _env_file=None)
    async with (
        serving(settings, *added) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        server.call = channel.unary_unary(METHOD)
        server.call_typed = channel.unary_unary(TYPED_METHOD)
        server.check = channel.unary_unary(HEALTH_METHOD)
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Run a server and a client, like `_serving`."""
    async with _serving() as created:
        yield created


async def _refused(server: Server, request: bytes = b"") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.call(request, timeout=60)
    return raised.value


def _details(error: grpc.aio.AioRpcError) -> list[any_pb2.Any]:
    raw = dict(error.trailing_metadata())[grpc_errors.DETAILS_KEY]
    assert isinstance(raw, bytes)
    return list(status_pb2.Status.FromString(raw).details)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error.reason}")
async def test_an_error_comes_back_as_the_class_it_was(server: Server, error: errors.WebhookError) -> None:
    server.raising(error)
    refused = await _refused(server)
    back = grpc_errors.from_rpc_error(refused)
    assert type(back) is type(error)
    assert (refused.code(), back.reason, back.violations, back.retry_after_seconds) == (
        grpc_errors.status_code(error),
        error.reason,
        error.violations,
        error.retry_after_seconds,
    )
    assert back.message == error.message


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error.reason}")
def test_an_error_of_a_batch_comes_back_as_the_class_it_was(error: errors.WebhookError) -> None:
    back = grpc_errors.make(
        grpc_errors.code_number(error), error.message, reason=error.reason, violations=error.violations
    )
    assert type(back) is type(error)
    assert (back.message, back.reason, back.violations) == (error.message, error.reason, error.violations)


async def test_details_are_the_standard_messages(server: Server) -> None:
    server.raising(errors.InvalidArgument.of(*VIOLATIONS))
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    first, second = _details(await _refused(server))
    assert first.Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "webhook.v1")
    assert second.Unpack(bad_request)
    assert [violation.field for violation in bad_request.field_violations] == ["target_url", "event_types.3"]


@pytest.mark.parametrize("letter", ["x", "ä", "☃", "😀"])
@pytest.mark.parametrize("description", ["is not a known field", "ist hier unbekannt ☃ " * 1000])
async def test_an_error_with_very_many_fields_reaches_its_caller(server: Server, letter: str, description: str) -> None:
    """Not as RESOURCE_EXHAUSTED: a client accepts trailers up to 8 KiB."""
    wrong = [errors.Violation(field=f"{number}{letter * 10_000}", description=description) for number in range(10_000)]
    server.raising(errors.InvalidArgument.of(*wrong))
    for _ in range(20):  # above its soft limit, a client refuses some
        refused = await _refused(server)
        back = grpc_errors.from_rpc_error(refused)
        assert type(back) is errors.InvalidArgument
        assert back.violations[0].field.startswith(f"0{letter}")
        assert back.message.startswith(f"0{letter}")
        assert back.message.endswith("; and 9980 more")


async def test_metadata_over_the_servers_bound_are_not_overload(server: Server) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.call(b"", timeout=60, metadata=(("x-much", "y" * 100_000),))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(grpc_errors.from_rpc_error(raised.value), errors.PayloadTooLarge)


async def test_error_that_can_be_retried_carries_a_retry_delay(server: Server) -> None:
    server.raising(errors.Overloaded("too many"))
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in _details(await _refused(server)))
    assert retry.retry_delay.seconds == 1


async def test_a_bug_is_internal_and_its_words_stay_inside(server: Server) -> None:
    server.raising(KeyError("s3cret"))
    refused = await _refused(server)
    assert refused.code() is grpc.StatusCode.INTERNAL
    assert "s3cret" not in str(refused)
    assert type(grpc_errors.from_rpc_error(refused)) is errors.WebhookError


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x7f", b"\x12\x01\xff", b"\x0b" * 10_000])
async def test_bytes_that_are_not_a_message_are_an_error_of_the_caller(server: Server, data: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.call_typed(data, timeout=60)
    assert isinstance(grpc_errors.from_rpc_error(raised.value), errors.InvalidArgument)


async def test_a_status_that_a_servicer_chose_itself_is_answered_and_counted(server: Server) -> None:
    """Like grpcio's health service for an unknown service."""
    before = _counted("NOT_FOUND", HEALTH_METHOD)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.check(health_pb2.HealthCheckRequest(service="nope").SerializeToString(), timeout=60)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    await wait_until(lambda: _counted("NOT_FOUND", HEALTH_METHOD) == before + 1, what="the call to be counted")


async def test_a_message_over_the_servers_bound_is_a_payload_too_large(server: Server) -> None:
    assert isinstance(grpc_errors.from_rpc_error(await _refused(server, b"x" * (4 << 20))), errors.PayloadTooLarge)


async def test_calls_beyond_the_limit_of_a_server_are_overload_and_not_a_large_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "MAX_CALLS", 1)
    async with _serving() as server:
        entered = asyncio.Event()

        async def hang() -> None:
            entered.set()
            await asyncio.Event().wait()

        server.answer = hang
        first = server.call(b"")
        await entered.wait()
        back = grpc_errors.from_rpc_error(await _refused(server))
        first.cancel()
    assert isinstance(back, errors.Overloaded)


async def test_a_server_that_is_away_is_unavailable(free_port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        method: Any = channel.unary_unary(METHOD)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"")
    back = grpc_errors.from_rpc_error(raised.value)
    assert isinstance(back, errors.Unavailable)
    assert str(free_port) not in back.message


def _counted(code: str, method: str = METHOD) -> float:
    labels = {"method": method, "code": code}
    return REGISTRY.get_sample_value("webhook_rpc_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("error", "code"), [(None, "OK"), (errors.NotFound("no"), "NOT_FOUND"), (KeyError("x"), "INTERNAL")]
)
async def test_calls_are_counted_by_the_code_of_their_answer(
    server: Server, error: Exception | None, code: str
) -> None:
    before = _counted(code)
    if error is None:
        assert await server.call(b"") == b"ok"
    else:
        server.raising(error)
        await _refused(server)
    await wait_until(lambda: _counted(code) == before + 1, what="the call to be counted")


async def test_a_call_that_its_caller_cancelled_is_not_counted_as_ok(server: Server) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    server.answer = hang
    ok, cancelled = _counted("OK"), _counted("CANCELLED")
    call = server.call(b"")
    await entered.wait()
    call.cancel()
    await wait_until(lambda: _counted("CANCELLED") == cancelled + 1, what="the cancelled call to be counted")
    assert _counted("OK") == ok
    assert REGISTRY.get_sample_value("webhook_rpc_in_flight") == 0


def test_an_unknown_code_is_an_internal_error() -> None:
    assert type(grpc_errors.make(999, "what")) is errors.WebhookError
