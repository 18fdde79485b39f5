"""The load generator, the receiver and their payloads."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from dev.benchmarks.bench import BenchmarkError
from dev.harness.load import generator as generating
from dev.harness.load import payloads
from dev.harness.load.messages import Ask, Count, Forget, Listening, Load, Received, Report, Sent
from dev.harness.load.payloads import percentiles
from dev.harness.load.pipes import Helper

ALWAYS = 1 << 62
# What the path after-300 takes at least: the clock of an event loop ticks in milliseconds.
RECEIVER_MS = 295


@pytest.fixture
def generator() -> Iterator[Helper]:
    with Helper("generator", "dev.harness.load.generator") as helper:
        yield helper


@pytest.fixture
def receiver() -> Iterator[Helper]:
    with Helper("receiver", "dev.harness.load.receiver") as helper:
        yield helper


def _load(port: int, **changes: object) -> Load:
    fields = {"paths": ("/ok/0",), "payload_bytes": 200, "seconds": 5.0, "connections": 4, "requests": 100, **changes}
    return Load(port=port, **fields)  # type: ignore[arg-type]


def _report(receiver: Helper) -> Received:
    return receiver.ask(Report(began_ns=0, ended_ns=ALWAYS), Received)


def test_a_closed_loop_sends_each_request_once(generator: Helper, receiver: Helper) -> None:
    port = receiver.hear(Listening, 60).port

    sent = generator.ask(_load(port), Sent)
    received = _report(receiver)

    assert (sent.sent, sent.accepted, sent.statuses, sent.failed) == (100, b"\x01" * 100, {"200": 100}, 0)
    assert (received.deliveries, received.in_window, received.duplicates) == (100, 100, 0)
    assert 0 < min(payloads.unpack(received.end_to_end_times)) <= max(payloads.unpack(sent.accept_times))


def test_an_open_loop_keeps_its_rate_over_slow_answers(generator: Helper, receiver: Helper) -> None:
    port = receiver.hear(Listening, 60).port

    load = _load(port, paths=("/after-300/0",), rate=100.0, requests=None, seconds=1.0, connections=1)
    sent = generator.ask(load, Sent)

    # One connection would send only three requests in a second.
    assert 10 <= sent.sent <= 101
    assert min(payloads.unpack(sent.accept_times)) >= RECEIVER_MS


async def test_an_open_loop_counts_time_from_when_a_request_was_due(
    receiver: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.hear(Listening, 60).port
    monkeypatch.setattr(generating, "MAX_CONNECTIONS", 1)

    # Due every 10 ms, but the only connection is free every 300 ms: the fifth starts 1,160 ms late.
    load = _load(port, paths=("/after-300/0",), rate=100.0, requests=5, connections=1)
    sent = await generating.Generator(load).run()
    received = await asyncio.to_thread(_report, receiver)

    late_ms = 4 * RECEIVER_MS - 40
    assert sent.late_p99_ms >= late_ms
    assert payloads.unpack(sent.accept_times)[4] >= late_ms + RECEIVER_MS
    assert payloads.unpack(received.end_to_end_times)[4] >= late_ms


def test_requests_go_to_all_paths_in_turn(generator: Helper, receiver: Helper) -> None:
    port = receiver.hear(Listening, 60).port

    generator.ask(_load(port, paths=("/ok/0", "/ok/1"), requests=10), Sent)
    streams = _report(receiver).streams_by_sequence

    assert [int.from_bytes(streams[2 * n : 2 * n + 2], "little") for n in range(10)] == [1] * 10


def test_repeated_request_is_a_duplicate_until_the_receiver_forgets_it(generator: Helper, receiver: Helper) -> None:
    port = receiver.hear(Listening, 60).port

    generator.ask(_load(port, requests=5), Sent)
    generator.ask(_load(port, requests=7), Sent)
    assert receiver.ask(Ask(), Count).deliveries == 7
    assert _report(receiver).duplicates == 5

    receiver.ask(Forget(), Count)
    generator.ask(_load(port, requests=5), Sent)
    assert _report(receiver).duplicates == 0


def test_an_event_is_wrapped_with_its_type(generator: Helper, receiver: Helper) -> None:
    port = receiver.hear(Listening, 60).port

    # After an event's type, the receiver finds no stamp, and closes the connection.
    sent = generator.ask(_load(port, event_type="order.created", requests=1, connections=1, seconds=0.5), Sent)

    assert sent.failed == 1


def test_a_helper_that_is_gone_is_reported_by_name() -> None:
    with Helper("generator", "dev.harness.load.generator") as helper:
        with pytest.raises(BenchmarkError, match="the generator does not answer within 0"):
            helper.hear(Sent, 0.0)
        helper.tell(_load(1, seconds=1.0))
        with pytest.raises(BenchmarkError, match="the generator has ended"):
            helper.hear(Sent, 60.0)


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentiles(range(1, 101), (50, 95, 99, 100)) == [50, 95, 99, 100]
    assert percentiles([7.0], (1, 99)) == [7.0, 7.0]
    assert percentiles([], (50, 99)) == [0.0, 0.0]


@pytest.mark.parametrize("payload_bytes", [100, 101, 1024, 5 * 1024, 65_537])
def test_a_payload_has_exactly_its_size_and_is_json(payload_bytes: int) -> None:
    payload = payloads.template(payload_bytes).fill(42, 123_456_789)

    assert len(payload) == payload_bytes
    assert json.loads(payload)["benchmark"] == "0000000042 00000000000123456789"


def test_a_stamp_is_read_back_from_where_it_stands() -> None:
    payload = payloads.template(1024).fill(7, 18_000_000_000_000_000_000)

    assert payloads.stamp(b"head" + payload, 4) == (7, 18_000_000_000_000_000_000)


def test_a_payload_too_small_for_its_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        payloads.template(20)


def test_payload_without_a_stamp_is_rejected() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        payloads.stamp(b'{"something": "else entirely, of quite some length"}', 0)
