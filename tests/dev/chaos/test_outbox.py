"""A short run of the scenario outbox: python -m dev.chaos --scenario outbox."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dev.chaos.test_run import ROOT, processes_in


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_each_committed_row_of_an_outbox_is_one_event_though_relays_are_killed(short_folder: Path) -> None:
    """A failed run shows its whole output."""
    folder = short_folder / "outbox"
    options = ["--rows", "500", "--kills", "3"]
    command = [sys.executable, "-m", "dev.chaos", "--scenario", "outbox", *options, "--keep", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Every committed row is one event." in result.stdout
    assert not processes_in(folder)
