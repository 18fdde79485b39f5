"""Requests that schemathesis makes from the OpenAPI document of the running stack, each by itself and in sequences."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adversarial import access
from tests.adversarial.conftest import Examples
from tests.adversarial.tally import Tally
from tests.support.stack import ROOT, Stack

pytestmark = [pytest.mark.usefixtures("unharmed"), pytest.mark.timeout(1800)]

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def test_every_answer_is_as_the_document_says(stack: Stack, tmp_path: Path, tally: Tally, examples: Examples) -> None:
    report = tmp_path / "report.json"
    made = str(examples(5, 250))
    headers = [f"--header={name}: {value}" for name, value in access.HEADERS.items()]
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", f"{stack.base_url}/openapi.json", "--max-examples", made, *headers),
            *("--report", "json", "--report-json-path", str(report)),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    found = json.loads(report.read_text())
    assert found["operations"]["tested"] == found["operations"]["total"] > 20
    assert {phase["status"] for phase in found["phases"].values()} == {"success"}
    tally.add("REST, by schemathesis", found["test_cases"]["generated"])
    assert found["test_cases"]["generated"] >= examples(500, 5000)
