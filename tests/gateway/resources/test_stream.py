"""Streams of a gateway: their bounds, and their end."""

import asyncio
import contextlib
from typing import Any

import pytest

from protos.webhook.v1 import deliveries_pb2 as pb
from services.gateway.resources import stream
from services.gateway.resources.stream import MAX_OF_ONE, Streams
from services.platform import errors
from services.platform.auth import keys
from services.platform.grpc import server


def test_one_holder_has_a_few_streams() -> None:
    streams = Streams()
    with contextlib.ExitStack() as open_ones:
        for _ in range(MAX_OF_ONE):
            open_ones.enter_context(streams.taken("acme", "a"))
        with pytest.raises(errors.TenantOverloaded, match="with this key"), streams.taken("acme", "a"):
            pass
        with streams.taken("acme", "b"):
            pass
    with streams.taken("acme", "a"):
        pass


def test_a_tenant_with_many_links_leaves_streams_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.MAX_STREAMS < server.MAX_STREAMS  # they share a connection
    monkeypatch.setattr(stream, "MAX_STREAMS", 4)
    streams = Streams()
    with streams.taken("acme", "a"), streams.taken("acme", "b"):
        with pytest.raises(errors.TenantOverloaded, match="of this tenant"), streams.taken("acme", "c"):
            pass
        with streams.taken("other", "d"):
            with pytest.raises(errors.TenantOverloaded), streams.taken("other", "e"):
                pass
            with streams.taken("third", "f"), pytest.raises(errors.Overloaded), streams.taken("fourth", "g"):
                pass


async def test_nothing_is_sent_to_a_session_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SESSION_SECONDS", -1.0)
    message = pb.WatchResponse(position="7-1")

    class Session:
        """A session that ends after the first message."""

        looks = 0

        async def check_session(self) -> None:
            self.looks += 1
            if self.looks > 1:
                raise keys.invalid()

    class Call:
        async def read(self) -> pb.WatchResponse:
            return message

    services: Any = Session()
    lines = [line async for line in stream._events(services, Call(), message, asyncio.Event(), "deliveries")]
    assert lines == [b"retry: 1000\n\n", b": nothing new\nid: 7-1\n\n"]


def test_streams_end_as_the_process_begins_to_stop() -> None:
    streams = Streams()
    with streams.taken("acme", "a") as first, streams.taken("acme", "b") as second:
        streams.end()
        assert (first.is_set(), second.is_set()) == (True, True)


def test_messages_are_events_with_a_position() -> None:
    said = pb.WatchResponse(position="7-1", reset=True, dropped=2)
    said.recorded.add(delivery_id="d", status=pb.DELIVERY_STATUS_FAILED, error_kind="timeout")
    reset, deliveries = stream._event(said, "deliveries").decode().removesuffix("\n\n").split("\n\n")
    assert reset == "id: 7-1\nevent: reset\ndata: {}"
    assert deliveries.startswith('id: 7-1\nevent: deliveries\ndata: {"items":[{"delivery_id":"d",')
    assert deliveries.endswith('"dropped":2}')
    assert stream._event(pb.WatchResponse(position="7-2"), "deliveries") == b": nothing new\nid: 7-2\n\n"
    counts = stream._event(pb.WatchResponse(position="7-3", counts=pb.WatchCounts(failed=1)), "stats")
    assert counts == b'id: 7-3\nevent: stats\ndata: {"delivered":0,"failed":1,"scheduled":0,"dropped":0}\n\n'
