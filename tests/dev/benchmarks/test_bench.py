import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = {"gateway", "ingest", "delivery", "worker", "analytics", "postgres", "redis", "stack"}


@pytest.mark.timeout(480)
def test_a_short_benchmark_writes_its_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    asked = ["--scenario", "floor", "--scenario", "throughput", "--seconds", "2", "--runs", "1", "--wal-mb", "0"]

    done = subprocess.run(
        [sys.executable, "-m", "dev.benchmarks", *asked, "--json", figures, "--results", tmp_path / "plots"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": "/tmp"},
        check=False,
        capture_output=True,
        text=True,
        timeout=450,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    throughput = found["scenarios"]["throughput"]
    assert throughput["delivered_per_second"] > 0
    assert throughput["accepted_per_second"] > 0
    assert (throughput["lost"], throughput["duplicates"]) == (0, 0)
    assert throughput["cpu_ms_per_webhook"].keys() >= PROCESSES
    assert [run["case"] for run in throughput["runs"]] == ["1 KB closed", "1 KB open", "5 KB closed", "5 KB open"]
    assert found["scenarios"]["floor"]["ceiling_per_second"] > 0
    assert found["machine"]["interpreter"].keys() >= {"version", "pgo", "lto"}
