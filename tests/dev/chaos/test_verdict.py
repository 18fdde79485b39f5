"""The verdict and its evidence: dev/chaos/verdict.py."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from dev.chaos import verdict
from dev.chaos.events import Form
from dev.chaos.evidence import Attempt, Delivery, Evidence, Opening, Request, Send, Span
from dev.chaos.puller import LEASE_SECONDS as PULL_LEASE
from dev.chaos.schedule import SHAPES, STALL, kinds

KINDS = {**kinds(SHAPES["one"]), **kinds(SHAPES["five"]), STALL.name: STALL}
EVENT, DELIVERY, SUBSCRIPTION = UUID(int=1), UUID(int=2), UUID(int=3)
THESE = frozenset((SUBSCRIPTION,))
KEY = "chaos-0"


def _send(**fields: object) -> Send:
    send = Send(key=KEY, endpoints=1)
    send.tries.append((0.0, 0.01, 202))
    send.event_id = EVENT
    for name, value in fields.items():
        setattr(send, name, value)
    return send


def _attempt(number: int, outcome: str, status_code: int | None = None, started_at: float = 0.0) -> Attempt:
    return Attempt(number=number, outcome=outcome, status_code=status_code, started_at=started_at, recorded_at=1.0)


def _delivery(*attempts: Attempt, status: str = "delivered") -> Delivery:
    return Delivery(
        id=DELIVERY, event_id=EVENT, subscription_id=SUBSCRIPTION, status=status, reason=None, attempts=attempts
    )


def _request(
    begun_at: float, status: int | None = 200, answered_at: float | None = None, form: Form = Form.PAYLOAD
) -> Request:
    answered = begun_at + 0.01 if answered_at is None and status is not None else answered_at
    return Request(delivery_id=DELIVERY, key=KEY, form=form, begun_at=begun_at, status=status, answered_at=answered)


def _judge(
    *,
    sends: Sequence[Send] = (),
    deliveries: Sequence[Delivery] = (),
    requests: Sequence[Request] = (),
    spans: Sequence[Span] = (),
    openings: Sequence[Opening] = (),
    filtered: frozenset[UUID] = frozenset(),
    templated: frozenset[UUID] = frozenset(),
    pinned: frozenset[UUID] = frozenset(),
    key: str = KEY,
) -> verdict.Verdict:
    return verdict.judge(
        Evidence(
            sends=sends,
            requests=requests,
            spans=spans,
            openings=openings,
            deliveries=deliveries,
            event_keys={delivery.event_id: key for delivery in deliveries},
            filtered=filtered,
            templated=templated,
            pinned=pinned,
        )
    )


def _span(kind: str, began_at: float, ended_at: float) -> Span:
    return Span(kind=KINDS[kind], subject=KINDS[kind].subjects[0], began_at=began_at, ended_at=ended_at)


SUCCESS = _attempt(1, "success", 200)
SECOND = _attempt(2, "success", 200)


def test_a_run_in_which_all_went_well_is_ok() -> None:
    judged = _judge(sends=[_send()], deliveries=[_delivery(SUCCESS)], requests=[_request(1.0)])
    assert judged.ok
    assert (judged.accepted, judged.delivered, judged.duplicates, judged.ambiguous) == (1, 1, 0, 0)


def test_an_accepted_event_without_a_delivery_is_lost() -> None:
    judged = _judge(sends=[_send()])
    assert (judged.lost, judged.ok) == (1, False)


def test_an_accepted_event_whose_delivery_does_not_end_is_lost() -> None:
    judged = _judge(sends=[_send()], deliveries=[_delivery(status="in_flight")])
    assert (judged.lost, judged.ok) == (1, False)


def test_a_fan_out_with_a_delivery_too_few_is_lost() -> None:
    judged = _judge(sends=[_send(endpoints=2)], deliveries=[_delivery(SUCCESS)], requests=[_request(1.0)])
    assert (judged.lost, judged.ok) == (1, False)


def test_a_stored_event_that_was_not_accepted_is_ambiguous() -> None:
    judged = _judge(deliveries=[_delivery(SUCCESS)], requests=[_request(1.0)])
    assert (judged.ambiguous, judged.ok) == (1, True)


def test_a_delivery_that_began_late_is_reported_unless_there_was_a_fault() -> None:
    late = {"sends": [_send()], "deliveries": [_delivery(SUCCESS)], "requests": [_request(9.0)]}
    assert _judge(**late).unexplained_late == 1  # type: ignore[arg-type]
    assert _judge(**late, spans=[_span("redis-kill", 0.0, 1.0)]).unexplained_late == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("subscription", "began_at", "ended_at", "unexplained"),
    [
        (SUBSCRIPTION, -90.0, 8.0, 0),
        (SUBSCRIPTION, -90.0, -61.0, 1),  # it was closed long before
        (SUBSCRIPTION, 9.5, 10.0, 1),  # it opened later
        (SUBSCRIPTION, -30.0, 8.0, 1),  # no fault opened it
        (UUID(int=4), -90.0, 8.0, 1),  # it is another endpoint's
    ],
)
def test_a_delivery_may_wait_for_a_breaker_that_a_fault_opened(
    subscription: UUID, began_at: float, ended_at: float, unexplained: int
) -> None:
    judged = _judge(
        sends=[_send()],
        deliveries=[_delivery(SUCCESS)],
        requests=[_request(9.0)],
        spans=[_span("cut-receiver-refuse", -100.0, -95.0)],
        openings=[Opening(subscription_id=subscription, began_at=began_at, ended_at=ended_at)],
    )
    assert (judged.unexplained_late, judged.late_by_breaker) == (unexplained, 1 - unexplained)


def test_a_scheduled_delivery_is_judged_from_when_it_is_due_and_may_not_be_early() -> None:
    def judged(begun_at: float) -> verdict.Verdict:
        return _judge(sends=[_send(due_at=20.0)], deliveries=[_delivery(SUCCESS)], requests=[_request(begun_at)])

    assert (judged(20.1).ok, judged(20.1).scheduled) == (True, 1)
    assert (judged(19.5).early, judged(19.5).ok) == (1, False)
    assert (judged(29.0).unexplained_late, judged(29.0).early) == (1, 0)
    assert _judge(sends=[_send(due_at=20.0)]).lost == 1


def test_a_delivery_of_an_event_that_the_filter_is_false_of_is_misrouted() -> None:
    """A subscription with the same filter wants event 0, and not event 11."""
    delivery = _delivery(SUCCESS)
    assert _judge(deliveries=[delivery], filtered=THESE).misrouted == 0
    judged = _judge(deliveries=[delivery], filtered=THESE, key="chaos-11")
    assert (judged.misrouted, judged.ok) == (1, False)
    assert _judge(deliveries=[delivery], key="chaos-11").misrouted == 0


def test_a_second_delivery_to_a_subscription_is_misrouted_and_does_not_stand_for_another() -> None:
    second = Delivery(
        id=UUID(int=5), event_id=EVENT, subscription_id=SUBSCRIPTION, status="failed", reason=None, attempts=()
    )
    judged = _judge(sends=[_send(endpoints=2)], deliveries=[_delivery(SUCCESS), second])
    assert (judged.misrouted, judged.lost) == (1, 1)


def test_every_request_carries_what_the_template_makes_or_the_payload() -> None:
    def judged(*forms: Form, templated: frozenset[UUID] = THESE) -> verdict.Verdict:
        requests = [_request(1.0 + number, 500, form=form) for number, form in enumerate(forms)]
        return _judge(deliveries=[_delivery()], requests=requests, templated=templated)

    assert (judged(Form.RENDERED, Form.RENDERED).misrendered, judged(Form.RENDERED).rendered) == (0, 1)
    assert judged(Form.RENDERED, Form.PAYLOAD).misrendered == 1
    assert judged(Form.RENDERED, Form.OTHER).misrendered == 1
    assert judged(Form.RENDERED, templated=frozenset()).misrendered == 1
    assert not judged(Form.OTHER).ok


def test_pinned_receivers_get_their_version_with_the_same_bytes_each_time() -> None:
    def judged(*fields: dict[str, Any]) -> verdict.Verdict:
        usual = {"key": "chaos-101", "version": "1", "digest": b"a"}
        requests = [
            replace(_request(1.0 + number, 500, form=Form.CONVERTED), **{**usual, **given})
            for number, given in enumerate(fields)
        ]
        return _judge(deliveries=[_delivery()], requests=requests, pinned=THESE, key="chaos-101")

    same = judged({}, {})
    assert (same.misversioned, same.misrendered, same.converted) == (0, 0, 2)
    assert judged({}, {"digest": b"b"}).misversioned == 1
    assert judged({"fits": False}).misversioned == 1
    assert judged({"version": "2"}).misversioned == judged({"version": None}).misversioned == 1
    assert not judged({"fits": False}).ok
    assert judged({"form": Form.PAYLOAD}).misrendered == 1


def test_a_refusal_that_is_not_retryable_is_reported() -> None:
    send = _send(event_id=None, tries=[(0.0, 0.01, 500)])
    assert (_judge(sends=[send]).refused, _judge(sends=[send]).ok) == (1, False)


def test_events_that_share_an_idempotency_key_are_reported() -> None:
    keys = {EVENT: KEY, UUID(int=9): KEY}
    evidence = Evidence(sends=[], requests=[], spans=[], openings=[], deliveries=[], event_keys=keys)
    assert verdict.judge(evidence).doubled_keys == 1


@pytest.mark.parametrize(
    ("attempts", "requests"),
    [
        ([], [_request(1.0)]),
        ([SUCCESS], []),
        ([SUCCESS], [_request(1.0, 500)]),
        ([SUCCESS], [_request(1.0), _request(2.0)]),
        ([_attempt(1, "connect"), SECOND], [_request(1.0, None), _request(2.0)]),
        ([SECOND], [_request(1.0)]),
    ],
    ids=[
        "no attempt",
        "no request",
        "other status",
        "one too many",
        "connect does not count as a request",
        "a number is missing",
    ],
)
def test_a_ledger_that_disagrees_with_the_log_is_reported(attempts: list[Attempt], requests: list[Request]) -> None:
    assert verdict.find_mismatches(_delivery(*attempts), requests)


@pytest.mark.parametrize(
    ("attempts", "requests"),
    [
        ([_attempt(1, "timeout"), SECOND], [_request(1.0, None), _request(2.0)]),
        ([_attempt(1, "timeout"), SECOND], [_request(1.0, 200), _request(2.0)]),
        ([_attempt(1, "interrupted"), SECOND], [_request(2.0)]),
        (
            [_attempt(1, "interrupted"), SECOND],
            [_request(1.0, None), _request(1.1), _request(2.0)],
        ),
        ([_attempt(1, "connect"), SECOND], [_request(2.0)]),
    ],
    ids=["unanswered", "lost response", "interrupted before", "interrupted at the second request", "never arrived"],
)
def test_a_ledger_that_can_be_explained_is_not(attempts: list[Attempt], requests: list[Request]) -> None:
    assert not verdict.find_mismatches(_delivery(*attempts), requests)


@pytest.mark.parametrize(
    ("spans", "forgotten"),
    [
        ([("postgres-crash", 1.4, 10.0), ("kill-worker", 12.0, 15.0)], True),
        ([("postgres-crash", 1.4, 10.0)], False),
        ([("postgres-crash", 1.4, 10.0), ("kill-worker", 0.5, 1.0)], False),
        ([("postgres-crash", 1.4, 10.0), ("kill-worker", 20.0, 21.0)], False),
        ([("postgres-crash", 2.0, 10.0), ("kill-worker", 12.0, 15.0)], False),
        ([("postgres-away", 1.4, 10.0), ("kill-worker", 12.0, 15.0)], False),
    ],
)
def test_a_request_is_forgotten_if_a_crash_undid_its_claim_and_its_worker_died_soon_after(
    spans: list[tuple[str, float, float]], *, forgotten: bool
) -> None:
    faults = [_span(*span) for span in spans]
    found = verdict.find_mismatches(_delivery(SUCCESS), [_request(1.0), _request(16.0)], faults)
    assert (not found) == forgotten


@pytest.mark.parametrize(
    ("begun_at", "answered_at", "pulled", "known"),
    [
        (PULL_LEASE + 2.0, None, True, True),
        (PULL_LEASE + 2.0, None, False, False),
        (PULL_LEASE + 2.0, PULL_LEASE + 3.0, True, False),
        (PULL_LEASE, None, True, False),
        (PULL_LEASE + 6.0, None, True, False),
    ],
)
def test_what_was_pulled_is_known_of_if_a_success_that_was_reported_late_ended_its_delivery(
    begun_at: float, answered_at: float | None, *, pulled: bool, known: bool
) -> None:
    held = Attempt(number=1, outcome="success", status_code=200, started_at=1.0, recorded_at=PULL_LEASE + 2.1)
    again = replace(_request(begun_at, None), answered_at=answered_at, pulled=pulled)
    found = verdict.find_mismatches(_delivery(held), [_request(1.1), again])
    assert (not found) == known


def test_a_delivery_that_failed_after_a_success_is_reported() -> None:
    assert verdict.find_mismatches(_delivery(SUCCESS, status="failed"), [_request(1.0)])


def test_a_request_after_a_2xx_is_a_duplicate_and_one_after_an_error_or_beside_it_is_not() -> None:
    first, beside, after = _request(1.0, answered_at=2.0), _request(1.5, None), _request(3.0)
    assert verdict.find_duplicates([first, beside, after]) == [(after, first)]
    assert not verdict.find_duplicates([_request(1.0, 500), _request(2.0)])


def _of_duplicate(answered_at: float, *spans: Span) -> str | None:
    span = verdict.fault_of_duplicate(_request(answered_at - 0.01, answered_at=answered_at), spans)
    return span.kind.name if span else None


def test_a_lost_worker_explains_what_was_answered_just_before_and_nothing_else() -> None:
    kill = _span("kill-worker", 100, 101)
    assert _of_duplicate(99.5, kill) == "kill-worker"
    assert _of_duplicate(90, kill) is None
    assert _of_duplicate(110, kill) is None


def test_faults_of_redis_postgres_or_the_dispatcher_do_not_explain_a_duplicate() -> None:
    for kind in ("redis-away", "postgres-away", "kill-delivery", "stop-ingest", "receiver-hangs"):
        assert _of_duplicate(100, _span(kind, 99, 130)) is None


def test_a_worker_lost_while_postgres_was_away_explains_what_could_not_be_recorded_since() -> None:
    spans = [_span("postgres-away", 80, 101), _span("kill-worker", 100, 101)]
    assert _of_duplicate(85, *spans) == "kill-worker"


def test_a_short_cut_between_worker_and_postgres_explains_no_duplicate() -> None:
    assert _of_duplicate(100, _span("cut-postgres-refuse", 99, 102)) is None
    assert _of_duplicate(100, _span("cut-postgres-refuse", 99, 109)) == "cut-postgres-refuse"


def test_a_response_at_the_deadline_explains_a_duplicate_if_there_was_a_fault() -> None:
    late, spans = _request(104.0, answered_at=104.9), [_span("redis-kill", 0, 1)]
    assert verdict.answered_late(late, [_attempt(1, "timeout", started_at=100.0)], spans)
    assert not verdict.answered_late(late, [_attempt(1, "timeout", started_at=103.9)], spans)
    assert not verdict.answered_late(late, [_attempt(1, "timeout", started_at=100.0)], [])


def test_a_request_that_a_black_hole_held_explains_itself_by_the_attempt_that_was_given_up() -> None:
    """It was sent before the one that succeeded, and arrived after it."""
    hole, late = _span("cut-receiver-blackhole", 100, 107), _request(109.4, None)
    given_up, success = _attempt(1, "timeout", started_at=101.8), _attempt(2, "success", 200, started_at=108.9)
    assert verdict.fault_of_delay(late, [given_up, success], [hole]) == hole
    assert verdict.fault_of_delay(late, [success], [hole]) is None
    assert verdict.fault_of_delay(_request(115.0), [given_up, success], [hole]) is None
    assert verdict.fault_of_delay(late, [given_up, success], [_span("cut-receiver-refuse", 100, 107)]) is None


def test_an_interruption_needs_a_fault_within_a_lease_and_its_notice() -> None:
    assert verdict.fault_of_interruption(120, [_span("kill-worker", 99, 100)]) is not None
    assert verdict.fault_of_interruption(200, [_span("kill-worker", 99, 100)]) is None
    assert verdict.fault_of_interruption(120, [_span("redis-kill", 99, 100)]) is None


@pytest.mark.parametrize(
    ("kind", "before", "explained"),
    [
        ("postgres-crash", 0.5, True),
        ("postgres-kill", 0.5, True),
        ("postgres-crash", 0.7, False),
        ("postgres-crash", -0.1, False),
        ("postgres-restart", 0.5, False),
        ("postgres-away", 0.5, False),
    ],
)
def test_crash_of_postgres_explains_duplicates_of_requests_just_before_it(
    kind: str, before: float, *, explained: bool
) -> None:
    spans = [_span(kind, 100.0, 103.0)]
    found = verdict.fault_of_undone_claim(_request(100.0 - before), spans)
    assert found == (spans[0] if explained else None)


def _judge_kill(cut: int, *others: Span, kind: str = "kill-worker") -> verdict.Verdict:
    """Return the verdict over a kill that cut so many requests."""
    requests = [_request(9.9, None) for _ in range(cut)] + [_request(9.0), _request(11.0, None)]
    return _judge(requests=requests, spans=[_span(kind, 10.0, 12.0), *others])


def test_a_kill_of_a_worker_that_cut_few_requests_says_little_about_duplicates() -> None:
    assert _judge_kill(9).fewest_cut == 9
    assert "fewer than 10" in verdict.too_gentle(_judge_kill(9))[0]
    assert not verdict.too_gentle(_judge_kill(10))
    assert _judge_kill(3, kind="kill-service").fewest_cut == 3


def test_kills_of_other_processes_or_beside_other_faults_are_not_counted() -> None:
    assert _judge_kill(1, kind="kill-gateway").fewest_cut is None
    assert _judge_kill(1, _span("redis-away", 5.0, 9.0)).fewest_cut is None
    assert not verdict.too_gentle(_judge_kill(1, _span("redis-away", 5.0, 9.0)))
