"""Fuzzing for a given time, with new seeds in each round: make fuzz ARGS="--minutes 30 --seed 1".

A run of all tests does not collect it; name it explicitly. A finding does not end the run. It is printed with the seed
of its round, which `--minutes 0 --seed SEED` repeats, and the run fails at its end.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import strategies as st

from dev.harness.stack import Stack
from tests.adversarial import calls
from tests.adversarial.calls import Method
from tests.adversarial.conftest import Tally
from tests.adversarial.messages import broken, messages
from tests.adversarial.test_grpc import attack, ids, methods
from tests.adversarial.test_rest import generated
from tests.adversarial.test_targets import judge_altered, listeners, made_privately, refuse
from tests.domain.egress.test_hostile_targets import Listeners

__all__ = ["ids", "listeners", "methods"]  # fixtures

pytestmark = [pytest.mark.usefixtures("unharmed"), pytest.mark.timeout(0)]

# Cases of a round, which takes a minute or two.
SEQUENCES, REQUESTS, MESSAGES, TARGETS = 100, 20, 60, 2_000
PAGE = 200
Part = Callable[[int], None]


@pytest.fixture
def parts(
    stack: Stack, tmp_path: Path, tally: Tally, methods: list[Method], ids: list[str], listeners: Listeners
) -> dict[str, Part]:
    """Return the tests of a round, each with the round's seed."""

    def rest(phases: str, most: int) -> Part:
        def run(seed: int) -> None:
            report = tmp_path / f"{phases}-{seed}.json"
            tally.add(f"REST, {phases}", generated(stack, report, phases, most, seed))

        return run

    def grpc(kind: str, make: Callable[[Method], st.SearchStrategy[bytes]]) -> Part:
        return lambda seed: attack(methods, tally, f"gRPC, {kind}", MESSAGES, make, seed)

    def private(seed: int) -> None:
        urls = made_privately(listeners.port, TARGETS, seed)
        tally.add("targets, private", len(urls))
        asyncio.run(refuse(listeners, urls))

    return {
        "sequences of REST": rest("stateful", SEQUENCES),
        "REST": rest("examples,coverage,fuzzing", REQUESTS),
        "random bytes over gRPC": grpc("random bytes", lambda _: st.binary(max_size=200)),
        "hostile values over gRPC": grpc("hostile values", lambda method: messages(method.request, ids)),
        "broken messages over gRPC": grpc("broken messages", lambda method: broken(method.request, ids)),
        "private targets": private,
        "altered targets": lambda seed: judge_altered(TARGETS, seed, tally),
    }


def test_fuzzing_finds_no_failure(
    stack: Stack, parts: dict[str, Part], tally: Tally, pytestconfig: pytest.Config
) -> None:
    until = time.monotonic() + 60 * pytestconfig.getoption("--minutes")
    seed, findings = pytestconfig.getoption("--seed"), []
    terminal = pytestconfig.get_terminal_writer()
    while True:
        for name, part in parts.items():
            try:
                part(seed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was found, and there is more to find
                findings.append(f"seed {seed}, {name}: {error}")
                terminal.line(findings[-1])
        _forget(stack)
        left = max(0.0, until - time.monotonic())
        terminal.line(f"seed {seed}: {tally.total:,} cases, {len(findings)} findings, {left / 60:.0f} minutes left")
        if not left:
            break
        seed += 1
    assert not findings, "\n\n".join(findings)


def _forget(stack: Stack) -> None:
    """Delete the subscriptions of a round, so that events for all subscriptions match few of them."""
    with httpx.Client(base_url=stack.base_url, headers=calls.HEADERS, timeout=30) as http:
        while found := http.get("/api/v1/subscriptions/", params={"limit": PAGE}).json()["items"]:
            for subscription in found:
                http.delete(f"/api/v1/subscriptions/{subscription['id']}")
