"""All scenarios by name, in the order in which they run."""

from collections.abc import Mapping

from dev.benchmarks.results import Scenario
from dev.benchmarks.scenarios import (
    backlog,
    fanout,
    floor,
    idle,
    latency,
    neighbour,
    slow,
    snapshot,
    tenants,
    throughput,
    tls,
)

ALL: Mapping[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (floor, idle, throughput, latency, fanout, slow, tls, backlog, neighbour, tenants, snapshot)
}
