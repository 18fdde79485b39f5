"""A short run of the scenario recovery: python -m dev.chaos --scenario recovery."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dev.chaos.test_run import ROOT, processes_in


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_job_whose_processes_are_killed_retries_each_delivery_once(short_folder: Path) -> None:
    """A failed run shows its whole output."""
    folder = short_folder / "recovery"
    options = ["--deliveries", "1000", "--kills", "3"]
    command = [sys.executable, "-m", "dev.chaos", "--scenario", "recovery", *options, "--keep", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Each delivery came once, and every count agrees." in result.stdout
    assert not processes_in(folder)
