"""What a scenario works with: a stack, a generator, a receiver, and one way to measure a load on them."""

import contextlib
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dev.benchmarks import cpu, figures, stack
from dev.benchmarks.bench import Bench, BenchmarkError
from dev.benchmarks.cpu import profiling
from dev.benchmarks.figures import Figures
from dev.benchmarks.stack import BenchmarkStore
from dev.harness.load.messages import Ask, Count, Forget, Listening, Load, Received, Report, Sent
from dev.harness.load.pipes import Helper

# Connections of a closed loop: enough that batches form at every hop.
CONNECTIONS = 128
KILOBYTE = 1024
WEBHOOK_TYPE = "benchmark.webhook"
WARM_UP_SECONDS = 3.0
# Deliveries are lost if none arrived for this long. Longer than the 10 s for which a rung row is skipped.
SILENCE_SECONDS = 20.0
# After a load, before the other subscriptions end: a hanging request then reached the worker's deadline (15 s) once.
PATIENCE_SECONDS = 16.0
POLL_SECONDS = 0.05
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Group:
    """The subscriptions that a run measures, if the load also goes to others, which may never finish."""

    subscriptions: Sequence[UUID]
    # End the others, if the group has waited this long behind them; it might otherwise wait for an hour.
    end_others: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Created by `running`."""

    bench: Bench
    stack: stack.Stack
    store: BenchmarkStore
    generator: Helper
    receiver: Helper
    receiver_url: str
    # A second receiver for the subscriptions that are not measured, so that the first one does not wait for them.
    other: Helper
    other_url: str

    def targets(self, count: int = 1, behaviour: str = "ok") -> list[str]:
        """Return URLs of streams of the receiver."""
        return _streams(self.receiver_url, behaviour, count)

    def other_targets(self, count: int = 1, behaviour: str = "ok") -> list[str]:
        """Return URLs of streams of the other receiver."""
        return _streams(self.other_url, behaviour, count)

    def subscribe(self, targets: Sequence[str]) -> list[UUID]:
        """Create subscriptions that webhooks are sent to."""
        # Events have types and webhooks have none, so these subscriptions get webhooks but no fan-out.
        return self.stack.subscribe(targets, [WEBHOOK_TYPE])

    def webhook_paths(self, *, count: int = 1, behaviour: str = "ok") -> tuple[str, ...]:
        """Create subscriptions to streams of the receiver, and return the paths of their webhooks."""
        return tuple(webhook_path(made) for made in self.subscribe(self.targets(count, behaviour)))

    def closed(self, paths: Sequence[str], payload_bytes: int = KILOBYTE, seconds: float | None = None) -> Load:
        """Run a closed loop."""
        return self._load(paths, payload_bytes, seconds)

    def open(
        self, paths: Sequence[str], rate: float, payload_bytes: int = KILOBYTE, seconds: float | None = None
    ) -> Load:
        """Run an open loop."""
        return self._load(paths, payload_bytes, seconds, rate=rate)

    def warm_up(self, paths: Sequence[str]) -> Figures:
        """Run a short closed loop of 1 KB that is not counted, to fill pools and prepare plans.

        Then analyze the tables. Autovacuum would do this within seconds, but at a different moment each time.
        """
        seconds = min(WARM_UP_SECONDS, self.bench.options.seconds)
        warm = self.measure("warm-up", self.closed(paths, seconds=seconds))
        self.store.settle()
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
        with profiling(self.bench, self.stack.trees(), load.seconds):
            sent = self._send(case, load)
        accepted = sent.accepted if group is None else _accepted_of(group, load.paths, sent.accepted)
        self._drain(accepted.count(1) * fan_out, group)
        drained = time.time()
        spent = cpu.difference(cpu.seconds(trees), used)
        others = cpu.machine_seconds() - machine - sum(spent.values())
        self.stack.check()
        received = self.receiver.ask(Report(began_ns=sent.began_ns, ended_ns=sent.ended_ns), Received)
        ended = began + (sent.ended_ns - sent.began_ns) / 1e9
        recorded = self.store.recorded(began, ended, subscriptions)
        seconds = (sent.ended_ns - sent.began_ns) / 1e9
        cpu_ms = figures.cpu_ms(spent, self.store.recorded(began, ended).total)
        return self.bench.done(
            Figures(
                case=case,
                seconds=seconds,
                sent=sent.sent,
                accepted=accepted.count(1),
                refused=sum(sent.statuses.values()) - sent.accepted.count(1),
                failed=sent.failed,
                delivered=received.deliveries,
                recorded=recorded.total,
                lost=_lost(accepted, received.streams_by_sequence, fan_out),
                duplicates=received.duplicates,
                unrecorded=max(0, received.deliveries - recorded.total),
                accepted_per_second=accepted.count(1) / seconds,
                delivered_per_second=received.in_window / seconds,
                recorded_per_second=recorded.in_window / seconds,
                drain_seconds=max(0.0, drained - ended),
                burst_per_second=received.deliveries / max(1e-9, (received.last_ns - sent.began_ns) / 1e9),
                accept_p50_ms=sent.accept_p50_ms,
                accept_p95_ms=sent.accept_p95_ms,
                accept_p99_ms=sent.accept_p99_ms,
                end_to_end_p50_ms=received.end_to_end_p50_ms,
                end_to_end_p95_ms=received.end_to_end_p95_ms,
                end_to_end_p99_ms=received.end_to_end_p99_ms,
                end_to_end_max_ms=received.end_to_end_max_ms,
                late_p99_ms=sent.late_p99_ms,
                cpu_ms_per_webhook=cpu_ms,
                ratio_to_floor=self.bench.ratio_to_floor(cpu_ms["stack"]),
                others_cpu_percent=self.bench.percent_of_machine(others, drained - began),
            )
        )

    def trees(self) -> dict[str, list[int]]:
        """Return the roots of all process trees, including the generator and both receivers."""
        receivers = [self.receiver.pid, self.other.pid]
        return {**self.stack.trees(), "generator": [self.generator.pid], "receiver": receivers}

    def deliveries(self) -> int:
        """Return how many deliveries reached the receiver."""
        return self.receiver.ask(Ask(), Count).deliveries

    def _load(
        self, paths: Sequence[str], payload_bytes: int, seconds: float | None, *, rate: float | None = None
    ) -> Load:
        return Load(
            port=self.stack.port,
            api_key=self.stack.api_key,
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
        while (now := self.deliveries()) < expected or self.store.unfinished(subscriptions):
            if group and patient and time.monotonic() - began > PATIENCE_SECONDS:
                group.end_others()
                patient = False
            if now != came:
                came, moment = now, time.monotonic()
            elif time.monotonic() - moment > SILENCE_SECONDS:
                self.bench.screen.say(f"{now} of {expected} deliveries came, and no more for {SILENCE_SECONDS:g} s")
                return
            self.stack.check()
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def running(
    bench: Bench,
    name: str,
    *,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Rig]:
    """Yield a running stack with both ends of a load; `tls` is the receiver's certificate and key."""
    arguments = ["--tls", *map(str, tls)] if tls else []
    bench.screen.say(f"{name}: starting the stack")
    with contextlib.ExitStack() as cleanup:
        generator = cleanup.enter_context(Helper("generator", "dev.harness.load.generator"))
        receiver = cleanup.enter_context(Helper("receiver", "dev.harness.load.receiver", arguments))
        other = cleanup.enter_context(Helper("other receiver", "dev.harness.load.receiver"))
        port, other_port = (each.hear(Listening, ANSWER_SECONDS).port for each in (receiver, other))
        running_stack = cleanup.enter_context(stack.running(bench.folder / name, environment=environment))
        running_stack.start(workers=workers)
        yield Rig(
            bench=bench,
            stack=running_stack,
            store=cleanup.enter_context(running_stack.store()),
            generator=generator,
            receiver=receiver,
            receiver_url=f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}",
            other=other,
            other_url=f"http://127.0.0.1:{other_port}",
        )


def webhook_path(subscription: UUID) -> str:
    """Return the path that webhooks of a subscription are sent to."""
    return f"/api/v1/webhooks/ingest/{subscription}"


def sustained(one: Figures) -> float:
    """Webhooks a second that were accepted and delivered."""
    return min(one.accepted_per_second, one.delivered_per_second, one.recorded_per_second)


def calibrated(rig: Rig, paths: Sequence[str]) -> float:
    """Return the highest sustained rate of 1 KB webhooks, measured once, after a warm-up."""
    rig.warm_up(paths)
    rate = sustained(rig.measure("the maximum", rig.closed(paths)))
    if not rate:
        raise BenchmarkError("no webhook was delivered")
    return rate


def _streams(url: str, behaviour: str, count: int) -> list[str]:
    return [f"{url}/{behaviour}/{number}" for number in range(count)]


def _accepted_of(group: Group, paths: Sequence[str], accepted: bytes) -> bytes:
    """Return `accepted` with zeros for requests outside of the group: requests use the paths in turn."""
    wanted = {webhook_path(subscription) for subscription in group.subscriptions}
    mine = bytes(path in wanted for path in paths)
    return bytes(was & mine[sequence % len(mine)] for sequence, was in enumerate(accepted))


def _lost(accepted: bytes, streams_by_sequence: bytes, fan_out: int) -> int:
    streams = array("H", streams_by_sequence)
    missing = len(accepted) - len(streams)
    if missing > 0:
        streams.extend([0] * missing)
    return sum(fan_out - came for was, came in zip(accepted, streams, strict=False) if was and came < fan_out)
