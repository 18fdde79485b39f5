"""What a worker knows of each subscription: bounds, shares of the slots, and turns.

Lanes here have no claim yet, so that they have no tenant and no host: test_shares.py has those.
"""

import random
import time
from collections.abc import Iterable
from uuid import UUID

import pytest

from services.delivery.worker import shares
from services.delivery.worker.lane import FIRST_LIMIT, MIN_WAITING, SLOW_SECONDS, Lane
from services.delivery.worker.lanes import FORGET_SECONDS, Lanes
from services.platform import ids

SLOTS = 64
QUICK = 0.01


def new(number: int) -> list[UUID]:
    return [ids.new() for _ in range(number)]


def lane_of(limit: float, *, in_flight: int = 0) -> Lane:
    lane = Lane(ids.new(), SLOTS)
    lane.limit, lane.in_flight = limit, in_flight
    return lane


def waiting(made: Lanes, number: int, *, limit: float = SLOTS) -> Lane:
    """A lane with so many ids, of an endpoint that answers quickly."""
    lane = made.lane(ids.new())
    lane.limit, lane.answer_seconds = limit, QUICK
    assert made.add(lane.subscription_id, new(number)) == []
    return lane


def claim_all(made: Lanes) -> None:
    while made.can_claim:
        made.next_batch(100)


def stall(lane: Lane, seconds: float = 60.0) -> None:
    """Pretend that no response to its requests came for this long."""
    lane.used_at -= seconds


# -- room for what ingest hands over --


def test_room_is_taken_up_to_the_limit_of_a_lane_and_given_back() -> None:
    made, name = Lanes(SLOTS), ids.new()
    taken = [made.take(name) for _ in range(FIRST_LIMIT + 1)]
    assert taken == [made.lane(name)] * FIRST_LIMIT + [None]
    assert made.in_flight == made.lane(name).in_flight == FIRST_LIMIT
    for lane in filter(None, taken):
        made.done(lane)
    assert made.in_flight == made.lane(name).in_flight == 0


def test_room_is_not_taken_before_ids_that_wait() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 1)
    assert made.take(lane.subscription_id) is None
    claim_all(made)
    assert made.take(lane.subscription_id) is lane


# -- limits --


@pytest.mark.parametrize(
    ("limit", "in_flight", "free_slots", "room"),
    [
        (32.0, 0, 64, 32),
        (32.0, 30, 34, 2),
        (32.0, 32, 32, 0),
        (1.9, 0, 64, 1),
        # By its share, a quarter of which it may exceed each time it takes its room.
        (64.0, 0, 64, 48),
        (64.0, 48, 16, 0),
        (64.0, 47, 16, 1),
        (64.0, 3, 1, 0),
        (64.0, 2, 1, 1),
        # The last slot is for a subscription that has none.
        (64.0, 0, 1, 1),
        (64.0, 0, 0, 0),
        # A lowered limit takes nothing back.
        (1.0, 20, 44, 0),
    ],
)
def test_lane_has_room_up_to_its_limit_and_its_share_of_the_free_slots(
    limit: float, in_flight: int, free_slots: int, room: int
) -> None:
    assert lane_of(limit, in_flight=in_flight).room(free_slots) == room


def test_a_lane_is_at_its_bound_by_its_own_requests_alone() -> None:
    assert lane_of(8.0, in_flight=8).at_bound(56)
    assert not lane_of(8.0, in_flight=7).at_bound(57)
    assert not lane_of(8.0).at_bound(0)


def test_the_first_limit_does_not_exceed_the_slots() -> None:
    assert Lane(ids.new(), 16).limit == 16
    assert Lane(ids.new(), 512).limit == FIRST_LIMIT


@pytest.mark.parametrize(("hogs", "free"), [(1, 16), (2, 4), (3, 1), (5, 1)])
def test_lanes_at_their_maximum_leave_slots_to_others(hogs: int, free: int) -> None:
    made = Lanes(SLOTS)
    for _ in range(hogs):
        waiting(made, SLOTS)
    claim_all(made)
    assert made.free_slots >= free
    other = waiting(made, 1)
    assert [lane for lane, _ in made.next_batch(100)] == [other]


@pytest.mark.parametrize(("slots", "spared"), [(shares.MIN_TO_SPARE, 1), (10, 1), (SLOTS, 4), (512, 32)])
def test_slow_endpoints_of_any_number_leave_slots_to_others(slots: int, spared: int) -> None:
    made = Lanes(slots)
    hogs = [waiting(made, slots) for _ in range(slots)]
    for hog in hogs:
        hog.answer_seconds = 15.0
    claim_all(made)
    assert made.free_slots == spared
    others = [waiting(made, 1) for _ in range(spared + 1)]
    claim_all(made)
    assert (sum(lane.in_flight for lane in others), made.free_slots) == (spared, 0)
    for lane in [lane for lane in others if lane.in_flight]:  # the last one waits for the end of another
        made.done(lane)
    claim_all(made)
    assert (others[-1].in_flight, made.free_slots) == (1, spared - 1)
    made.done(others[-1])
    # What one of them releases another takes, and no more.
    made.done(next(hog for hog in hogs if hog.in_flight))
    claim_all(made)
    assert made.free_slots == spared


@pytest.mark.parametrize(("slots", "spared"), [(shares.MIN_TO_SPARE, 1), (SLOTS, 2), (512, 16)])
def test_unknown_endpoints_of_any_number_leave_slots_to_others(slots: int, spared: int) -> None:
    made = Lanes(slots)
    for _ in range(slots):
        made.add(ids.new(), new(1))
    claim_all(made)
    assert made.free_slots == spared
    waiting(made, 1)
    claim_all(made)
    assert made.free_slots == spared - 1


def test_an_endpoint_that_hangs_for_the_first_time_is_slow_as_soon_as_it_has_not_answered() -> None:
    lane = lane_of(SLOTS, in_flight=1)
    assert lane.level == shares.UNKNOWN
    stall(lane)
    assert lane.level == shares.SLOW
    succeed(lane)
    lane.used_at = time.monotonic()
    assert lane.level == shares.QUICK
    stall(lane)
    assert lane.level == shares.SLOW


def test_an_endpoint_that_was_not_asked_for_long_is_not_slow() -> None:
    lane = lane_of(SLOTS)
    stall(lane)
    assert lane.level == shares.UNKNOWN


@pytest.mark.parametrize("slots", range(1, shares.MIN_TO_SPARE))
def test_a_worker_with_few_slots_has_none_to_spare(slots: int) -> None:
    made = Lanes(slots)
    for _ in range(slots):
        waiting(made, 1).answer_seconds = 15.0
    claim_all(made)
    assert made.free_slots == 0


@pytest.mark.parametrize(("slots", "taken"), [(1, 1), (2, 2), (4, 3), (16, 12), (32, 24)])
def test_a_single_lane_gets_three_quarters_of_the_slots_and_at_least_one(slots: int, taken: int) -> None:
    made = Lanes(slots)
    waiting(made, 100)
    claim_all(made)
    assert made.in_flight == taken


def test_ids_over_the_bound_of_a_lane_are_too_many() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 4, limit=4)
    claim_all(made)
    lane.answer_seconds = 1.0
    more = new(20)
    too_many = made.add(lane.subscription_id, more)
    assert set(too_many) == set(more[MIN_WAITING:])
    assert list(lane.waiting) == more[:MIN_WAITING]


def test_a_quick_endpoint_keeps_what_it_takes_within_two_seconds() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 4, limit=4)
    claim_all(made)
    lane.answer_seconds = 0.1
    assert len(made.add(lane.subscription_id, new(200))) == 200 - 4 * 20
    assert made.ready == made.waiting == 80


# -- the limit --


def succeed(lane: Lane, *, seconds: float = QUICK, in_flight: int | None = None) -> None:
    """Report a success for the last request in flight, or for this many."""
    lane.in_flight = int(lane.limit) - 1 if in_flight is None else in_flight
    lane.succeeded(seconds, time.monotonic() - seconds, SLOTS)


def fail(lane: Lane, *, started_at: float | None = None) -> None:
    lane.failed(QUICK, time.monotonic() if started_at is None else started_at)


def test_the_limit_doubles_with_each_round_until_the_first_setback() -> None:
    lane = lane_of(1.0)
    lane.restart(SLOTS)
    limits = []
    for _ in range(5):
        for _ in range(int(lane.limit)):
            succeed(lane)
        limits.append(lane.limit)
    assert limits == [2, 4, 8, 16, 32]


def test_limit_grows_by_one_with_each_round_after_a_failure() -> None:
    lane = lane_of(32.0)
    fail(lane)
    assert lane.limit == 16
    for _ in range(16):
        succeed(lane)
    assert 16.9 < lane.limit <= 17


def test_limit_never_exceeds_the_slots() -> None:
    lane = lane_of(float(SLOTS))
    for _ in range(10):
        succeed(lane)
    assert lane.limit == SLOTS


def test_limit_does_not_grow_while_it_is_not_used() -> None:
    lane = lane_of(32.0)
    for _ in range(100):
        succeed(lane, in_flight=14)
    assert lane.limit == 32


def test_limit_is_halved_once_by_failures_of_the_same_round() -> None:
    lane = lane_of(32.0)
    sent_at = time.monotonic()
    for _ in range(32):
        fail(lane, started_at=sent_at)
    assert lane.limit == 16
    fail(lane)
    assert lane.limit == 8


def test_limit_never_falls_below_one_and_grows_from_there() -> None:
    lane = lane_of(32.0)
    for _ in range(20):
        fail(lane)
    assert lane.limit == 1
    for _ in range(10):
        succeed(lane)
    assert lane.limit > 2


def test_a_slow_success_is_a_setback() -> None:
    lane = lane_of(32.0)
    succeed(lane, seconds=SLOW_SECONDS)
    assert lane.limit == 16


def test_the_time_of_answers_is_a_mean_that_begins_with_the_first() -> None:
    lane = lane_of(32.0)
    assert not lane.is_slow(lane.used_at)
    succeed(lane, seconds=0.2)
    assert lane.answer_seconds == pytest.approx(0.2)
    assert not lane.is_slow(lane.used_at)
    succeed(lane, seconds=1.2)
    assert lane.answer_seconds == pytest.approx(0.3)
    assert lane.is_slow(lane.used_at)


def test_an_endpoint_that_has_not_answered_for_a_while_is_slow() -> None:
    lane = lane_of(32.0)
    succeed(lane)
    assert not lane.is_slow(lane.used_at)
    assert lane.is_slow(lane.used_at + 1)


# -- turns --


def test_lanes_alternate() -> None:
    made = Lanes(512)
    one, two = waiting(made, 500), waiting(made, 500)
    assert [made.next_batch(1)[0][0] for _ in range(6)] == [one, two] * 3
    for _ in range(10):
        made.next_batch(10)
    assert abs(one.in_flight - two.in_flight) <= 10


def test_lane_with_one_id_does_not_wait_behind_thousands_of_another() -> None:
    made = Lanes(512)
    waiting(made, 100_000)
    made.next_batch(10)
    other = waiting(made, 1)
    assert other in [lane for lane, _ in made.next_batch(10)]


def test_lane_gets_the_part_of_a_batch_that_another_leaves() -> None:
    made = Lanes(512)
    waiting(made, 2)
    many = waiting(made, 500, limit=512)
    assert [lane for lane, _ in made.next_batch(100)].count(many) == 98


def test_ids_of_a_lane_go_out_in_the_order_of_their_bells_and_once() -> None:
    made = Lanes(SLOTS)
    lane = made.lane(ids.new())
    rung = new(10)
    made.add(lane.subscription_id, rung)
    made.add(lane.subscription_id, rung)
    assert made.waiting == made.ready == 10
    assert [delivery_id for _, delivery_id in made.next_batch(100)] == rung
    assert not made.can_claim


def test_an_end_gives_the_turn_back_to_a_lane_at_its_bound() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 5, limit=4)
    claim_all(made)
    assert not made.can_claim
    made.done(lane)
    assert len(made.next_batch(100)) == 1


def test_a_lane_whose_turn_came_too_late_leaves_an_empty_batch() -> None:
    """It entered while its share left room; others then took that."""
    made = Lanes(16)
    late = waiting(made, 3)
    made.next_batch(100)
    made.add(late.subscription_id, new(1))
    others = [waiting(made, 1) for _ in range(12)]
    while made.free_slots > 1:
        next(iter(made._turns)).turns.move_to_end(late)  # the others first
        made.next_batch(1)
    assert late.in_flight <= 4
    assert len(others) == 12
    claim_all(made)
    assert not made.can_claim


def test_an_id_that_is_discarded_is_not_claimed() -> None:
    made = Lanes(SLOTS)
    lane = made.lane(ids.new())
    (delivery_id,) = rung = new(1)
    made.add(lane.subscription_id, rung)
    made.discard(lane, delivery_id)
    made.discard(lane, delivery_id)
    assert made.next_batch(100) == []
    assert (made.waiting, made.ready, made.can_claim) == (0, 0, False)


# -- lanes that delay nobody --


def test_deliveries_for_a_slow_endpoint_at_its_limit_do_not_count_as_ready() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 4, limit=4)
    claim_all(made)
    lane.answer_seconds = 1.0
    made.add(lane.subscription_id, new(MIN_WAITING))
    assert (lane.parked, made.waiting, made.ready) == (True, MIN_WAITING, 0)
    made.done(lane)
    assert (lane.parked, made.waiting, made.ready) == (False, MIN_WAITING, MIN_WAITING)
    claim_all(made)
    assert (made.waiting, made.ready) == (MIN_WAITING - 1, MIN_WAITING - 1)


def test_deliveries_for_a_fast_endpoint_count_as_ready_until_it_stops_responding() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 4, limit=4)
    claim_all(made)
    lane.answer_seconds = 0.1
    made.add(lane.subscription_id, rung := new(80))
    assert (lane.parked, made.ready) == (False, 80)
    assert list(made.park_stalled()) == []
    stall(lane)
    ((subscription_id, too_many),) = made.park_stalled()
    assert subscription_id == lane.subscription_id
    assert set(too_many) == set(rung[MIN_WAITING:])
    assert (lane.parked, made.waiting, made.ready) == (True, MIN_WAITING, 0)
    assert list(made.park_stalled()) == []


def test_a_lane_that_has_its_turn_or_nothing_to_wait_is_not_parked() -> None:
    made = Lanes(SLOTS)
    in_turn, empty = waiting(made, 4), waiting(made, 4)
    made.next_batch(4)
    claim_all(made)
    made.add(in_turn.subscription_id, new(50))
    for lane in (in_turn, empty):
        stall(lane)
    assert list(made.park_stalled()) == []
    assert made.ready == made.waiting == 50


def test_emptying_a_lane_returns_all_its_waiting_ids_and_ends_its_turn() -> None:
    made = Lanes(SLOTS)
    lane, other = made.lane(ids.new()), waiting(made, 3)
    made.add(lane.subscription_id, rung := new(50))
    assert set(made.empty(lane)) == set(rung)
    assert made.empty(lane) == []
    assert made.waiting == made.ready == 3
    assert {claimed for claimed, _ in made.next_batch(100)} == {other}
    made.add(other.subscription_id, left := new(7))
    assert set(made.empty_all()) == set(left)
    assert (made.waiting, made.ready, made.can_claim) == (0, 0, False)


def test_a_parked_lane_that_is_emptied_starts_over() -> None:
    made = Lanes(SLOTS)
    lane = waiting(made, 4, limit=4)
    claim_all(made)
    lane.answer_seconds = 1.0
    made.add(lane.subscription_id, new(5))
    assert lane.parked
    assert len(made.empty(lane)) == 5
    assert (made.waiting, made.ready) == (0, 0)
    made.done(lane)
    made.add(lane.subscription_id, new(2))
    assert (made.waiting, made.ready) == (2, 2)


def test_lanes_that_are_idle_for_long_are_forgotten() -> None:
    made = Lanes(SLOTS)
    idle, recent, flying, full = (made.lane(ids.new()) for _ in range(4))
    waiting(made, 0)
    made.add(flying.subscription_id, new(1))
    claim_all(made)
    made.add(full.subscription_id, new(1))
    for lane in (idle, flying, full):
        stall(lane, FORGET_SECONDS + 1)
    made.forget_idle()
    assert made.lane(idle.subscription_id) is not idle
    assert [made.lane(lane.subscription_id) for lane in (recent, flying, full)] == [recent, flying, full]


# -- random operations --


class Model:
    """Lanes, and the true place of each id."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.slots = self.random.choice([1, 2, 5, 16, 100])
        self.made = Lanes(self.slots)
        self.subscriptions = new(self.random.choice([1, 2, 6, 20]))
        # Of each its tenant, and the host of each of its endpoints; with some models nothing is ever learned of them.
        self.learns = bool(self.random.randrange(4))
        self.tenants = {name: self.random.choice("abc") for name in self.subscriptions}
        self.versions = dict.fromkeys(self.subscriptions, 1)
        self.waiting: dict[UUID, UUID] = {}
        self.in_flight: list[tuple[Lane, UUID]] = []
        self.returned: list[UUID] = []

    def add(self) -> None:
        subscription_id = self.random.choice(self.subscriptions)
        flying = {delivery_id for _, delivery_id in self.in_flight}
        own = [each for each, owner in self.waiting.items() if owner == subscription_id and each not in flying]
        again = own[: self.random.randrange(4)]
        rung = [*new(self.random.choice([0, 1, 5, 60])), *again]
        self.waiting |= dict.fromkeys(rung, subscription_id)
        self._return(self.made.add(subscription_id, rung))

    def claim(self) -> None:
        number = self.random.choice([1, 3, 100])
        batch = self.made.next_batch(number)
        assert len(batch) <= number
        for lane, delivery_id in batch:
            assert self.waiting.pop(delivery_id) == lane.subscription_id
            self.in_flight.append((lane, delivery_id))
        for number in range(len(self.in_flight) - len(batch), len(self.in_flight)):
            self._learn(number)
        self._return_too_many()
        fitting = [(lane, each) for lane, each in self.in_flight if not self.learns or self.made.fits(lane)]
        for lane, _ in set(self.in_flight) - set(fitting):
            self.made.done(lane)
        self.in_flight = fitting

    def _learn(self, number: int) -> None:
        if not self.learns:
            return
        lane, delivery_id = self.in_flight[number]
        name = lane.subscription_id
        current, too_many = self.made.of_claim(lane, self.versions[name])
        self.in_flight[number] = current, delivery_id
        self._return(too_many)
        self.made.learn(current, self.tenants[name], f"https://{(name.int + self.versions[name]) % 3}.example/")

    def change_endpoint(self) -> None:
        self.versions[self.random.choice(self.subscriptions)] += 1

    def bound(self) -> None:
        self.made.bound(of_tenant=self.random.choice([1, 2, 8, 1_000]), of_host=self.random.choice([1, 4, 1_000]))

    def end(self) -> None:
        for _ in range(min(len(self.in_flight), self.random.choice([1, 5, 30]))):
            lane, _ = self.in_flight.pop(self.random.randrange(len(self.in_flight)))
            self.made.done(lane)
            seconds = self.random.choice([QUICK, QUICK, 1.0, SLOW_SECONDS])
            if self.random.random() < 0.7:
                lane.succeeded(seconds, time.monotonic() - seconds, self.slots)
            else:
                lane.failed(seconds, time.monotonic() - seconds)

    def discard(self) -> None:
        if self.waiting:
            delivery_id, subscription_id = self.random.choice(list(self.waiting.items()))
            self.made.discard(self.made.lane(subscription_id), delivery_id)
            del self.waiting[delivery_id]

    def empty(self) -> None:
        self._return(self.made.empty(self.made.lane(self.random.choice(self.subscriptions))))

    def stall(self) -> None:
        stall(self.made.lane(self.random.choice(self.subscriptions)), self.random.choice([1.0, FORGET_SECONDS + 1]))
        for _, too_many in self.made.park_stalled():
            self._return(too_many)

    def forget(self) -> None:
        self.made.forget_idle()

    def restart(self) -> None:
        self.made.lane(self.random.choice(self.subscriptions)).restart(self.slots)

    def _return_too_many(self) -> None:
        for _, too_many in self.made.take_too_many():
            self._return(too_many)

    def _return(self, too_many: Iterable[UUID]) -> None:
        for delivery_id in too_many:
            del self.waiting[delivery_id]

    def check(self) -> None:
        made = self.made
        found = [(each, lane) for lane in made._lanes.values() for each in lane.waiting]
        assert {each: lane.subscription_id for each, lane in found} == self.waiting
        assert made.waiting == len(found) == len(self.waiting)
        assert made.ready == sum(not lane.parked for _, lane in found)
        lanes = {id(lane): lane for lane in (*made._lanes.values(), *(lane for lane, _ in self.in_flight))}.values()
        flows = {id(lane.flow): lane.flow for lane in lanes}.values()
        assert made.in_flight == len(self.in_flight) == sum(lane.in_flight for lane in lanes)
        assert made.in_flight == sum(flow.in_flight for flow in flows)
        assert made.in_flight == sum({id(flow.tenant): flow.tenant.in_flight for flow in flows}.values())
        for host in (*made._hosts.values(), None):
            own = [flow for flow in flows if flow.host is host]
            assert host is None or host.in_flight == sum(flow.in_flight for flow in own)
            assert all(
                set(flow.blocked or ()) == {lane for lane in lanes if lane.flow is flow and lane.blocked}
                for flow in own
            )
            assert host is None or set(host.blocked or ()) == {flow for flow in own if flow.blocked}
        assert set(made._blocked) == {flow.tenant for flow in flows if flow.blocked}
        assert 0 <= made.in_flight <= self.slots
        for lane in lanes:
            tenant = lane.flow.tenant
            assert lane.in_turn == (lane in tenant.turns)
            assert (tenant in made._turns) == bool(tenant.turns)
            assert 1 <= lane.limit <= max(self.slots, FIRST_LIMIT)
            # Every waiting lane has a turn to come, or a request in flight brings it one.
            assert lane.in_turn or (lane.blocked and made.in_flight) or not lane.waiting


@pytest.mark.parametrize("seed", range(60))
def test_lanes_lose_double_and_miscount_nothing(seed: int) -> None:
    model = Model(seed)
    steps = [model.add, model.claim, model.end, model.discard, model.empty, model.stall, model.forget, model.restart]
    steps += [model.change_endpoint, model.bound]
    for _ in range(250):
        model.random.choices(steps, [6, 8, 6, 2, 1, 2, 1, 1, 1, 1])[0]()
        model.check()
    while model.waiting or model.in_flight:
        before = len(model.waiting) + len(model.in_flight)
        model.claim()
        model.end()
        model.check()
        assert len(model.waiting) + len(model.in_flight) < before or model.in_flight
