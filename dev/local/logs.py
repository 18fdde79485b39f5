"""Bounds the log files: a stack may run for weeks on somebody's laptop."""

import contextlib
import os
import shutil
from pathlib import Path

LIMIT_BYTES = 20_000_000


def trim(folder: Path) -> None:
    """Moves the content of each log over 20 MB to NAME.log.1, in place of what was there.

    The file itself stays: a process that writes to it goes on at its new end. Lines of that moment may be lost.
    """
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_size > LIMIT_BYTES:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)
