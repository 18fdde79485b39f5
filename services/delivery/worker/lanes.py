"""Lanes: a worker's state for each subscription, and which is next.

A lane bounds how many requests of a subscription are out. The lowest of these counts:

- its limit, which adapts (lane.py);
- no more than three times as many as there are free slots: a busy subscription gets three quarters of the worker,
  two get three sevenths each, and however many there are, slots are left for those that need few;
- its share of what its tenant may have (shares.py): of the worker's slots, of the bound of a tenant over all workers,
  and of the bound of the target's host, which tenants share by their weights.

Slow and unknown endpoints leave a part of each to quick ones, so that any number of those that hang leave a way to the
others. Tenants take turns, of a size by their weights, and within them their lanes.

A subscription's tenant and host are known from its first claim on. What turns out to be too much then goes back without
an attempt.

What is over the bound waits in Postgres, except for what the endpoint takes in the next two seconds. Ids of an endpoint
that answers quickly count as waiting for this worker, which hears no more bells while there are too many of
them; those of a slow one, of one that has stopped answering, and of one that waits for its tenant's or its host's share
do not: they hold up nobody.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from uuid import UUID

from services.delivery.worker import shares
from services.delivery.worker.lane import Lane, share_of_lane
from services.delivery.worker.shares import QUICK, Bound, Flow, Host, Tenant, share
from services.domain.egress import targets
from services.platform.process.shares import WeightOf, divide, same_weight

# Lanes where nothing happened are forgotten.
FORGET_SECONDS = 600.0
# Blocked lanes that are looked at when nothing is out any more: all of them have room then.
LOOKS_AT_REST = 1_000


class Lanes:
    """All lanes, and the turns of those that have ids waiting and room."""

    def __init__(self, slots: int, weight_of: WeightOf = same_weight) -> None:
        self._weight_of = weight_of
        self._slots = Bound(slots)
        # Of one tenant, and to one host: this worker's share of what they may have over all workers.
        self._of_tenant = Bound(sys.maxsize)
        self._of_host = Bound(sys.maxsize)
        self._lanes: dict[UUID, Lane] = {}
        self._tenants: dict[str, Tenant] = {}
        self._hosts: dict[tuple[str, int], Host] = {}
        self._flows: dict[tuple[Tenant, Host | None], Flow] = {}
        # Of lanes without a claim: they have a turn among the tenants, and no share.
        self._unknown = Flow(Tenant(""), None)
        self._turns: OrderedDict[Tenant, None] = OrderedDict()
        # Tenants with blocked lanes, those that were looked at longest ago first.
        self._blocked: OrderedDict[Tenant, None] = OrderedDict()
        # Ids that were too many when their lanes came to a bound.
        self._too_many: list[tuple[UUID, list[UUID]]] = []
        self.in_flight = 0
        self.waiting = 0
        # Of those, ids that wait for this worker: all but those of parked lanes.
        self.ready = 0

    def bound(self, *, of_tenant: int, of_host: int) -> None:
        """Bound the requests of each tenant, and to each host."""
        self._of_tenant, self._of_host = Bound(of_tenant), Bound(of_host)

    @property
    def free_slots(self) -> int:
        """How many more requests may go out in all."""
        return self._slots.total - self.in_flight

    def lane(self, subscription_id: UUID) -> Lane:
        """Return a subscription's lane; create it if missing."""
        lane = self._lanes.get(subscription_id)
        if lane is None:
            lane = self._lanes[subscription_id] = Lane(subscription_id, self._slots.total, self._unknown)
        return lane

    def room(self, lane: Lane) -> int:
        """How many more requests of a lane may go out now; fewer than that where there is plenty."""
        free, flow = self._slots.total - self.in_flight, lane.flow
        of_tenant = self._of_tenant.half - flow.tenant.in_flight
        of_host = self._of_host.half - (0 if flow.host is None else flow.host.in_flight)
        if free > self._slots.half and of_tenant > 0 and of_host > 0:
            return min(lane.room(free), of_tenant, of_host)
        level = lane.level
        free -= self._slots.total - self._slots.usable[level]
        room = lane.room(free)
        if not room or flow is self._unknown:
            return room
        left = self._left_of_bounds(flow, level)
        if self._slots.total >= shares.MIN_TO_SPARE:
            left = min(left, share(free, flow.tenant.in_flight, self._weight_of(flow.tenant.tenant_id)))
        return min(room, share_of_lane(left, lane.in_flight, shares.TIMES))

    def is_short(self, lane: Lane) -> bool:
        """Whether another worker would help: its endpoint takes more, and so its tenant and its host may have."""
        return not lane.at_limit and self._left_of_bounds(lane.flow, lane.level) > 0

    def add(self, subscription_id: UUID, delivery_ids: Iterable[UUID]) -> list[UUID]:
        """Take ids in, and return those that are too many for a lane without room."""
        lane = self.lane(subscription_id)
        before = len(lane.waiting)
        lane.waiting.update(dict.fromkeys(delivery_ids))
        self._count_waiting(lane, len(lane.waiting) - before)
        if lane.in_turn or not lane.waiting:
            return []
        if not self._has_no_room(lane):
            self._enter(lane)
            return []
        self._block(lane)
        return self._park(lane, time.monotonic())

    def park_stalled(self) -> Iterator[tuple[UUID, list[UUID]]]:
        """Look at the blocked lanes again: the ids that are too many for those that have stopped answering."""
        now = time.monotonic()
        blocked = [lane for tenant in self._blocked for flow in tenant.blocked for lane in flow.blocked or ()]
        for lane in blocked:
            if not lane.parked and (too_many := self._park(lane, now)):
                yield lane.subscription_id, too_many

    def next_batch(self, number: int, most_of: Callable[[str], int] = lambda _: sys.maxsize) -> list[tuple[Lane, UUID]]:
        """Take up to `number` ids out, in turns, for requests that begin now; of a tenant `most_of` it at most."""
        batch: list[tuple[Lane, UUID]] = []
        now = time.monotonic()
        room: dict[Tenant, int] = {}

        def has_room(tenant: Tenant) -> bool:
            if tenant not in room:
                room[tenant] = most_of(tenant.tenant_id)
            return room[tenant] > 0

        while len(batch) < number and self.free_slots > 0:
            left = min(number - len(batch), self.free_slots)
            having_room = islice(filter(has_room, self._turns), left)
            first = {tenant: self._weight_of(tenant.tenant_id) for tenant in having_room}
            if not first:
                break
            for tenant, own in divide(left, first).items():
                self._turns.move_to_end(tenant)
                before = len(batch)
                self._take(tenant, before + min(own, room[tenant]), batch, now)
                room[tenant] -= len(batch) - before
                if not tenant.turns:
                    del self._turns[tenant]
        return batch

    def take(self, subscription_id: UUID) -> Lane | None:
        """Take room for a request that is not in a bell; None if there is none, or others have a turn before it."""
        lane = self.lane(subscription_id)
        return None if lane.waiting else self._take_room(lane)

    def take_too_many(self) -> list[tuple[UUID, list[UUID]]]:
        """Return by subscription the ids of lanes that came to a bound which is not their own, since the last call."""
        taken, self._too_many = self._too_many, []
        return taken

    def done(self, lane: Lane) -> None:
        """One request of a lane is over, or was none after all."""
        self._count_in_flight(lane, -1)
        lane.used_at = time.monotonic()
        if not self._blocked:
            return
        # Something is free again: for itself, its tenant, its host, or another tenant.
        if lane.blocked:
            self._look_again(lane)
        if lane.flow.tenant.blocked:
            self._look_at_first(lane.flow.tenant.blocked)
        if lane.flow.host is not None and lane.flow.host.blocked:
            self._look_at_first(lane.flow.host.blocked)
        self.look_at_blocked(1 if self.in_flight else LOOKS_AT_REST)

    def look_at_blocked(self, number: int) -> None:
        """Give turns to those of so many blocked lanes that have room now, in turns among tenants."""
        for _ in range(number):
            if not self._blocked:
                return
            tenant = next(iter(self._blocked))
            self._blocked.move_to_end(tenant)
            self._look_at_first(tenant.blocked)

    @property
    def can_claim(self) -> bool:
        """Whether a batch would have something in it."""
        return bool(self._turns) and self.free_slots > 0

    def discard(self, lane: Lane, delivery_id: UUID) -> None:
        """Forget an id that was rung for again while it was claimed."""
        if delivery_id in lane.waiting:
            del lane.waiting[delivery_id]
            self._count_waiting(lane, -1)

    def of_claim(self, lane: Lane, endpoint_version: int) -> tuple[Lane, list[UUID]]:
        """Return the lane of a claim that was made for `lane`, and the ids that are too many for it.

        It is another lane when the claim is for another endpoint: what was learned of one says nothing of the next.
        """
        if lane.endpoint_version == endpoint_version and self._lanes.get(lane.subscription_id) is lane:
            return lane, []
        too_many = self.lead_to(lane.subscription_id, endpoint_version)
        current = self.lane(lane.subscription_id)
        if current is not lane:
            self._count_in_flight(lane, -1)
            self._count_in_flight(current, 1)
            current.unplaced += current.flow is self._unknown
        return current, too_many

    def learn(self, lane: Lane, tenant_id: str, target_url: str) -> None:
        """Take in whose a lane is and where it goes, from a claim."""
        if lane.flow is not self._unknown:
            return
        flow, number = self._flow(tenant_id, target_url), lane.in_flight
        again = lane.in_turn or lane.blocked
        self._withdraw(lane)
        self._count_in_flight(lane, -number)
        lane.flow = flow
        flow.lanes += 1
        self._count_in_flight(lane, number)
        if again:
            self._enter_or_block(lane)

    def borrow(self, subscription_id: UUID, tenant_id: str, target_url: str) -> Lane | None:
        """Return a subscription's lane with a request more in flight, which is no delivery; None if it has no room."""
        lane = self.lane(subscription_id)
        self.learn(lane, tenant_id, target_url)
        return self._take_room(lane)

    def _take_room(self, lane: Lane) -> Lane | None:
        if not self.room(lane):
            return None
        if not lane.in_flight:
            lane.used_at = time.monotonic()
        if lane.flow is self._unknown:
            lane.unplaced += 1
        self._count_in_flight(lane, 1)
        return lane

    def fits(self, lane: Lane) -> bool:
        """Whether its tenant and its host have room for a claimed request that went out before they were known."""
        if not lane.unplaced:
            return True
        lane.unplaced -= 1
        self._count_in_flight(lane, -1)
        has_room = self.room(lane) > 0
        self._count_in_flight(lane, 1)
        return has_room

    def lead_to(self, subscription_id: UUID, endpoint_version: int) -> list[UUID]:
        """Make the lane of a subscription one to this endpoint; return the ids that are too many for it.

        Requests to the endpoint before keep their slots, and no longer count against the bound.
        """
        lane = self.lane(subscription_id)
        if lane.endpoint_version is None:
            lane.endpoint_version = endpoint_version
        if lane.endpoint_version >= endpoint_version:
            return []
        waiting = self.empty(lane)
        self._remove(lane)
        self.lane(subscription_id).endpoint_version = endpoint_version
        return self.add(subscription_id, waiting)

    def watched(self, number: int) -> list[UUID]:
        """Return up to so many subscriptions that may have got another endpoint without a claim that says so.

        Their endpoint has as many requests as it takes, or its host has.
        """
        full = (name for name, lane in self._lanes.items() if lane.blocked or (lane.in_flight and lane.at_limit))
        return list(islice(full, number))

    def empty(self, lane: Lane) -> list[UUID]:
        """Take out all that waits in a lane."""
        self._withdraw(lane)
        return self._cut(lane, 0)

    def empty_all(self) -> list[UUID]:
        """Take out all that waits."""
        return [delivery_id for lane in self._lanes.values() for delivery_id in self.empty(lane)]

    def forget_idle(self) -> None:
        """Forget lanes that were not used for long, and tenants and hosts that have none."""
        since = time.monotonic() - FORGET_SECONDS
        for lane in tuple(self._lanes.values()):
            if lane.used_at < since and not lane.in_flight and not lane.waiting:
                self._remove(lane)
        self._flows = {key: flow for key, flow in self._flows.items() if flow.lanes or flow.in_flight}
        tenants = {tenant for tenant, _ in self._flows}
        hosts = {host for _, host in self._flows}
        self._tenants = {name: tenant for name, tenant in self._tenants.items() if tenant in tenants}
        self._hosts = {key: host for key, host in self._hosts.items() if host in hosts}

    def _take(self, tenant: Tenant, number: int, batch: list[tuple[Lane, UUID]], now: float) -> None:
        """Add ids of a tenant to a batch until there are so many in it, in turns among its lanes."""
        turns = tenant.turns
        while turns and len(batch) < number and self.free_slots > 0:
            lane, _ = turns.popitem(last=False)
            lane.in_turn = False
            if not lane.in_flight:
                lane.used_at = now  # it is given time to answer from now on
            part = max(1, (number - len(batch)) // (len(turns) + 1))
            taken = min(part, self.room(lane), len(lane.waiting))
            for _ in range(taken):
                delivery_id = next(iter(lane.waiting))
                del lane.waiting[delivery_id]
                batch.append((lane, delivery_id))
            if taken:
                if lane.flow is self._unknown:
                    lane.unplaced += taken
                self._count_in_flight(lane, taken)
                self._count_waiting(lane, -taken)
            if lane.waiting:
                self._enter_or_block(lane)

    def _left_of_bounds(self, flow: Flow, level: int) -> int:
        """How many more requests a flow may have by the bounds over all workers."""
        left = self._of_tenant.usable[level] - flow.tenant.in_flight
        if flow.host is not None:
            of_host = self._of_host.usable[level] - flow.host.in_flight
            left = min(left, share(of_host, flow.in_flight, self._weight_of(flow.tenant.tenant_id)))
        return max(0, left)

    def _has_no_room(self, lane: Lane) -> bool:
        """Whether it is its own requests, those of its tenant or its slowness that leave no room, and no others'."""
        if self.room(lane):
            return False
        if lane.in_flight > 0 or self.free_slots > 0:
            return True
        return self._slots.total >= shares.MIN_TO_SPARE and lane.level != QUICK

    def _enter_or_block(self, lane: Lane) -> None:
        if not self._has_no_room(lane):
            self._enter(lane)
            return
        self._block(lane)
        if not lane.at_bound(self.free_slots) and (too_many := self._park(lane, time.monotonic())):
            self._too_many.append((lane.subscription_id, too_many))

    def _look_at_first(self, flows: OrderedDict[Flow, None]) -> None:
        flow = next(iter(flows))
        flows.move_to_end(flow)
        if flow.blocked:
            self._look_again(next(iter(flow.blocked)))

    def _look_again(self, lane: Lane) -> None:
        """Give a turn to a blocked lane that has room now."""
        if lane.waiting and self._has_no_room(lane):
            if lane.flow.blocked:
                lane.flow.blocked.move_to_end(lane)
            return
        self._withdraw(lane)
        if lane.waiting:
            self._enter(lane)

    def _park(self, lane: Lane, now: float) -> list[UUID]:
        """Return what exceeds the bound of a lane without room; park it if it is slow or others have its share."""
        own = lane.at_bound(self.free_slots)
        if not lane.parked and (not own or lane.is_slow(now)):
            lane.parked = True
            self.ready -= len(lane.waiting)
        return self._cut(lane, lane.may_wait(now, None if own else max(1, lane.in_flight)))

    def _cut(self, lane: Lane, length: int) -> list[UUID]:
        cut = []
        while len(lane.waiting) > length:
            cut.append(lane.waiting.popitem()[0])
        self._count_waiting(lane, -len(cut))
        return cut

    def _count_waiting(self, lane: Lane, number: int) -> None:
        self.waiting += number
        if not lane.parked:
            self.ready += number

    def _count_in_flight(self, lane: Lane, number: int) -> None:
        flow = lane.flow
        lane.in_flight += number
        flow.in_flight += number
        flow.tenant.in_flight += number
        if flow.host is not None:
            flow.host.in_flight += number
        self.in_flight += number

    def _enter(self, lane: Lane) -> None:
        """Give a turn to a lane."""
        if lane.blocked:
            self._withdraw(lane)
        tenant = lane.flow.tenant
        lane.in_turn = True
        tenant.turns[lane] = None
        self._turns[tenant] = None
        if lane.parked:
            lane.parked = False
            self.ready += len(lane.waiting)

    def _block(self, lane: Lane) -> None:
        """Let a lane wait until it has room."""
        if lane.blocked:
            return
        lane.blocked = True
        flow = lane.flow
        if flow.blocked is None:
            flow.blocked = OrderedDict()
        flow.blocked[lane] = None
        flow.tenant.blocked[flow] = None
        self._blocked[flow.tenant] = None
        if flow.host is not None:
            if flow.host.blocked is None:
                flow.host.blocked = OrderedDict()
            flow.host.blocked[flow] = None

    def _withdraw(self, lane: Lane) -> None:
        """Take a lane out of the turns, or from those that wait for room."""
        flow, tenant = lane.flow, lane.flow.tenant
        if lane.in_turn:
            lane.in_turn = False
            del tenant.turns[lane]
            if not tenant.turns:
                del self._turns[tenant]
        if not lane.blocked:
            return
        lane.blocked = False
        assert flow.blocked is not None
        del flow.blocked[lane]
        if flow.blocked:
            return
        flow.blocked = None
        del tenant.blocked[flow]
        if not tenant.blocked:
            del self._blocked[tenant]
        if flow.host is not None and flow.host.blocked is not None:
            del flow.host.blocked[flow]
            if not flow.host.blocked:
                flow.host.blocked = None

    def _flow(self, tenant_id: str, target_url: str) -> Flow:
        """Return the flow of a tenant to a target's host; create it if missing."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = Tenant(tenant_id)
        try:
            target = targets.parse(target_url)
        except ValueError:  # nothing will be sent there
            host = None
        else:
            key = target.host.removesuffix("."), target.port
            host = self._hosts.get(key)
            if host is None:
                host = self._hosts[key] = Host()
        flow = self._flows.get((tenant, host))
        if flow is None:
            flow = self._flows[tenant, host] = Flow(tenant, host)
        return flow

    def _remove(self, lane: Lane) -> None:
        """Forget a lane; requests that are out go on to count."""
        if lane.flow is not self._unknown:
            lane.flow.lanes -= 1
        del self._lanes[lane.subscription_id]
