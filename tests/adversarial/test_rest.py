"""Requests that schemathesis generates from the OpenAPI document of the running stack, single ones and sequences."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.harness.stack import ROOT, Stack
from tests.adversarial import calls
from tests.adversarial.conftest import Examples, Tally

pytestmark = [pytest.mark.usefixtures("unharmed"), pytest.mark.timeout(1800)]

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Cases of each operation, and of sequences; in the short mode and in the long one.
PHASES = {"examples,coverage,fuzzing": (3, 300), "stateful": (30, 500)}
SEED, MAX_SEEDS = 6, 30
LEAST_CASES = {"examples,coverage,fuzzing": (800, 5000), "stateful": (100, 1000)}


@pytest.mark.parametrize("phases", PHASES)
def test_responses_match_the_openapi_document(
    stack: Stack, tmp_path: Path, tally: Tally, examples: Examples, phases: str
) -> None:
    least, made = examples(*LEAST_CASES[phases]), 0
    # A run of sequences ends when it finds nothing new; then another seed looks for others.
    for seed in range(SEED, SEED + MAX_SEEDS):
        made += generated(stack, tmp_path / f"{seed}.json", phases, examples(*PHASES[phases]), seed)
        if made >= least:
            break
    tally.add(f"REST, {phases}", made)
    assert made >= least


def generated(stack: Stack, report: Path, phases: str, most: int, seed: int) -> int:
    """Run schemathesis, which must find nothing; return the number of its cases."""
    headers = [f"--header={name}: {value}" for name, value in calls.HEADERS.items()]
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", f"{stack.base_url}/openapi.json", "--phases", phases, *headers),
            *("--max-examples", str(most), "--seed", str(seed)),
            *("--report", "json", "--report-json-path", str(report)),
        ],
        cwd=report.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    made: int = json.loads(report.read_text())["test_cases"]["generated"]
    return made
