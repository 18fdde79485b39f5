"""The machine, the interpreter, and the stores of a run: figures of different ones cannot be compared."""

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from dev.embedded import valkey, wheel
from services.platform.process import metrics


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """The Python of the service and how it was built, which changes its speed by a fifth and more."""

    version: str
    implementation: str
    compiler: str
    # Built with profile-guided optimization, and with link-time optimization, as the image's Python is.
    pgo: bool
    lto: bool
    # Where it is installed.
    prefix: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, and its load when the run started."""

    measured_at: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    python: str
    interpreter: Interpreter
    version: str
    # Versions of the stores, as their programs give them.
    stores: dict[str, str]
    # The one-minute load average before the run: about 0 on an idle machine.
    load_average: float


def this_machine() -> Machine:
    """Describe this machine."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / (1 << 30), 1),
        python=platform.python_version(),
        interpreter=this_interpreter(),
        version=metrics.VERSION,
        stores={"postgres": _version(wheel.program("postgres")), "redis": _version(valkey.program())},
        load_average=round(os.getloadavg()[0], 2),
    )


def this_interpreter() -> Interpreter:
    """Describe the Python that runs this, which also runs the service."""
    arguments = _build_arguments()
    return Interpreter(
        version=platform.python_version(),
        implementation=platform.python_implementation(),
        compiler=platform.python_compiler(),
        pgo="--enable-optimizations" in arguments,
        lto=any(each.startswith("--with-lto") and each != "--with-lto=no" for each in arguments),
        prefix=sys.base_prefix,
    )


def in_words(machine: Machine) -> str:
    """Return one line for the screen."""
    python = machine.interpreter
    built = " and ".join(name for name, wanted in (("PGO", python.pgo), ("LTO", python.lto)) if wanted)
    return (
        f"{machine.cores} cores of {machine.processor}; {python.implementation} {python.version} "
        f"{'with ' + built if built else 'without PGO and LTO'}; {'; '.join(machine.stores.values())}"
    )


def _build_arguments() -> Sequence[str]:
    """Return the arguments of Python's configure."""
    return [each.strip("'\"") for each in (sysconfig.get_config_var("CONFIG_ARGS") or "").split()]


def _version(program: Path) -> str:
    asked = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    # Without what Valkey says of its commit and allocator.
    return " ".join(asked.stdout.split()).partition(" sha=")[0]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file of the system, read by lines
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
