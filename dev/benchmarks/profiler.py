"""Flame graphs of processes under load, by py-spy beside them, whose CPU time spoils the figures of such a run."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dev.benchmarks.bench import Bench
from dev.benchmarks.errors import BenchmarkError

SAMPLES_PER_SECOND = 100
STOP_SECONDS = 20.0


@contextlib.contextmanager
def profiling(bench: Bench, trees: Mapping[str, Sequence[int]], seconds: float) -> Iterator[None]:
    """Draws results/flame-ROLE.svg of every role that was asked for; a later load overwrites an earlier one's."""
    recorders = [
        _record(bench.options.results / f"flame-{role}.svg", trees[role][0], seconds) for role in bench.options.profiled
    ]
    try:
        yield
    finally:
        for recorder in recorders:
            try:
                recorder.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                recorder.kill()
                recorder.wait()


def _record(path: Path, pid: int, seconds: float) -> "subprocess.Popen[bytes]":
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        raise BenchmarkError("--profile needs py-spy on the PATH: pip install py-spy")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [program, "record", "--pid", str(pid), "--output", str(path), "--duration", str(max(1, int(seconds)))]
    return subprocess.Popen(  # noqa: S603 - our own command line
        [*command, "--rate", str(SAMPLES_PER_SECOND)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
