"""A short run on the real stack: python -m dev.chaos."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
EVENTS = 3000


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_accepted_events_are_not_lost_under_faults_of_every_family(short_folder: Path, tmp_path: Path) -> None:
    """A failed run shows its whole output, including its seed and schedule."""
    figures = tmp_path / "chaos.json"
    options = ["--seed", "48", "--events", str(EVENTS), "--faults", "15", "--rate", "60"]
    folder = short_folder / "chaos"
    command = [sys.executable, "-m", "dev.chaos", *options, "--json", str(figures), "--keep", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(figures.read_text())
    assert found["accepted"] == EVENTS
    assert (found["lost"], found["unexplained_duplicates"], found["mismatched"]) == (0, 0, 0)
    assert min(found["conversions"], found["converted"]) > 0
    assert not processes_in(folder)


@pytest.mark.chaos
@pytest.mark.parametrize("until", ["the stores run", "the stack serves"])
def test_an_interrupted_run_leaves_nothing(short_folder: Path, until: str) -> None:
    folder = short_folder / f"chaos until {until}".replace(" ", "-")
    command = [sys.executable, "-m", "dev.chaos", "--faults", "0", "--keep", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = next((line for line in process.stdout if until in line), "")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert seen
    assert process.returncode == 130
    assert not processes_in(folder)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that still run on the data of the run."""
    return [process for process in psutil.process_iter() if _works_in(process, folder.resolve())]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):
        return False
