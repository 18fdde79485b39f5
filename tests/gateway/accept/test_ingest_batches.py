"""Batches to ingest: what is sent, how often, and until when."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from structlog.testing import capture_logs

from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1.ingest_pb2 import BatchIngestRequest as Request
from protos.webhook.v1.ingest_pb2 import BatchIngestResponse as Response
from services.gateway.accept import batches as ingest_batches
from services.gateway.accept.batches import IngestBatches
from services.gateway.settings import GatewaySettings
from services.gateway.web import retries as calls
from services.gateway.web.callers import Caller
from services.gateway.web.retries import KNOWN_AWAY_SECONDS, MIN_CALL_SECONDS, Retries
from services.platform import errors, ids
from services.platform.auth.roles import Role
from services.platform.clock import Clock, ClockOff
from services.platform.grpc import errors as grpc_errors

ADMIN = Caller(tenant_id="acme", role=Role.ADMIN, key_id="key", tenant_stated=True, crossing=True)


def refusal(
    code: grpc.StatusCode, details: str | None = None, *, said: errors.WebhookError | None = None
) -> AioRpcError:
    """Return an error as gRPC raises it, or with a server's details."""
    trailers = Metadata()
    if said is not None:
        trailers.add(grpc_errors.DETAILS_KEY, grpc_errors.to_status(said).SerializeToString())
    return AioRpcError(code, Metadata(), trailers, details=details)


def accepted(request: Request) -> Response:
    results = [ingest_pb2.IngestResult(accepted=ingest_pb2.Accepted(event_id=item.event_id)) for item in request.items]
    return Response(results=results)


class Time:
    """The clock of deadlines, which only calls and the pauses between them move: a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


TIME = Time()


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: time passes only when a test moves it."""
    monkeypatch.setattr(ingest_batches, "time", TIME)
    monkeypatch.setattr(calls, "time", TIME)
    monkeypatch.setattr(calls, "asyncio", TIME)


class Ingest:
    """A fake stub, which answers calls with these functions in turn, and repeats the last one."""

    def __init__(self, *answers: Callable[[Request, float], Awaitable[Response]]) -> None:
        self._answers = list(answers)
        self.sent: list[list[str]] = []

    def answer_with(self, answer: Callable[[Request, float], Awaitable[Response]]) -> None:
        """Answer with this from now on."""
        self._answers = [answer]

    async def BatchIngest(self, request: Request, *, timeout: float, wait_for_ready: bool = False) -> Response:  # noqa: ASYNC109, ARG002
        self.sent.append([item.event_id for item in request.items])
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await answer(request, timeout)


async def works(request: Request, _: float) -> Response:
    await asyncio.sleep(0.01)
    return accepted(request)


async def hangs(_: Request, timeout_seconds: float) -> Response:
    await TIME.sleep(timeout_seconds)
    raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED)


def hangs_until(may_end: asyncio.Event, name: str = "") -> Callable[[Request, float], Awaitable[Response]]:
    """Return what answers no call with events that are so called, until it may; then their time is over."""

    async def answer(request: Request, timeout_seconds: float) -> Response:
        if not any(one.event_id.startswith(name) for one in request.items):
            return accepted(request)
        await may_end.wait()
        return await hangs(request, timeout_seconds)

    return answer


async def is_away(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.UNAVAILABLE)


async def is_stopping(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.CANCELLED)


async def is_not_there(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.UNAVAILABLE, "connections to all backends failing; last error: refused")


async def refuses(request: Request, _: float) -> Response:
    refused = ingest_pb2.ItemError(code=grpc.StatusCode.NOT_FOUND.value[0], message="no subscription")
    return Response(results=[ingest_pb2.IngestResult(error=refused) for _ in request.items])


async def has_no_store(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.UNAVAILABLE, "away", said=errors.Unavailable("a store is away"))


async def lost_its_store(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.UNAVAILABLE, "lost", said=errors.OutcomeUnknown("it may be stored"))


async def has_too_much_to_do(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", said=errors.Overloaded("full"))


async def has_a_bug(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.INTERNAL)


async def answers_too_little(request: Request, _: float) -> Response:
    return Response(results=accepted(request).results[1:])


def batches(ingest: "Ingest | Ahead", clock: Clock | None = None, **settings: object) -> IngestBatches:
    read = GatewaySettings.model_validate({"accept_timeout_seconds": 2.0, **settings})
    return IngestBatches(ingest, Retries(read.accept_timeout_seconds), read, clock)  # type: ignore[arg-type]  # it calls no more


def item(event_id: str) -> ingest_pb2.IngestItem:
    return ingest_pb2.IngestItem(event_id=event_id)


async def test_the_next_batch_collects_while_calls_are_out() -> None:
    ingest = Ingest(works)
    sender = batches(ingest, ingest_batch_items=3)
    results = await asyncio.gather(*(sender.accept(item(str(number)), 1, "acme") for number in range(8)))
    assert [result.event_id for result in results] == [str(number) for number in range(8)]
    assert [name for batch in ingest.sent for name in batch] == [str(number) for number in range(8)]
    assert max(len(batch) for batch in ingest.sent) == 3


@pytest.mark.parametrize("fails", [is_away, hangs, is_stopping, is_not_there, has_no_store, lost_its_store])
async def test_a_batch_that_was_not_answered_is_sent_once_more(
    fails: Callable[[Request, float], Awaitable[Response]],
) -> None:
    ingest = Ingest(fails, works)
    assert (await batches(ingest).accept(item("a"), 1, "acme")).event_id == "a"
    assert ingest.sent == [["a"], ["a"]]


@pytest.mark.parametrize("fails", [is_away, hangs])
async def test_a_call_that_is_not_answered_in_time_is_unavailable(
    fails: Callable[[Request, float], Awaitable[Response]],
) -> None:
    started = TIME.now
    with pytest.raises(errors.Unavailable):
        await batches(Ingest(fails)).accept(item("a"), 1, "acme")
    assert TIME.now - started == pytest.approx(2.0, abs=2 * MIN_CALL_SECONDS)


async def test_an_event_that_waited_too_long_is_not_sent() -> None:
    may_end = asyncio.Event()
    ingest = Ingest(hangs_until(may_end))
    sender = batches(ingest, ingest_batches_in_flight=1)
    first = asyncio.create_task(sender.accept(item("a"), 1, "acme"))
    await wait_until(lambda: ingest.sent)
    others = [asyncio.create_task(sender.accept(item(name), 1, "acme")) for name in "bc"]
    await wait_until(lambda: len(sender._shared) == 2, what="the others to wait")
    may_end.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    # The first one was sent, so its outcome is unknown; the others were not.
    assert [type(result) for result in results] == [errors.OutcomeUnknown, errors.Unavailable, errors.Unavailable]
    assert {name for batch in ingest.sent for name in batch} == {"a"}


Answers = list[Callable[[Request, float], Awaitable[Response]]]


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        ([is_not_there], True),
        ([has_no_store], True),
        ([is_not_there, has_no_store], True),
        ([hangs], False),
        ([is_away], False),
        ([is_stopping], False),
        ([lost_its_store], False),
        # The first call may have stored it, and the later responses do not change that.
        ([lost_its_store, has_no_store], False),
        ([is_stopping, is_not_there], False),
        ([is_stopping, has_too_much_to_do], False),
    ],
)
async def test_an_event_that_may_be_stored_is_never_reported_as_not_stored(answers: Answers, known: bool) -> None:  # noqa: FBT001 - a parameter
    with pytest.raises(errors.Unavailable) as raised:
        await batches(Ingest(*answers)).accept(item("a"), 1, "acme")
    if known:
        assert (raised.value.reason, raised.value.message) == ("UNAVAILABLE", ingest_batches.NOT_STORED)
    else:
        assert (raised.value.reason, raised.value.message) == ("OUTCOME_UNKNOWN", ingest_batches.MAY_BE_STORED)


async def test_ingest_is_asked_until_it_is_back() -> None:
    ingest = Ingest(*[is_not_there] * 4, works)
    assert (await batches(ingest, accept_timeout_seconds=3).accept(item("a"), 1, "acme")).event_id == "a"
    assert len(ingest.sent) == 5


async def test_calls_have_less_time_once_the_store_is_known_to_be_down_until_one_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.gateway.web.retries.KNOWN_AWAY_SECONDS", 0.4)
    ingest = Ingest(has_no_store)
    retries = Retries(1.5)
    sender = IngestBatches(ingest, retries, GatewaySettings())  # type: ignore[arg-type]  # it calls no more

    def known_to_be_down() -> bool:
        return retries.deadline() < TIME.now + 0.9

    async def fails() -> None:
        with pytest.raises(errors.Unavailable):
            await sender.accept(item("a"), 1, "acme")

    assert not known_to_be_down()
    await fails()
    assert known_to_be_down()
    # A refusal that needs no store does not show that the store is back.
    ingest.answer_with(refuses)
    with pytest.raises(errors.NotFound):
        await sender.accept(item("b"), 1, "acme")
    assert known_to_be_down()
    ingest.answer_with(has_no_store)
    await fails()
    assert known_to_be_down()
    ingest.answer_with(works)
    await sender.accept(item("b"), 1, "acme")
    assert not known_to_be_down()


async def test_a_large_event_has_more_time_and_delays_no_small_one() -> None:
    size, may_end = 5 << 20, asyncio.Event()

    async def takes_long(request: Request, timeout_seconds: float) -> Response:
        await may_end.wait()
        if timeout_seconds < 0.8:  # which is more than a small event has
            raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED)
        return accepted(request)

    ingest = Ingest(takes_long)
    sender = batches(ingest, accept_timeout_seconds=0.6, ingest_batches_in_flight=1)
    large = asyncio.create_task(sender.accept(item("large"), size, "acme"))
    await wait_until(lambda: ingest.sent)
    ingest.answer_with(works)
    assert (await sender.accept(item("small"), 1, "acme")).event_id == "small"
    assert not large.done()
    may_end.set()
    assert (await large).event_id == "large"
    # Within the time of its first call.
    assert ingest.sent == [["large"], ["small"]]


class Ahead:
    """A fake ingest whose clock is ahead of this machine's; without `tells`, it does not send its time."""

    def __init__(self, seconds: float, *, tells: bool = True) -> None:
        self.seconds = seconds
        self.calls = 0
        self._tells = tells

    async def Ingest(self, request: ingest_pb2.IngestRequest, **_: object) -> ingest_pb2.IngestResponse:
        self.calls += 1
        try:
            ids.check_fresh("event_id", UUID(request.item.event_id), time.time() + self.seconds)
        except errors.InvalidArgument as error:
            raise refusal(grpc.StatusCode.INVALID_ARGUMENT, said=error) from None
        return ingest_pb2.IngestResponse(accepted=ingest_pb2.Accepted(event_id=request.item.event_id))

    async def BatchIngest(self, request: Request, *, timeout: float) -> Response:  # noqa: ASYNC109
        return await self(request, timeout)

    async def __call__(self, request: Request, _: float) -> Response:
        self.calls += 1
        now = time.time() + self.seconds
        response = Response()
        for one in request.items:
            try:
                ids.check_fresh("event_id", UUID(one.event_id), now)
                response.results.add().accepted.event_id = one.event_id
            except errors.InvalidArgument:
                code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
                response.results.add().error.MergeFrom(ingest_pb2.ItemError(code=code, field="event_id"))
        if self._tells:
            response.server_time.FromMilliseconds(round(now * 1000))
        return response


@pytest.mark.parametrize("seconds", [-86_400.0, -400.0, 0.0, 400.0, 86_400.0])
async def test_a_gateway_whose_clock_is_off_makes_its_ids_by_that_of_ingest(seconds: float) -> None:
    ahead, clock = Ahead(seconds), Clock("ingest")
    sender = batches(Ingest(ahead), clock=clock)
    for _ in range(2):
        accepted = await sender.accept(item(str(sender.new_id())), 1, "acme")
        assert abs(ids.seconds(UUID(accepted.event_id)) - time.time() - seconds) < 5
    # Once the gateway knows the difference, no id is refused.
    assert ahead.calls == (3 if seconds else 2)
    if seconds:
        with pytest.raises(ClockOff, match=r"\d+ s (behind|ahead of) that of ingest") as raised:
            await clock.check()
        found = re.search(r"\d+(?= s)", str(raised.value))
        assert found
        assert abs(int(found[0]) - abs(seconds)) < 5
    else:
        await clock.check()


async def test_item_that_may_be_stored_keeps_its_first_id() -> None:
    ahead = Ahead(3600)
    ingest = Ingest(lost_its_store, ahead)
    with pytest.raises(errors.OutcomeUnknown):
        await batches(ingest).accept(item(str(ids.new())), 1, "acme")
    assert len(ingest.sent) == 2
    assert ingest.sent[0] == ingest.sent[1]


async def test_an_unknown_clock_difference_is_answered_unavailable() -> None:
    sender = batches(Ingest(Ahead(3600, tells=False)))
    with pytest.raises(errors.Unavailable) as raised:
        await sender.accept(item(str(sender.new_id())), 1, "acme")
    assert raised.value.message == ingest_batches.CLOCK_OFF


async def test_an_event_of_an_admin_in_another_tenant_gets_an_id_by_the_clock_of_ingest() -> None:
    ahead = Ahead(3600)
    sender = batches(ahead)
    for _ in range(2):
        accepted = await sender.accept_alone(item(str(sender.new_id())), ADMIN)
        assert abs(ids.seconds(UUID(accepted.event_id)) - time.time() - 3600) < 5
    # The first one was refused, and the gateway asked for the time.
    assert ahead.calls == 4

    silent = batches(Ahead(3600, tells=False))
    with pytest.raises(errors.Unavailable, match=ingest_batches.CLOCK_OFF):
        await silent.accept_alone(item(str(silent.new_id())), ADMIN)


async def test_a_clock_that_is_off_and_then_right_is_logged_once_each() -> None:
    clock = Clock("ingest")
    with capture_logs() as logged:
        for behind in (0, 3600, 3600, 3601, 0, 0):
            clock.compare(time.time() + behind)
    assert [line["log_level"] for line in logged] == ["error", "info"]


@pytest.mark.parametrize("fails", [has_a_bug, answers_too_little])
async def test_a_bug_is_not_retried(fails: Callable[[Request, float], Awaitable[Response]]) -> None:
    ingest = Ingest(fails)
    with pytest.raises(errors.WebhookError) as raised:
        await batches(ingest).accept(item("a"), 1, "acme")
    assert type(raised.value) is errors.WebhookError
    assert len(ingest.sent) == 1


async def test_items_beyond_the_queue_limit_are_rejected_at_once() -> None:
    sender = batches(Ingest(works), ingest_waiting_items=2, ingest_batches_in_flight=1)
    results = await asyncio.gather(*(sender.accept(item(name), 1, "acme") for name in "abcdef"), return_exceptions=True)
    assert errors.Overloaded in {type(result) for result in results}
    assert (await sender.accept(item("later"), 1, "acme")).event_id == "later"


# -- tenants --


async def leaves_slow_ones_out(request: Request, _: float) -> Response:
    """Answer a call of several tenants without the results of the slow one."""
    await asyncio.sleep(0.01)
    response = accepted(request)
    if len({one.event_id[:4] for one in request.items}) > 1:
        for one, result in zip(request.items, response.results, strict=True):
            if one.event_id.startswith("slow"):
                code = grpc.StatusCode.UNAVAILABLE.value[0]
                result.error.MergeFrom(ingest_pb2.ItemError(code=code, reason="OUTCOME_UNKNOWN", message="late"))
    return response


async def together(sender: IngestBatches, *names: str) -> list[ingest_pb2.Accepted | BaseException]:
    """The results of events that share a call if they may. The tenant is the beginning of an event's name."""
    return await asyncio.gather(*(sender.accept(item(name), 1, name[:4]) for name in names), return_exceptions=True)


async def test_items_left_out_by_ingest_and_later_ones_of_their_tenant_get_a_call_of_their_own() -> None:
    ingest = Ingest(leaves_slow_ones_out)
    sender = batches(ingest)
    results = await together(sender, "slow1", "fast1", "slow2", "fast2")
    assert [isinstance(result, ingest_pb2.Accepted) and result.event_id for result in results] == [
        *("slow1", "fast1", "slow2", "fast2")
    ]
    assert ingest.sent == [["slow1", "fast1", "slow2", "fast2"], ["slow1", "slow2"]]
    await together(sender, "slow3", "fast3")
    assert sorted(ingest.sent[2:]) == [["fast3"], ["slow3"]]


async def test_an_event_that_may_be_stored_by_a_shared_call_is_not_said_to_be_unsaved_by_its_own() -> None:
    ingest = Ingest(leaves_slow_ones_out, has_no_store)
    slow, fast = await together(batches(ingest), "slow1", "fast1")
    assert isinstance(fast, ingest_pb2.Accepted)
    assert isinstance(slow, errors.OutcomeUnknown)


async def test_an_event_that_waited_for_long_gives_no_other_tenant_its_deadline() -> None:
    may_end = asyncio.Event()
    ingest = Ingest(hangs_until(may_end))
    sender = batches(ingest, ingest_batches_in_flight=1)
    waited = [asyncio.create_task(sender.accept(item(name), 1, "slow")) for name in ("slow1", "slow2")]
    await wait_until(lambda: ingest.sent)
    ingest.answer_with(works)
    if ingest.sent == [["slow1", "slow2"]]:
        waited.append(asyncio.create_task(sender.accept(item("slow3"), 1, "slow")))
    TIME.now += ingest_batches.MAX_SKEW_SECONDS + 0.05
    fresh = await sender.accept(item("fast1"), 1, "fast")
    assert fresh.event_id == "fast1"
    assert ["fast1"] in ingest.sent
    may_end.set()
    await asyncio.gather(*waited, return_exceptions=True)


async def test_tenant_of_weight_3_gets_three_times_the_places_in_calls() -> None:
    ingest = Ingest(works)
    sender = batches(ingest, ingest_batches_in_flight=1, ingest_batch_items=8)
    names = [f"{name}{number}" for number in range(24) for name in ("light", "heavy")]
    await asyncio.gather(
        *(sender.accept(item(name), 1, name[:5], {"light": 1, "heavy": 3}[name[:5]]) for name in names)
    )
    in_each = [sum(name.startswith("heavy") for name in call) for call in ingest.sent if len(call) == 8]
    assert in_each[1:4] == [6, 6, 6]


async def test_large_events_share_no_call_with_other_tenants() -> None:
    ingest = Ingest(works)
    sender = batches(ingest, ingest_batches_in_flight=1)
    size = ingest_batches.SHARED_BYTES + 1
    sends = [sender.accept(item(name), size, name[:4]) for name in ("aaaa1", "bbbb1", "aaaa2", "bbbb2")]
    await asyncio.gather(*sends, sender.accept(item("cccc1"), 1, "cccc"))
    assert all(len({name[:4] for name in call}) == 1 for call in ingest.sent)


async def test_a_tenant_with_hanging_calls_delays_no_other_and_does_not_mark_ingest_as_down() -> None:
    may_end = asyncio.Event()
    ingest = Ingest(hangs_until(may_end, "slow"))
    retries = Retries(1.5)
    sender = IngestBatches(ingest, retries, GatewaySettings())  # type: ignore[arg-type]  # it calls no more
    slow = [asyncio.create_task(sender.accept(item(f"slow{number}"), 1, "slow")) for number in range(20)]
    await wait_until(lambda: ingest.sent)
    for _ in range(10):
        await sender.accept(item("fast"), 1, "fast")
    assert not any(task.done() for task in slow)
    may_end.set()
    await asyncio.wait(slow)
    assert {type(task.exception()) for task in slow} <= {errors.OutcomeUnknown, errors.Unavailable}
    assert retries.deadline() - TIME.now > KNOWN_AWAY_SECONDS + 0.1
