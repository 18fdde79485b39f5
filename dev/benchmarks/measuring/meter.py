"""One way to measure a load on any system: ours in each of its shapes, and other stacks."""

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from dev.benchmarks.bench import Bench
from dev.benchmarks.measuring import cpu, figures
from dev.benchmarks.measuring.cpu import profiling
from dev.benchmarks.measuring.figures import Figures
from dev.harness.load.messages import Ask, Count, Forget, Load, Received, Report, Sent
from dev.harness.load.pipes import Helper

# Connections of a closed loop: enough that batches form at every hop.
CONNECTIONS = 128
KILOBYTE = 1024
WARM_UP_SECONDS = 3.0
# Deliveries are lost if none arrived for this long. Longer than the 10 s for which a rung row is skipped.
SILENCE_SECONDS = 20.0
# After a load, before the other subscriptions end: a hanging request then reached the worker's deadline (15 s) once.
PATIENCE_SECONDS = 16.0
POLL_SECONDS = 0.05
ANSWER_SECONDS = 30.0


class System(Protocol):
    """What is measured."""

    # The key of its requests; none if empty.
    api_key: str

    @property
    def port(self) -> int:
        """Where it accepts webhooks."""

    def trees(self) -> dict[str, list[int]]:
        """Return the roots of the process trees by name, with `postgres` and `redis`."""

    def check(self) -> None:
        """Raise StackError when a process has died."""

    def start(self) -> None:
        """Start its processes, and wait until they are ready."""

    def stop(self) -> None:
        """Stop its processes; the stores stay."""

    def redis_commands(self) -> int:
        """Return how many commands its Redis has processed; this question is one."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Successful attempts."""

    total: int
    in_window: int


class Ledger(Protocol):
    """What its database says."""

    def unfinished(self, subscriptions: Sequence[UUID] | None = None) -> bool:
        """Return whether any delivery, or any to these subscriptions, is unfinished."""

    def recorded(self, since: float, until: float, subscriptions: Sequence[UUID] | None = None) -> Recorded:
        """Return the successful attempts since a time, and those between two times, in Unix seconds."""

    def settle(self) -> None:
        """Let Postgres do now what it would otherwise do during the next measurement."""

    def transactions(self) -> int:
        """Return how many transactions ended in its database so far."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The subscriptions that a run measures, if the load also goes to others, which may never finish."""

    subscriptions: Sequence[UUID]
    # End the others, if the group has waited this long behind them; it might otherwise wait for an hour.
    end_others: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Meter:
    """A system between a generator and a receiver."""

    bench: Bench
    system: System
    ledger: Ledger
    generator: Helper
    receiver: Helper
    receiver_url: str

    def targets(self, count: int = 1, behaviour: str = "ok") -> list[str]:
        """Return URLs of streams of the receiver."""
        return streams(self.receiver_url, behaviour, count)

    def closed(self, paths: Sequence[str], payload_bytes: int = KILOBYTE, seconds: float | None = None) -> Load:
        """Return a closed loop."""
        return self._load(paths, payload_bytes, seconds)

    def open(
        self, paths: Sequence[str], rate: float, payload_bytes: int = KILOBYTE, seconds: float | None = None
    ) -> Load:
        """Return an open loop."""
        return self._load(paths, payload_bytes, seconds, rate=rate)

    def warm_up(self, paths: Sequence[str]) -> Figures:
        """Run a short closed loop of 1 KB that is not counted, to fill pools and prepare plans.

        Then analyze the tables. Autovacuum would do this within seconds, but at a different moment each time.
        """
        seconds = min(WARM_UP_SECONDS, self.bench.options.seconds)
        warm = self.measure("warm-up", self.closed(paths, seconds=seconds))
        self.ledger.settle()
        return warm

    def measure(self, case: str, load: Load, *, fan_out: int = 1, group: Group | None = None) -> Figures:
        """Run a load, and wait until all of it, or its part for a group, is delivered and recorded.

        With a group, the figures are those of the group, except the refused and failed requests, the accept latency,
        and the CPU time.
        """
        subscriptions = None if group is None else group.subscriptions
        self.receiver.ask(Forget(), Count)
        trees = self.trees()
        began, used, machine = time.time(), cpu.seconds(trees), cpu.machine_seconds()
        with profiling(self.bench, self.system.trees(), load.seconds):
            sent = self._send(case, load)
        accepted = sent.accepted if group is None else accepted_of(group, load.paths, sent.accepted)
        self._drain(accepted.count(1) * fan_out, group)
        drained = time.time()
        spent = cpu.difference(cpu.seconds(trees), used)
        others = cpu.machine_seconds() - machine - sum(spent.values())
        self.system.check()
        received = self.receiver.ask(Report(began_ns=sent.began_ns, ended_ns=sent.ended_ns), Received)
        ended = began + (sent.ended_ns - sent.began_ns) / 1e9
        recorded = self.ledger.recorded(began, ended, subscriptions)
        seconds = (sent.ended_ns - sent.began_ns) / 1e9
        return self._done(
            Figures(
                case=case,
                seconds=seconds,
                sent=sent.sent,
                accepted=accepted.count(1),
                refused=sum(sent.statuses.values()) - sent.accepted.count(1),
                failed=sent.failed,
                delivered=received.deliveries,
                recorded=recorded.total,
                lost=lost(accepted, received.streams_by_sequence, fan_out),
                duplicates=received.duplicates,
                unrecorded=max(0, received.deliveries - recorded.total),
                accepted_per_second=accepted.count(1) / seconds,
                delivered_per_second=received.in_window / seconds,
                recorded_per_second=recorded.in_window / seconds,
                drain_seconds=max(0.0, drained - ended),
                burst_per_second=received.deliveries / max(1e-9, (received.last_ns - sent.began_ns) / 1e9),
                **figures.latencies(sent.accept_times, received.end_to_end_times),
                late_p99_ms=sent.late_p99_ms,
                cpu_ms_per_webhook=figures.cpu_ms(spent, self.ledger.recorded(began, ended).total),
                others_cpu_percent=self.bench.percent_of_machine(others, drained - began),
                accept_times=sent.accept_times,
                end_to_end_times=received.end_to_end_times,
            )
        )

    def trees(self) -> dict[str, list[int]]:
        """Return the roots of all process trees, including both ends of the load."""
        return {**self.system.trees(), "generator": [self.generator.pid], "receiver": self._receivers()}

    def deliveries(self) -> int:
        """Return how many deliveries reached the receiver."""
        return self.receiver.ask(Ask(), Count).deliveries

    def _receivers(self) -> list[int]:
        return [self.receiver.pid]

    def _load(
        self, paths: Sequence[str], payload_bytes: int, seconds: float | None, *, rate: float | None = None
    ) -> Load:
        return Load(
            port=self.system.port,
            api_key=self.system.api_key,
            paths=tuple(paths),
            payload_bytes=payload_bytes,
            seconds=seconds or self.bench.options.seconds,
            connections=CONNECTIONS,
            rate=rate,
        )

    def _send(self, case: str, load: Load) -> Sent:
        self.generator.tell(load)
        with self.bench.screen.step(case, load.seconds) as tick:
            return self.generator.hear(Sent, load.seconds + ANSWER_SECONDS, on_tick=tick)

    def _drain(self, expected: int, group: Group | None) -> None:
        """Wait until every delivery has arrived and is recorded, or until no more arrive."""
        subscriptions = None if group is None else group.subscriptions
        came, began = -1, time.monotonic()
        moment, patient = began, group is not None
        while (now := self.deliveries()) < expected or self.ledger.unfinished(subscriptions):
            if group and patient and time.monotonic() - began > PATIENCE_SECONDS:
                group.end_others()
                patient = False
            if now != came:
                came, moment = now, time.monotonic()
            elif time.monotonic() - moment > SILENCE_SECONDS:
                self.bench.screen.say(f"{now} of {expected} deliveries came, and no more for {SILENCE_SECONDS:g} s")
                return
            self.system.check()
            time.sleep(POLL_SECONDS)

    def _done(self, one: Figures) -> Figures:
        """Print what a run showed."""
        self.bench.screen.say(
            f"  {one.case}: accepted {one.accepted_per_second:,.0f}/s, delivered {one.delivered_per_second:,.0f}/s, "
            f"{one.cpu_ms_per_webhook['stack']:.3f} CPU ms each, end to end p50 {one.end_to_end_p50_ms:.1f} ms "
            f"p99 {one.end_to_end_p99_ms:.1f} ms, late p99 {one.late_p99_ms:.1f} ms, lost {one.lost}, "
            f"duplicates {one.duplicates}, others took {one.others_cpu_percent:.0f} % of the machine"
        )
        return one


def webhook_path(subscription: UUID) -> str:
    """Return the path that webhooks of a subscription are sent to."""
    return f"/api/v1/webhooks/ingest/{subscription}"


def streams(url: str, behaviour: str, count: int) -> list[str]:
    """Return URLs of streams of a receiver."""
    return [f"{url}/{behaviour}/{number}" for number in range(count)]


def sustained(one: Figures) -> float:
    """Webhooks a second that were accepted and delivered."""
    return min(one.accepted_per_second, one.delivered_per_second, one.recorded_per_second)


def accepted_of(group: Group, paths: Sequence[str], accepted: bytes) -> bytes:
    """Return `accepted` with zeros for requests outside of the group: requests use the paths in turn."""
    wanted = {webhook_path(subscription) for subscription in group.subscriptions}
    mine = bytes(path in wanted for path in paths)
    return bytes(was & mine[sequence % len(mine)] for sequence, was in enumerate(accepted))


def lost(accepted: bytes, streams_by_sequence: bytes, fan_out: int) -> int:
    """Return the deliveries of accepted requests that never arrived."""
    arrived = array("H", streams_by_sequence)
    missing = len(accepted) - len(arrived)
    if missing > 0:
        arrived.extend([0] * missing)
    return sum(fan_out - came for was, came in zip(accepted, arrived, strict=False) if was and came < fan_out)
