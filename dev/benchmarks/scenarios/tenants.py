"""`tenants`: the effect of one tenant, or of a client without a key, on another tenant.

In every run, the quiet tenant's open loop first runs without others, and then beside one hostile load. Each kind has a
new stack, so that nothing of one kind is left for the next. Ratios compare the quiet tenant beside the load to the
quiet tenant without it on the same stack. The control replaces the hostile load with as much ordinary traffic of
another tenant. After the loop, while the load continues, lone events fail at their first attempt, and the time until
the retry arrives is measured. The quota of subscriptions is raised: 200,000 is the default.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from dev.benchmarks import rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.measuring import cpu, figures, meter
from dev.benchmarks.results import Chart, Result, Scenario
from dev.benchmarks.rig import Rig
from dev.harness.load import payloads, strangers
from dev.harness.load.messages import Load
from dev.harness.load.pipes import Helper
from dev.harness.network import nameserver

QUIET, HOSTILE = "quiet", "hostile"
SUBSCRIPTIONS = 8
# The share of the maximum for the quiet tenant, and for the control's other tenant.
SHARE = 0.25
CONTROL = "control"
# The kind in which targets are names, also the quiet tenant's; elsewhere they are addresses.
NAMES = "names that hang"
RETRIED_PER_SECOND = 5.0
FAN_OUT = 20_000
SLOW_RECEIVERS, SLOW_MILLISECONDS, SLOW_PER_SECOND = 1_200, 15_000, 100.0
RETRIES_BY_HAND, RETRIES_PER_SECOND = 100_000, 200.0
MEBIBYTE = 1 << 20
# A body of 1 MiB with its envelope is slightly longer than that.
LARGE_BYTES, LARGE_PER_SECOND = MEBIBYTE - 4_096, 4.0
LEAST_RATE, LEAST_RATE_PER_SECOND = 0.001, 100.0
# Each in a domain of its own, whose name server never answers.
HANGING_NAMES, HANGING_PER_SECOND = 64, 100.0
STRANGERS = 128
# Longer than any hostile load is needed; it ends with its process.
FOREVER_SECONDS = 3_600.0
SETTLE_SECONDS = 3.0
EVENTS = "/api/v1/events"
ENVIRONMENT: Mapping[str, str] = {
    "RETRY_BASE_SECONDS": "1",
    "QUOTA_SUBSCRIPTIONS": "1000000",
    # By name, loopback must be allowed.
    "EGRESS_ALLOW": "127.0.0.0/8",
}


class Attack:
    """What the kinds below use: the stack, and a key and a generator for the hostile tenant."""

    def __init__(self, ready: Rig, generator: Helper, api_key: str, maximum: float) -> None:
        self.ready = ready
        self.maximum = maximum
        self._generator = generator
        self._api_key = api_key

    def subscribe(self, count: int, behaviour: str = "ok", *, event_type: str = rig.WEBHOOK_TYPE) -> list[UUID]:
        """Create subscriptions of the hostile tenant to the other receiver."""
        return self.subscribe_to(self.ready.other_targets(count, behaviour), event_type=event_type)

    def subscribe_to(self, targets: Sequence[str], *, event_type: str = rig.WEBHOOK_TYPE) -> list[UUID]:
        """Create subscriptions of the hostile tenant."""
        return self.ready.stack.subscribe(targets, [event_type], api_key=self._api_key)

    def send(self, paths: Sequence[str], rate: float | None, **changes: Any) -> None:
        """Start a load of the hostile tenant, which continues to the end."""
        load = self.ready.open(paths, rate or 1.0, seconds=FOREVER_SECONDS)
        self._generator.tell(msgspec.structs.replace(load, **{"api_key": self._api_key, "rate": rate, **changes}))


Begin: TypeAlias = Callable[[Attack], "contextlib.AbstractContextManager[object] | None"]


def _control(attack: Attack) -> None:
    attack.send([meter.webhook_path(made) for made in attack.subscribe(SUBSCRIPTIONS)], SHARE * attack.maximum)


def _fan_out(attack: Attack) -> None:
    event_type = "benchmark.everybody"
    (target,) = attack.ready.other_targets()
    attack.ready.store.insert_subscribers(HOSTILE, FAN_OUT, event_type, target)
    attack.send([EVENTS], 1.0, event_type=event_type)


def _held(count: int) -> Begin:
    def begin(attack: Attack) -> None:
        attack.ready.store.insert_waiting_subscriptions(HOSTILE, count)
        attack.ready.store.settle()

    return begin


def _slow(attack: Attack) -> None:
    made = attack.subscribe(SLOW_RECEIVERS, f"after-{SLOW_MILLISECONDS}")
    attack.send([meter.webhook_path(subscription) for subscription in made], SLOW_PER_SECOND)


def _large(attack: Attack) -> None:
    paths = [meter.webhook_path(made) for made in attack.subscribe(SUBSCRIPTIONS)]
    attack.send(paths, LARGE_PER_SECOND, payload_bytes=LARGE_BYTES)


def _rates(attack: Attack) -> None:
    made = attack.subscribe(SUBSCRIPTIONS)
    attack.ready.store.limit_rates(made, LEAST_RATE)
    attack.send([meter.webhook_path(subscription) for subscription in made], LEAST_RATE_PER_SECOND)


def _retries(attack: Attack) -> None:
    (subscription,) = attack.subscribe(1)
    payload = payloads.template(meter.KILOBYTE)
    ended = attack.ready.store.insert_delivered(HOSTILE, subscription, RETRIES_BY_HAND, payload)
    attack.send([f"/api/v1/webhooks/deliveries/{delivery}/retry" for delivery in ended], RETRIES_PER_SECOND)


def _http_strangers(attack: Attack) -> None:
    path = meter.webhook_path(attack.subscribe(1)[0])
    attack.send([path], None, api_key="", connections=STRANGERS)


def _hanging_names(attack: Attack) -> None:
    targets = [f"http://receiver.hanging-{number}.example/" for number in range(HANGING_NAMES)]
    made = attack.subscribe_to(targets)
    attack.send([meter.webhook_path(subscription) for subscription in made], HANGING_PER_SECOND)


def _grpc_strangers(attack: Attack) -> contextlib.AbstractContextManager[object]:
    return strangers.open_streams(attack.ready.stack.grpc_port("ingest"))


KINDS: Mapping[str, Begin] = {
    CONTROL: _control,
    "fan-out of 20,000": _fan_out,
    "50,000 held": _held(50_000),
    "500,000 held": _held(500_000),
    "slow receivers": _slow,
    "1 MiB payloads": _large,
    "least rates": _rates,
    "retries by hand": _retries,
    NAMES: _hanging_names,
    "HTTP without a key": _http_strangers,
    "gRPC without a key": _grpc_strangers,
}


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """The quiet tenant in one run of one kind."""

    kind: str
    # The share of its events that were accepted, and the share of these that were delivered.
    accepted_share: float
    delivered_share: float
    accept_p99_ms: float
    end_to_end_p99_ms: float
    # Beside the load, compared to without it.
    accept_p99_ratio: float
    end_to_end_p99_ratio: float
    # From an event to its retry, median and maximum: beside the load, compared to without it.
    retry_p50_ratio: float
    retry_max_ratio: float
    # While only the hostile load was running.
    delivery_cpu_percent: float
    memory_mb: dict[str, float]
    lost: int


def run(bench: Bench) -> Result:
    """Run all kinds in every run."""
    found = [
        _measure(bench, f"tenants-{number}-{kind.replace(' ', '-')}", kind, begin)
        for number in range(bench.options.runs)
        for kind, begin in KINDS.items()
    ]
    return {**summary(found), "runs": figures.plain(found)}


def summary(found: Sequence[Beside]) -> Result:
    """Return medians by kind, with the ratio of p99 to the control's in the same run; the worst kind comes first."""
    kinds = {kind: figures.medians([one for one in found if one.kind == kind]) for kind in KINDS}
    controls = [one for one in found if one.kind == CONTROL]
    for kind, median in kinds.items():
        pairs = list(zip((one for one in found if one.kind == kind), controls, strict=True))
        for key in ("accept_p99", "end_to_end_p99"):
            ratios = (getattr(one, f"{key}_ms") / getattr(control, f"{key}_ms") for one, control in pairs)
            median[f"{key}_to_control"] = round(statistics.median(ratios), 3)
    hostile = [median for kind, median in kinds.items() if kind != CONTROL]
    return {
        "accepted_share": min(median["accepted_share"] for median in hostile),
        "delivered_share": min(median["delivered_share"] for median in hostile),
        **{
            key: max(median[key] for median in hostile)
            for key in ("end_to_end_p99_ratio", "end_to_end_p99_to_control", "accept_p99_to_control", "retry_p50_ratio")
        },
        "lost": sum(one.lost for one in found),
        "kinds": kinds,
    }


def _measure(bench: Bench, name: str, kind: str, begin: Begin) -> Beside:
    named = kind == NAMES
    with (
        _nameserver(named=named) as port,
        rig.running(bench, name, environment=ENVIRONMENT, nameserver_port=port) as ready,
    ):
        keys = {tenant: ready.stack.create_tenant(tenant) for tenant in (QUIET, HOSTILE)}
        quiet = _subscribe(ready, keys[QUIET], "ok", SUBSCRIPTIONS, named=named)
        retried = _subscribe(ready, keys[QUIET], "again", 1, named=named)
        maximum = rig.calibrated(ready, ready.webhook_paths())
        load = _of(keys[QUIET], ready.open(_paths(quiet), SHARE * maximum))
        lone = _of(keys[QUIET], ready.open(_paths(retried), RETRIED_PER_SECOND))
        alone, retry_alone = ready.measure(f"{kind}: alone", load), ready.measure(f"{kind}: retries alone", lone)
        with _hostile(ready, keys[HOSTILE], maximum, begin) as end:
            trees = ready.stack.trees()
            used, began = cpu.seconds(trees), time.monotonic()
            time.sleep(SETTLE_SECONDS)
            spent = cpu.difference(cpu.seconds(trees), used)["delivery"] / (time.monotonic() - began)
            one, retry = (
                ready.measure(what, each, group=meter.Group(subscriptions=made, end_others=end))
                for what, each, made in ((kind, load, quiet), (f"{kind}: retries", lone, retried))
            )
        return Beside(
            kind=kind,
            accepted_share=(one.accepted + retry.accepted) / (one.sent + retry.sent),
            delivered_share=(one.delivered + retry.delivered) / max(1, one.accepted + retry.accepted),
            accept_p99_ms=one.accept_p99_ms,
            end_to_end_p99_ms=one.end_to_end_p99_ms,
            accept_p99_ratio=one.accept_p99_ms / alone.accept_p99_ms,
            end_to_end_p99_ratio=one.end_to_end_p99_ms / alone.end_to_end_p99_ms,
            retry_p50_ratio=retry.end_to_end_p50_ms / retry_alone.end_to_end_p50_ms,
            retry_max_ratio=retry.end_to_end_max_ms / retry_alone.end_to_end_max_ms,
            delivery_cpu_percent=100 * spent,
            memory_mb={name: each.pss_mb for name, each in cpu.memory(ready.stack.trees()).items()},
            lost=one.lost + retry.lost,
        )


@contextlib.contextmanager
def _hostile(ready: Rig, api_key: str, maximum: float, begin: Begin) -> Iterator[Callable[[], None]]:
    """Keep a hostile load running; yield a callback that ends it early."""
    with contextlib.ExitStack() as load:
        generator = load.enter_context(Helper("hostile generator", "dev.harness.load.generator"))
        if more := begin(Attack(ready, generator, api_key, maximum)):
            load.enter_context(more)
        time.sleep(SETTLE_SECONDS)
        # What waits in the service keeps waiting; only nothing new follows.
        yield load.close


@contextlib.contextmanager
def _nameserver(*, named: bool) -> Iterator[int | None]:
    """Yield the port of a name server that knows the quiet tenant's names and never answers for others."""
    if not named:
        yield None
        return
    with nameserver.beside() as server:
        server.hang("*")
        server.say("*.quiet.example", "127.0.0.1")
        yield server.port


def _subscribe(ready: Rig, api_key: str, behaviour: str, count: int, *, named: bool) -> list[UUID]:
    targets = ready.targets(count, behaviour)
    if named:
        names = (f"receiver-{number}.quiet.example" for number in range(count))
        targets = [target.replace("127.0.0.1", host) for target, host in zip(targets, names, strict=True)]
    return ready.stack.subscribe(targets, [rig.WEBHOOK_TYPE], api_key=api_key)


def _paths(subscriptions: Sequence[UUID]) -> list[str]:
    return [meter.webhook_path(subscription) for subscription in subscriptions]


def _of(api_key: str, load: Load) -> Load:
    return msgspec.structs.replace(load, api_key=api_key)


def _tables(result: Result) -> Sequence[Table]:
    columns = (
        *("kind", "accepted", "delivered", "p99 ms", "to alone", "to control", "accept p99 ms", "to control"),
        *("retry p50 to alone", "retry max to alone", "delivery % of a core", "memory MiB", "lost"),
    )
    rows = [_row(kind, found) for kind, found in result["kinds"].items()]
    return [Table(title="a quiet tenant beside another one", columns=columns, rows=rows)]


def _row(kind: str, found: dict[str, Any]) -> list[str]:
    return [
        kind,
        *(f"{found[f'{key}_share']:.2%}" for key in ("accepted", "delivered")),
        f"{found['end_to_end_p99_ms']:,.1f}",
        *(f"{found[f'end_to_end_p99_{key}']:.2f}" for key in ("ratio", "to_control")),
        f"{found['accept_p99_ms']:,.1f}",
        f"{found['accept_p99_to_control']:.2f}",
        *(f"{found[f'retry_{key}_ratio']:.2f}" for key in ("p50", "max")),
        f"{found['delivery_cpu_percent']:.1f}",
        f"{sum(found['memory_mb'].values()):,.0f}",
        str(found["lost"]),
    ]


def _charts(result: Result) -> Sequence[Chart]:
    kinds = result["kinds"]
    series = {
        label: [found[key] for found in kinds.values()]
        for label, key in (("end to end", "end_to_end_p99_ratio"), ("accepting", "accept_p99_ratio"))
    }
    title = "p99 of a quiet tenant beside another one, to alone"
    return [Chart(name="tenants-ratios", title=title, unit="times", categories=list(kinds), series=series)]


SCENARIO = Scenario(name="tenants", what="a quiet tenant beside hostile ones", run=run, tables=_tables, charts=_charts)
