"""CPU time, memory and flame graphs of processes and everything they started."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from dev.benchmarks.bench import Bench, BenchmarkError

# The time of a process tree includes processes that ended and were waited for. For Postgres, these are all backends
# that ever ran, including short-lived ones. Resolution: 10 ms on Linux.


MEBIBYTE = 1 << 20
# A process that ends between two samples would be counted twice or not at all, so sample again.
_LOOKS = 10
Trees = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a process tree, in MiB."""

    # Shared pages (the buffers of Postgres, code) are counted in each process.
    rss_mb: float
    # Shared pages are counted once: proportional set size. The same as rss_mb if the system does not report it.
    pss_mb: float


def seconds(trees: Trees) -> dict[str, float]:
    """Return the CPU seconds, user and system, of the process trees under the given roots, by name."""
    return {name: sum(_tree_seconds(pid) for pid in pids) for name, pids in trees.items()}


def memory(trees: Trees) -> dict[str, Memory]:
    """Return the memory of the process trees by name."""
    found = {}
    for name, pids in trees.items():
        processes = [process for pid in pids for process in _tree(psutil.Process(pid))]
        found[name] = Memory(
            rss_mb=sum(process.memory_info().rss for process in processes) / MEBIBYTE,
            pss_mb=sum(_pss(process) for process in processes) / MEBIBYTE,
        )
    return found


def machine_seconds() -> float:
    """Return the CPU seconds of all processes of this machine since it started; other guests' time is not included."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))


def difference(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    """Return the usage between two samples, by name."""
    return {name: later[name] - earlier[name] for name in earlier}


def _tree_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    waited = _waited(root)
    for _ in range(_LOOKS):
        total = sum(_own_seconds(process) for process in _tree(root))
        if _waited(root) == waited:
            break
        waited = _waited(root)
    return total


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _waited(process: psutil.Process) -> tuple[float, float]:
    times = process.cpu_times()
    return times.children_user, times.children_system


def _own_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its ended children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return sum(_first_four(process.cpu_times()))
    return 0.0


def _first_four(times: Any) -> Iterable[float]:
    return (times.user, times.system, times.children_user, times.children_system)


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    return 0


# Draw flame graphs of processes under load with py-spy, whose own CPU time distorts the figures of the run.


SAMPLES_PER_SECOND = 100
PROFILER_STOP_SECONDS = 20.0


@contextlib.contextmanager
def profiling(bench: Bench, trees: Mapping[str, Sequence[int]], seconds: float) -> Iterator[None]:
    """Draw results/flame-ROLE.svg of every requested role; a later load overwrites an earlier one's."""
    recorders = [
        _record(bench.options.results / f"flame-{role}.svg", trees[role][0], seconds) for role in bench.options.profiled
    ]
    try:
        yield
    finally:
        for recorder in recorders:
            try:
                recorder.wait(PROFILER_STOP_SECONDS)
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
