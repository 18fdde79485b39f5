"""One stack per DATA_DIR."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dev.harness.supervisor import StackError

REMAINS_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.1


class InUse(StackError):
    """Another stack uses this DATA_DIR."""


@contextlib.contextmanager
def held(data_dir: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Lock the folder for this stack, and yield a descriptor that the guard keeps open.

    There are two locks. Only the supervisor takes `supervisor.lock`: if it is taken, a stack lives here. `stack.lock`
    is shared with the guard of a killed supervisor until it has ended everything, which is waited for. The system
    frees both with the processes, so neither can be left over. Raise InUse, or StackError if the folder is unusable.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        supervisor = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StackError(f"DATA_DIR {data_dir} cannot be used: {error.strerror}") from error
    stack = os.open(data_dir / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(supervisor):
            pid = os.read(supervisor, 20).decode() or "unknown"
            raise InUse(f"DATA_DIR {data_dir} is in use by another running stack (pid {pid.strip()})")
        os.ftruncate(supervisor, 0)
        os.write(supervisor, f"{os.getpid()}\n".encode())
        deadline = time.monotonic() + REMAINS_TIMEOUT_SECONDS
        if not _try_lock(stack):
            say("waiting until all processes of a killed stack have ended")
            while not _try_lock(stack):
                if time.monotonic() > deadline:
                    raise StackError(f"DATA_DIR {data_dir}: processes of a killed stack do not end")
                time.sleep(POLL_SECONDS)
        yield stack
    finally:
        os.close(supervisor)
        os.close(stack)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
