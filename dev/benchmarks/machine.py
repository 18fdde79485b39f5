"""What the figures were measured on."""

import os
import platform
from datetime import UTC, datetime

import msgspec
import psutil

from services.platform.process import metrics


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, and what else it did when the run began."""

    measured_at: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    python: str
    version: str
    # Processes that ran or waited to, over a minute, before the run: an idle machine has about 0.
    load_average: float


def here() -> Machine:
    """The machine at hand, now."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / (1 << 30), 1),
        python=platform.python_version(),
        version=metrics.version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file of the system, read by lines
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
