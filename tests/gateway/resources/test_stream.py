"""Streams of a gateway: their bounds, and their end."""

import contextlib

import pytest

from protos.webhook.v1 import deliveries_pb2 as pb
from services.gateway.resources import stream
from services.gateway.resources.stream import MAX_OF_ONE, Streams
from services.platform import errors


def test_one_holder_has_a_few_streams_and_all_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", MAX_OF_ONE + 1)
    streams = Streams()
    with contextlib.ExitStack() as open_ones:
        for _ in range(MAX_OF_ONE):
            open_ones.enter_context(streams.taken("a"))
        with pytest.raises(errors.TenantOverloaded), streams.taken("a"):
            pass
        with streams.taken("b"), pytest.raises(errors.Overloaded), streams.taken("c"):
            pass
    with streams.taken("a"):
        pass


def test_streams_end_as_the_process_begins_to_stop() -> None:
    streams = Streams()
    with streams.taken("a") as first, streams.taken("b") as second:
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
