"""Any bytes to every method that reflection lists get a documented status."""

import contextlib
import itertools
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dev.harness.stack import Stack
from tests.adversarial import calls
from tests.adversarial.conftest import Examples, Tally
from tests.adversarial.messages import FRAMES, SHAPES, broken, field, messages

pytestmark = pytest.mark.usefixtures("unharmed")

SEED = 6
SERVERS = ("ingest", "delivery", "analytics")
# docs/reference/grpc.md. UNAVAILABLE is also documented, for an unavailable store, but all stores are available here.
DOCUMENTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    # More test events to a subscription than it gets in a minute.
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# Without Health/Watch, which does not end.
GRPC_OWN = (
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
NONSENSE = [b"\xff", b"\x0a\x7f", SHAPES["groups 10,000 deep"], SHAPES["every field as NUL"]]


@pytest.fixture(scope="module")
def methods(stack: Stack) -> Iterator[list[calls.Method]]:
    """Every method of this project's services."""
    channels = [grpc.insecure_channel(f"127.0.0.1:{stack.ports[server]}") for server in SERVERS]
    yield [method for channel in channels for method in calls.methods(channel)]
    for channel in channels:
        channel.close()


@pytest.fixture(scope="module")
def ids(stack: Stack) -> list[str]:
    """Ids of an event type, of subscriptions of both destinations, an event, and deliveries: some calls get further."""
    with httpx.Client(base_url=stack.base_url, headers=calls.HEADERS, timeout=60) as http:
        created = http.post("/api/v1/subscriptions/", json={"target_url": "http://hook.invalid/"}).json()
        sent = http.post(f"/api/v1/webhooks/ingest/{created['id']}", json={"payload": 1}).json()
        pulled = http.post("/api/v1/subscriptions/", json={"destination": "pull"}).json()
        waits = http.post(f"/api/v1/webhooks/ingest/{pulled['id']}", json={"payload": 1}).json()
        event_type = http.post("/api/v1/event-types", json={"name": f"t{uuid.uuid4().hex}", "schema": {}}).json()
    return [event_type["id"], created["id"], sent["event_id"], sent["delivery_id"], pulled["id"], waits["delivery_id"]]


def attack(
    methods: Sequence[calls.Method],
    tally: Tally,
    kind: str,
    cases: int,
    make: Callable[[calls.Method], st.SearchStrategy[bytes]],
    number: int = SEED,
) -> None:
    """Call each method with this many cases of a seed; each gets a documented status."""
    for method in methods:

        @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @seed(number)
        @given(make(method))
        def call(data: bytes) -> None:
            tally.add(kind)
            assert method.call(data) in DOCUMENTED, (method.path, data)  # noqa: B023 - called before the next one

        call()


def test_the_methods_of_every_service_are_found(methods: list[calls.Method]) -> None:
    assert len(methods) >= 17


def test_random_bytes_are_answered_with_a_documented_status(
    methods: list[calls.Method], tally: Tally, examples: Examples
) -> None:
    attack(methods, tally, "gRPC, random bytes", examples(20, 500), lambda _: st.binary(max_size=200))


def test_hostile_values_are_answered_with_a_documented_status(
    methods: list[calls.Method], ids: list[str], tally: Tally, examples: Examples
) -> None:
    made = examples(20, 500)
    attack(methods, tally, "gRPC, hostile values", made, lambda method: messages(method.request, ids))


def test_broken_messages_are_answered_with_a_documented_status(
    methods: list[calls.Method], ids: list[str], tally: Tally, examples: Examples
) -> None:
    attack(methods, tally, "gRPC, broken messages", examples(20, 500), lambda method: broken(method.request, ids))


@pytest.mark.parametrize("name", SHAPES)
def test_bytes_of_a_bad_shape_are_answered_with_a_documented_status(
    methods: list[calls.Method], tally: Tally, name: str
) -> None:
    for method in methods:
        tally.add("gRPC, bad shapes")
        assert method.call(SHAPES[name]) in DOCUMENTED, method.path


def test_a_message_over_the_bound_is_refused_and_the_connection_goes_on(
    methods: list[calls.Method], tally: Tally
) -> None:
    for method in {method.channel: method for method in methods}.values():
        tally.add("gRPC, bad shapes")
        assert method.call(field(99, b"a" * (5 << 20))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert method.call(b"\xff") is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_of_nothing_to_a_unary_method_is_refused(methods: list[calls.Method], tally: Tally) -> None:
    for method in methods:
        tally.add("gRPC, streams")
        assert calls.stream(method.channel, method.path, []) is grpc.StatusCode.INVALID_ARGUMENT
        assert method.call(b"\xff") is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_stream_to_a_unary_method_is_answered(methods: list[calls.Method], tally: Tally, count: int) -> None:
    for method in methods:
        tally.add("gRPC, streams")
        found = calls.stream(method.channel, method.path, [b"\xff"] * count)
        assert found in DOCUMENTED | {grpc.StatusCode.UNIMPLEMENTED}, method.path


def test_an_unknown_method_is_unimplemented(methods: list[calls.Method], tally: Tally) -> None:
    for path in ("/", "//", "/webhook.v1.IngestService/", "/webhook.v1.IngestService/Nope", "/\u2603/x", "/a" * 2000):
        tally.add("gRPC, methods")
        for channel in {method.channel for method in methods}:
            assert calls.unary(channel, path, b"") is grpc.StatusCode.UNIMPLEMENTED


METADATA: dict[str, calls.Metadata] = {
    "a deadline in the past": [("grpc-timeout", "1n")],
    "a malformed deadline": [("grpc-timeout", "soon")],
    "an unknown encoding": [("grpc-encoding", "snappy")],
    "a malformed content type": [("content-type", "application/grpc+xml")],
    "many keys": [(f"x-{number}", "a") for number in range(200)],
    "a large value": [("x-large", "a" * 6000)],
    "bytes": [("x-bin", b"\x00\xff" * 100)],
}


@pytest.mark.parametrize("name", METADATA)
def test_hostile_metadata_is_answered(methods: list[calls.Method], tally: Tally, name: str) -> None:
    refused = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED}
    for method in methods:
        tally.add("gRPC, metadata")
        found = method.call(b"\xff", METADATA[name])
        assert found in DOCUMENTED | refused, method.path


@pytest.mark.parametrize("name", FRAMES)
def test_malformed_grpc_ends_only_its_own_connection(
    stack: Stack, methods: list[calls.Method], tally: Tally, name: str
) -> None:
    for server in SERVERS:
        tally.add("gRPC, frames")
        address = ("127.0.0.1", stack.ports[server])
        with socket.create_connection(address, timeout=60) as connection, contextlib.suppress(OSError):
            connection.sendall(FRAMES[name])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
    assert all(method.call(b"\xff") is grpc.StatusCode.INVALID_ARGUMENT for method in methods)


def test_bytes_to_the_services_of_grpc_itself_do_no_harm(stack: Stack, tally: Tally) -> None:
    """Health and reflection belong to grpcio, and so do their responses to invalid messages."""
    for server in SERVERS:
        with grpc.insecure_channel(f"127.0.0.1:{stack.ports[server]}") as channel:
            for path, data in itertools.product(GRPC_OWN, NONSENSE):
                tally.add("gRPC, its own services")
                assert calls.stream(channel, path, [data]) is not grpc.StatusCode.UNAVAILABLE
            assert calls.unary(channel, GRPC_OWN[0], b"") is grpc.StatusCode.OK
