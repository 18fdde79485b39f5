"""The benchmark: python -m dev.benchmarks [--scenario NAME …] [--runs N] [--seconds S] [--json FILE] [--keep]."""

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dev.benchmarks import bench, run, scenarios
from dev.benchmarks.bench import Bench, BenchmarkError, Screen
from dev.embedded import EmbeddedError
from dev.harness.supervisor import MigrationError, StackError
from services.platform.process import lifecycle

INTERRUPTED = 130


def main() -> None:
    """Run once. Exit with status 1 and one line if the run fails, and with 130 if it was stopped."""
    named = bench.parse_options(sys.argv[1:], tuple(scenarios.ALL))
    lifecycle.raise_open_files_limit()
    _stop_on_signals()
    with _folder(keep=named.keep) as folder, Screen() as screen:
        try:
            run.run(Bench(options=named, folder=folder, screen=screen))
        except KeyboardInterrupt:
            screen.say("stopped")
            sys.exit(INTERRUPTED)
        except (BenchmarkError, EmbeddedError, MigrationError, StackError) as error:
            screen.say(f"failed: {error}")
            sys.exit(1)


@contextlib.contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Yield a new folder, which is removed with the context unless `keep` is set."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        yield folder
    finally:
        if keep:
            sys.stdout.write(f"data and logs: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _stop_on_signals() -> None:
    """Unwind everything in order on the first signal; ignore further ones."""

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP on purpose.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


if __name__ == "__main__":
    main()
