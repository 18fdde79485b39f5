"""All scenarios by name, in the order in which they run."""

from collections.abc import Mapping

from dev.benchmarks.results import Scenario
from dev.benchmarks.scenarios import (
    backlog,
    fanout,
    floor,
    growth,
    idle,
    latency,
    neighbour,
    peers,
    rates,
    scheduled,
    slow,
    snapshot,
    tenants,
    throughput,
    tls,
    watching,
)

_MODULES = (
    *(floor, idle),
    *(rates, peers, throughput, latency, fanout, slow, tls, watching),
    *(backlog, snapshot, growth, scheduled),
    *(neighbour, tenants),
)

ALL: Mapping[str, Scenario] = {module.SCENARIO.name: module.SCENARIO for module in _MODULES}
