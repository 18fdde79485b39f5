"""What a scenario works with: our stack in one of its shapes between a generator and receivers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dev.benchmarks import stack
from dev.benchmarks.bench import Bench, BenchmarkError
from dev.benchmarks.measuring import meter
from dev.benchmarks.measuring.meter import Meter
from dev.benchmarks.stack import BenchmarkStore
from dev.harness.load.messages import Listening
from dev.harness.load.pipes import Helper

WEBHOOK_TYPE = "benchmark.webhook"


@dataclass(frozen=True, kw_only=True)
class Rig(Meter):
    """Created by `running`."""

    stack: stack.Stack
    store: BenchmarkStore
    # A second receiver for the subscriptions that are not measured, so that the first one does not wait for them.
    other: Helper
    other_url: str

    def other_targets(self, count: int = 1, behaviour: str = "ok") -> list[str]:
        """Return URLs of streams of the other receiver."""
        return meter.streams(self.other_url, behaviour, count)

    def subscribe(self, targets: Sequence[str]) -> list[UUID]:
        """Create subscriptions that webhooks are sent to."""
        # Events have types and webhooks have none, so these subscriptions get webhooks but no fan-out.
        return self.stack.subscribe(targets, [WEBHOOK_TYPE])

    def webhook_paths(self, *, count: int = 1, behaviour: str = "ok") -> tuple[str, ...]:
        """Create subscriptions to streams of the receiver, and return the paths of their webhooks."""
        return tuple(meter.webhook_path(made) for made in self.subscribe(self.targets(count, behaviour)))

    def _receivers(self) -> list[int]:
        return [self.receiver.pid, self.other.pid]


@contextlib.contextmanager
def running(
    bench: Bench,
    name: str,
    *,
    shape: str = stack.FIVE,
    checkout: Path | None = None,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
    nameserver_port: int | None = None,
) -> Iterator[Rig]:
    """Yield a running stack with both ends of a load.

    `tls` is the receiver's certificate and key; `checkout` is another copy of the project whose code runs, `shape` says
    which roles share a process, and the workers ask the name server at `nameserver_port` in place of the machine's.
    """
    arguments = ["--tls", *map(str, tls)] if tls else []
    bench.screen.say(f"{name}: starting the stack")
    with contextlib.ExitStack() as cleanup:
        generator = cleanup.enter_context(Helper("generator", "dev.harness.load.generator"))
        receiver = cleanup.enter_context(Helper("receiver", "dev.harness.load.receiver", arguments))
        other = cleanup.enter_context(Helper("other receiver", "dev.harness.load.receiver"))
        port, other_port = (each.hear(Listening, meter.ANSWER_SECONDS).port for each in (receiver, other))
        running_stack = cleanup.enter_context(
            stack.running(
                bench.folder / name,
                shape=shape,
                checkout=checkout,
                environment=environment,
                nameserver_port=nameserver_port,
                wal_mb=bench.options.wal_mb,
            )
        )
        running_stack.start(workers=workers)
        store = cleanup.enter_context(running_stack.store())
        yield Rig(
            bench=bench,
            system=running_stack,
            ledger=store,
            stack=running_stack,
            store=store,
            generator=generator,
            receiver=receiver,
            receiver_url=f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}",
            other=other,
            other_url=f"http://127.0.0.1:{other_port}",
        )


def calibrated(rig: Rig, paths: Sequence[str]) -> float:
    """Return the highest sustained rate of 1 KB webhooks, measured once, after a warm-up."""
    rig.warm_up(paths)
    rate = meter.sustained(rig.measure("the maximum", rig.closed(paths)))
    if not rate:
        raise BenchmarkError("no webhook was delivered")
    return rate
