"""Compares what the receiver saw with what was recorded: pure functions, one delivery at a time."""

from collections import Counter
from collections.abc import Iterable, Sequence

from dev.chaos.records import Attempt, Delivery, Request

INTERRUPTED = "interrupted"
SUCCESS = "success"
# Attempts with these outcomes never reached the receiver as a request.
_UNSENT = frozenset({"connect", "dns", "tls", "egress_denied", "invalid_request", "secret_unreadable"})
# A worker may make two requests under one claim, the second because the first one's connection was dead; when it is
# then lost, one interrupted attempt stands for both.
REQUESTS_OF_AN_INTERRUPTION = 2


def mismatches(delivery: Delivery, requests: Sequence[Request]) -> list[str]:
    """What does not agree between a delivery's attempts and the requests that the receiver got for it."""
    return [*_unmatched(delivery.attempts, requests), *_wrong_end(delivery, requests)]


def _unmatched(attempts: Sequence[Attempt], requests: Sequence[Request]) -> Iterable[str]:
    """Each attempt with a status code matches one request, and each request one attempt.

    A request that was answered matches an attempt with that status, or one that does not know its answer. So no
    status may stand in more attempts than requests, and what is left of the requests must fit the rest.
    """
    recorded = Counter(attempt.status_code for attempt in attempts if attempt.status_code is not None)
    answered = Counter(request.status for request in requests if request.status is not None)
    for status, count in recorded.items():
        if count > answered[status]:
            yield f"{count} attempts with status {status}, {answered[status]} requests answered so"
    blind = [a for a in attempts if a.status_code is None and a.outcome not in _UNSENT]
    interrupted = sum(attempt.outcome == INTERRUPTED for attempt in blind)
    room = len(blind) + interrupted * (REQUESTS_OF_AN_INTERRUPTION - 1)
    left = len(requests) - sum(min(count, answered[status]) for status, count in recorded.items())
    if left > room:
        yield f"{len(requests)} requests, of which {left - room} have no attempt"


def _wrong_end(delivery: Delivery, requests: Sequence[Request]) -> Iterable[str]:
    successes = [attempt for attempt in delivery.attempts if attempt.outcome == SUCCESS]
    if delivery.status == "delivered" and not successes:
        yield "delivered without a successful attempt"
    if delivery.status != "delivered" and successes:
        yield f"{delivery.status} ({delivery.reason}) in spite of a successful attempt"
    if delivery.status == "failed" and not any(attempt.outcome != INTERRUPTED for attempt in delivery.attempts):
        yield f"failed ({delivery.reason}) without an attempt"
    if delivery.status == "delivered" and not any(_is_success(request) for request in requests):
        yield "delivered, and the receiver answered no request with 2xx"
    numbers = [attempt.number for attempt in delivery.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"attempts are numbered {numbers}"


def _is_success(request: Request) -> bool:
    return request.status is not None and 200 <= request.status < 300  # noqa: PLR2004
