"""Tenants and hosts: what a worker has in flight for them; none of them uses up the capacity for all."""

from uuid import UUID

import pytest

from services.delivery.worker import shares
from services.delivery.worker.lane import MIN_WAITING, Lane
from services.delivery.worker.lanes import FORGET_SECONDS, Lanes
from services.delivery.worker.shares import QUICK, SLOW, UNKNOWN, share, spared
from services.platform import ids

SLOTS = 512
WEIGHTS = {"light": 1, "heavy": 3}
ANSWER_SECONDS = 0.01


def new(number: int) -> list[UUID]:
    return [ids.new() for _ in range(number)]


def url(host: str) -> str:
    return f"https://{host}/hook"


def place(made: Lanes, lane: Lane, tenant: str, host: str) -> bool:
    """Handle a claim as the scheduler does: hand it back if it does not fit."""
    made.learn(lane, tenant, url(host))
    fits = made.fits(lane)
    if not fits:
        made.done(lane)
    return fits


def known(made: Lanes, tenant: str, *, host: str = "", seconds: float = ANSWER_SECONDS, limit: float = SLOTS) -> Lane:
    """Return a lane with a known tenant and host; by default, each has its own host."""
    subscription_id = ids.new()
    lane = made.lane(subscription_id)
    made.learn(lane, tenant, url(host or f"{subscription_id}.example"))
    lane.limit, lane.answer_seconds = limit, seconds
    return lane


def many(made: Lanes, tenant: str, number: int, *, host: str = "", seconds: float = ANSWER_SECONDS) -> list[Lane]:
    """Return lanes with ten ids each."""
    found = [known(made, tenant, host=host, seconds=seconds) for _ in range(number)]
    for lane in found:
        made.add(lane.subscription_id, new(10))
    return found


def claim_all(made: Lanes) -> None:
    while made.can_claim:
        made.next_batch(100)


def in_flight(lanes: list[Lane]) -> int:
    return sum(lane.in_flight for lane in lanes)


def end_all(made: Lanes, lanes: list[Lane], number: int) -> None:
    """End this many requests, one after the other, each in another lane."""
    for lane in [lane for lane in lanes if lane.in_flight][:number]:
        made.done(lane)
        claim_all(made)


# -- arithmetic --


@pytest.mark.parametrize("total", [1, 2, 3, 8, 64, 512])
def test_share_of_a_single_tenant_is_seven_eighths_and_at_least_one(total: int) -> None:
    taken = 0
    while share(total - taken, taken):
        taken += 1
    assert taken == max(1, 7 * total // 8)


@pytest.mark.parametrize("number", [2, 3, 10, 60])
def test_shares_of_any_number_of_tenants_are_equal_and_leave_a_slot(number: int) -> None:
    taken = [0] * number
    while any(share(SLOTS - sum(taken), one) for one in taken):
        taken[taken.index(min(taken))] += 1
    assert SLOTS - sum(taken) >= 1
    assert max(taken) - min(taken) <= 1
    assert sum(taken) >= 7 * SLOTS // 8


def test_a_share_is_never_negative() -> None:
    assert [share(free, taken) for free in (-3, 0) for taken in (0, 1, 100)] == [0] * 6


def test_the_less_is_known_of_an_endpoint_the_more_it_leaves() -> None:
    assert [spared(512, level) for level in (QUICK, UNKNOWN, SLOW)] == [0, 16, 32]
    assert [spared(8, level) for level in (QUICK, UNKNOWN, SLOW)] == [0, 1, 1]
    assert [spared(shares.MIN_TO_SPARE - 1, level) for level in (QUICK, UNKNOWN, SLOW)] == [0, 0, 0]


# -- tenants --


def test_slow_endpoints_of_one_tenant_leave_slots_to_the_endpoints_of_another() -> None:
    """1,200 receivers that take 15 s, and another tenant without history."""
    made = Lanes(SLOTS)
    hostile = many(made, "hostile", 1_200, seconds=15.0)
    claim_all(made)
    assert 400 <= in_flight(hostile) <= 7 * SLOTS // 8
    quiet = [made.lane(ids.new()) for _ in range(40)]
    for lane in quiet:
        made.add(lane.subscription_id, new(10))
    claim_all(made)
    assert in_flight(quiet) >= 64
    assert made.free_slots >= 16


def test_slow_endpoints_of_two_tenants_get_the_same_share_in_any_order() -> None:
    made = Lanes(SLOTS)
    first = many(made, "first", 1_200, seconds=15.0)
    claim_all(made)
    second = many(made, "second", 1_200, seconds=15.0)
    claim_all(made)
    end_all(made, first, 400)
    end_all(made, first, 400)
    assert abs(in_flight(first) - in_flight(second)) <= 16
    assert in_flight(first) + in_flight(second) >= 400


def test_unused_shares_go_to_tenants_that_can_use_them() -> None:
    made = Lanes(SLOTS)
    for name in ("one", "two", "three"):
        many(made, name, 1)
    busy = many(made, "busy", 1_200)
    claim_all(made)
    assert in_flight(busy) >= 400


@pytest.mark.parametrize("slots", [64, SLOTS])
@pytest.mark.parametrize("names", [("light", "heavy"), ("heavy", "light")])
def test_tenant_of_weight_3_gets_three_times_the_slots_in_any_order(slots: int, names: tuple[str, str]) -> None:
    made = Lanes(slots, WEIGHTS.__getitem__)
    lanes = {}
    for name in names:
        lanes[name] = many(made, name, 1_200)
        claim_all(made)
    for _ in range(4):
        end_all(made, lanes[names[0]], slots // 2)
    light, heavy = in_flight(lanes["light"]), in_flight(lanes["heavy"])
    assert light + heavy >= 7 * slots // 8
    assert 2 <= heavy / light <= 4


@pytest.mark.parametrize("name", ["light", "heavy"])
def test_a_tenant_of_any_weight_gets_seven_eighths_of_the_slots_alone(name: str) -> None:
    made = Lanes(SLOTS, WEIGHTS.__getitem__)
    lanes = many(made, name, 1_200)
    claim_all(made)
    assert 7 * SLOTS // 8 <= in_flight(lanes) < SLOTS


def test_a_turn_is_as_large_as_the_weight_of_its_tenant() -> None:
    made = Lanes(SLOTS, WEIGHTS.__getitem__)
    light, heavy = many(made, "light", 100), many(made, "heavy", 100)
    batch = [lane for lane, _ in made.next_batch(100)]
    assert (len(set(batch) & set(light)), len(set(batch) & set(heavy))) == (25, 75)


def test_tenants_share_a_host_by_their_weights() -> None:
    made = Lanes(SLOTS, WEIGHTS.__getitem__)
    made.bound(of_tenant=1_000, of_host=64)
    light, heavy = [many(made, name, 100, host="chat.example") for name in WEIGHTS]
    claim_all(made)
    for _ in range(4):
        end_all(made, light, 20)
    assert in_flight(light) + in_flight(heavy) >= 56
    assert 2 <= in_flight(heavy) / in_flight(light) <= 4


def test_a_quick_endpoint_has_its_way_beside_slow_ones_of_its_tenant() -> None:
    made = Lanes(SLOTS)
    many(made, "tenant", 1_200, seconds=15.0)
    claim_all(made)
    quick = known(made, "tenant")
    made.add(quick.subscription_id, new(20))
    claim_all(made)
    assert quick.in_flight >= 16


def test_endpoint_finds_a_slot_beside_any_number_of_busy_ones_of_its_tenant() -> None:
    made = Lanes(SLOTS)
    for _ in range(20):
        made.add(known(made, "tenant").subscription_id, new(SLOTS))
    claim_all(made)
    other = known(made, "tenant")
    made.add(other.subscription_id, new(1))
    claim_all(made)
    assert other.in_flight == 1


def test_single_lane_still_gets_three_quarters_of_the_slots() -> None:
    made = Lanes(SLOTS)
    lane = known(made, "tenant")
    made.add(lane.subscription_id, new(SLOTS))
    claim_all(made)
    assert lane.in_flight == 3 * SLOTS // 4


def test_tenants_take_turns_however_many_lanes_they_have() -> None:
    made = Lanes(SLOTS)
    crowd, one = many(made, "crowd", 100), many(made, "one", 1)
    batch = [lane for lane, _ in made.next_batch(20)]
    assert batch.count(one[0]) >= 5
    assert len(set(batch) & set(crowd)) >= 10


def test_a_tenant_over_its_bound_waits_for_itself_and_counts_for_nobody() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=10, of_host=1_000)
    lane = known(made, "tenant")
    assert made.add(lane.subscription_id, new(300)) == []
    claim_all(made)
    assert lane.in_flight == 9
    # What its current requests can handle within two seconds may wait; nobody waits for it.
    assert (made.take_too_many(), made.ready, lane.parked) == ([], 0, True)
    lane.answer_seconds = 1.0
    assert len(made.add(lane.subscription_id, new(1))) == 300 + 1 - 9 - 18
    assert not made.is_short(lane)
    other = known(made, "other")
    assert made.add(other.subscription_id, new(5)) == []
    claim_all(made)
    assert other.in_flight == 5
    made.done(lane)
    claim_all(made)
    assert lane.in_flight == 8  # it is slow now


def test_slot_released_by_a_tenant_at_its_limit_goes_to_its_next_endpoint_at_once() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=10, of_host=1_000)
    for number in range(20):
        many(made, f"other-{number}", 2)
    claim_all(made)
    busy, last, late = (known(made, "tenant") for _ in range(3))
    for lane, number in ((busy, 9), (last, 1), (late, 1)):
        made.add(lane.subscription_id, new(number))
        claim_all(made)
    assert (busy.in_flight, last.in_flight, late.in_flight) == (9, 1, 0)
    made.done(busy)
    claim_all(made)
    assert late.in_flight == 1


def test_an_endpoint_without_a_request_out_whose_tenant_is_at_its_bound_keeps_a_few_ids() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=4, of_host=1_000)
    many(made, "tenant", 10, seconds=1.0)
    claim_all(made)
    late = known(made, "tenant", seconds=1.0)
    assert len(made.add(late.subscription_id, new(100))) == 100 - MIN_WAITING
    assert (late.in_flight, made.ready) == (0, 0)


def test_a_worker_for_want_of_slots_says_that_another_one_would_help() -> None:
    made = Lanes(8)
    lane = many(made, "tenant", 20)[0]
    claim_all(made)
    assert made.is_short(lane)


# -- tenants that claims reveal --


def test_claims_that_turn_out_to_exceed_the_limit_of_their_tenant_have_no_room() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=10, of_host=1_000)
    unknown = [made.lane(ids.new()) for _ in range(50)]
    for lane in unknown:
        made.add(lane.subscription_id, new(1))
    claimed = [lane for lane, _ in made.next_batch(100)]
    assert len(claimed) == 50
    # Unknown endpoints leave one slot of ten.
    assert [place(made, lane, "tenant", f"{lane.subscription_id}.example") for lane in claimed] == [
        *[True] * 9,
        *[False] * 41,
    ]
    assert made.in_flight == 9


def test_requests_sent_before_their_tenant_was_known_are_each_checked() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=10, of_host=1_000)
    lane = made.lane(ids.new())
    made.add(lane.subscription_id, new(30))
    claimed = [lane for lane, _ in made.next_batch(100)]
    assert sum(place(made, lane, "tenant", "receiver.example") for lane in claimed) == made.in_flight == 8


def test_a_lane_keeps_what_waits_in_it_when_its_tenant_is_learned() -> None:
    made = Lanes(SLOTS)
    lane = made.lane(ids.new())
    made.add(lane.subscription_id, rung := new(40))
    first = [delivery_id for _, delivery_id in made.next_batch(10)]
    assert place(made, lane, "tenant", "receiver.example")
    assert made.waiting == made.ready == 30
    assert first + [delivery_id for _, delivery_id in made.next_batch(100)] == rung[:32]


def test_endpoint_change_moves_the_lane_to_its_new_host() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=1_000, of_host=4)
    lane = known(made, "tenant", host="old.example")
    lane.endpoint_version = 1
    made.add(lane.subscription_id, new(20))
    claim_all(made)
    assert lane.in_flight == 3
    assert lane.subscription_id in made.watched(10)
    assert made.lead_to(lane.subscription_id, 2) == []
    claim_all(made)
    moved = made.lane(lane.subscription_id)
    out = moved.in_flight
    assert out > 4
    assert sum(place(made, moved, "tenant", "new.example") for _ in range(out)) == moved.in_flight == 2
    for _ in range(3):
        made.done(lane)
    assert lane.in_flight == 0


# -- hosts --


def test_a_host_gets_no_more_than_its_bound_over_all_tenants() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=1_000, of_host=40)
    lanes = [lane for tenant in "abcdefgh" for lane in many(made, tenant, 20, host="chat.example")]
    elsewhere = many(made, "a", 1)
    claim_all(made)
    assert 30 <= in_flight(lanes) <= 40
    assert in_flight(elsewhere) == 10
    assert not made.is_short(lanes[0])


def test_slot_released_at_a_host_at_its_limit_goes_to_the_next_tenant_at_once() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=1_000, of_host=8)
    for number in range(20):
        many(made, f"other-{number}", 1)
    claim_all(made)
    first, second, third = (known(made, tenant, host="chat.example") for tenant in ("first", "second", "third"))
    for lane, number in ((first, 7), (second, 1), (third, 1)):
        made.add(lane.subscription_id, new(number))
        claim_all(made)
    assert (first.in_flight, second.in_flight, third.in_flight) == (7, 1, 0)
    made.done(first)
    claim_all(made)
    assert third.in_flight == 1


def test_tenants_share_a_host_equally_and_a_single_one_may_have_most_of_it() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=1_000, of_host=64)
    first = many(made, "first", 100, host="chat.example")
    claim_all(made)
    assert in_flight(first) == 56
    second = many(made, "second", 100, host="chat.example")
    claim_all(made)
    assert in_flight(second) >= 6
    for _ in range(4):
        end_all(made, first, 20)
    assert abs(in_flight(first) - in_flight(second)) <= 4
    assert in_flight(first) + in_flight(second) >= 56


def test_a_quick_endpoint_has_its_way_beside_slow_ones_at_the_same_host() -> None:
    made = Lanes(SLOTS)
    made.bound(of_tenant=1_000, of_host=64)
    many(made, "tenant", 100, host="chat.example", seconds=15.0)
    claim_all(made)
    quick = known(made, "tenant", host="chat.example")
    made.add(quick.subscription_id, new(1))
    claim_all(made)
    assert quick.in_flight == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example./y", True),
        ("https://a.example/", "http://a.example:443/", True),
        ("https://a.example/", "https://a.example:8443/", False),
        ("https://a.example/", "https://b.example/", False),
    ],
)
def test_a_host_is_a_name_and_a_port(one: str, other: str, *, same: bool) -> None:
    made = Lanes(SLOTS)
    lanes = [made.lane(ids.new()) for _ in range(2)]
    for lane, target_url in zip(lanes, (one, other), strict=True):
        made.learn(lane, "tenant", target_url)
    assert (lanes[0].flow.host is lanes[1].flow.host) == same


def test_a_target_that_cannot_be_read_has_no_host() -> None:
    made = Lanes(SLOTS)
    lane = made.lane(ids.new())
    made.learn(lane, "tenant", "nonsense")
    assert lane.flow.host is None


# -- what is remembered --


def test_idle_lanes_are_forgotten_with_their_tenant_and_host() -> None:
    made = Lanes(SLOTS)
    lanes = many(made, "tenant", 5)
    for lane in lanes:
        made.empty(lane)
    kept = many(made, "other", 1)[0]
    for lane in (*lanes, kept):
        lane.used_at -= FORGET_SECONDS + 1
    made.forget_idle()
    assert list(made._lanes.values()) == [kept]
    assert list(made._tenants) == ["other"]
    assert (len(made._hosts), len(made._flows)) == (1, 1)


# -- what a tenant may hold --


def test_a_batch_has_no_more_of_a_tenant_than_it_may_hold() -> None:
    made = Lanes(SLOTS)
    full, some, other = (many(made, name, 4) for name in ("full", "some", "other"))
    may_hold = {"full": 0, "some": 3, "other": 100}
    batch = [lane for lane, _ in made.next_batch(30, may_hold.__getitem__)]
    assert [sum(batch.count(lane) for lane in lanes) for lanes in (full, some, other)] == [0, 3, 27]
    assert made.next_batch(30, lambda _: 0) == []
    assert sum(lane in full for lane, _ in made.next_batch(100)) > 0
