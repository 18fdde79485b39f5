"""Batches to ingest: what is sent, how often, and until when."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1.ingest_pb2 import BatchIngestRequest as Request
from protos.webhook.v1.ingest_pb2 import BatchIngestResponse as Response
from services.common import errors
from services.gateway.ingest_batches import IngestBatches
from services.gateway.settings import GatewaySettings
from tests.support.waiting import wait_until


def refusal(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata())


def accepted(request: Request) -> Response:
    results = [ingest_pb2.IngestResult(accepted=ingest_pb2.Accepted(event_id=item.event_id)) for item in request.items]
    return Response(results=results)


class Ingest:
    """Stands for the stub: answers calls by these functions in turn, the last of them for good."""

    def __init__(self, *answers: Callable[[Request, float], Awaitable[Response]]) -> None:
        self._answers = list(answers)
        self.sent: list[list[str]] = []

    async def BatchIngest(self, request: Request, *, timeout: float, wait_for_ready: bool = False) -> Response:  # noqa: ASYNC109, ARG002, N802
        self.sent.append([item.event_id for item in request.items])
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await answer(request, timeout)


async def works(request: Request, _: float) -> Response:
    await asyncio.sleep(0.01)
    return accepted(request)


async def hangs(_: Request, timeout_seconds: float) -> Response:
    await asyncio.sleep(timeout_seconds)
    raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED)


async def is_away(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.UNAVAILABLE)


async def has_a_bug(_: Request, __: float) -> Response:
    raise refusal(grpc.StatusCode.INTERNAL)


async def answers_too_little(request: Request, _: float) -> Response:
    return Response(results=accepted(request).results[1:])


def batches(ingest: Ingest, **settings: object) -> IngestBatches:
    return IngestBatches(ingest, GatewaySettings.model_validate(settings))  # type: ignore[arg-type]  # it calls no more


def item(event_id: str) -> ingest_pb2.IngestItem:
    return ingest_pb2.IngestItem(event_id=event_id)


async def test_while_calls_are_out_the_next_batch_collects() -> None:
    ingest = Ingest(works)
    sender = batches(ingest, ingest_batch_items=3)
    results = await asyncio.gather(*(sender.accept(item(str(number)), 1) for number in range(8)))
    assert [result.event_id for result in results] == [str(number) for number in range(8)]
    assert [name for batch in ingest.sent for name in batch] == [str(number) for number in range(8)]
    assert max(len(batch) for batch in ingest.sent) == 3


@pytest.mark.parametrize("fails", [is_away, hangs])
async def test_a_batch_that_was_not_answered_is_sent_once_more(
    fails: Callable[[Request, float], Awaitable[Response]],
) -> None:
    ingest = Ingest(fails, works)
    assert (await batches(ingest).accept(item("a"), 1)).event_id == "a"
    assert ingest.sent == [["a"], ["a"]]


@pytest.mark.parametrize("fails", [is_away, hangs])
async def test_what_is_not_answered_in_time_is_unavailable(
    fails: Callable[[Request, float], Awaitable[Response]],
) -> None:
    started = time.monotonic()
    with pytest.raises(errors.Unavailable):
        await batches(Ingest(fails), accept_timeout_seconds=0.3).accept(item("a"), 1)
    assert time.monotonic() - started < 0.6


async def test_what_waited_too_long_is_not_sent_at_all() -> None:
    ingest = Ingest(hangs)
    sender = batches(ingest, accept_timeout_seconds=0.3, ingest_batches_in_flight=1)
    first = asyncio.create_task(sender.accept(item("a"), 1))
    await wait_until(lambda: ingest.sent)
    results = await asyncio.gather(first, *(sender.accept(item(name), 1) for name in "bc"), return_exceptions=True)
    assert [type(result) for result in results] == [errors.Unavailable] * 3
    assert {name for batch in ingest.sent for name in batch} == {"a"}


@pytest.mark.parametrize("fails", [has_a_bug, answers_too_little])
async def test_a_bug_is_not_retried(fails: Callable[[Request, float], Awaitable[Response]]) -> None:
    ingest = Ingest(fails)
    with pytest.raises(errors.WebhookError) as raised:
        await batches(ingest).accept(item("a"), 1)
    assert type(raised.value) is errors.WebhookError
    assert len(ingest.sent) == 1


async def test_more_than_may_wait_is_refused_at_once() -> None:
    sender = batches(Ingest(works), ingest_waiting_items=2, ingest_batches_in_flight=1)
    results = await asyncio.gather(*(sender.accept(item(name), 1) for name in "abcdef"), return_exceptions=True)
    assert errors.Overloaded in {type(result) for result in results}
    assert (await sender.accept(item("later"), 1)).event_id == "later"
