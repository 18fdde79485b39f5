"""Entry: python -m dev.reach [--deliveries N] [--pullers N] [--stop-seconds N].

Exit status: 0 if every bound was kept, 1 if not.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from dev.harness import stack as stacks
from dev.reach import consumers, quickstart, verification
from dev.reach.finding import Finding


def cpu_seconds(stack: stacks.Stack) -> dict[int, float]:
    """Return the CPU time of each process of the service, its stores, and this one, so far."""
    found = {}
    for process in (*stack.processes(), psutil.Process()):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.reach", description="Install and use what reaches a laptop: webhookctl, consumers, SDKs."
    )
    parser.add_argument("--deliveries", type=int, default=100_000, help="that consumers share")
    parser.add_argument("--pullers", type=int, default=20, help="consumers that share them")
    parser.add_argument("--stop-seconds", type=float, default=600.0, help="how long a consumer stops")
    options = parser.parse_args()
    began_at = time.monotonic()
    wrong = False

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began_at:7.1f}  {line}\n")
        sys.stdout.flush()

    with (
        tempfile.TemporaryDirectory(prefix="reach-") as folder,
        stacks.running(Path(folder) / "data", processes="one") as stack,
    ):
        say("the service is ready, as `make run` starts it")
        work, url = Path(folder), stack.base_url
        steps: tuple[Callable[[], list[Finding]], ...] = (
            lambda: quickstart.check(work, url),
            lambda: asyncio.run(
                consumers.share(
                    url, deliveries=options.deliveries, pullers=options.pullers, cpu_seconds=lambda: cpu_seconds(stack)
                )
            ),
            lambda: asyncio.run(verification.check_all(work, url)),
            lambda: asyncio.run(consumers.stop(url, seconds=options.stop_seconds)),
        )
        for step in steps:
            for finding in step():
                say(finding.line)
                wrong = wrong or finding.ok is False
    say("every bound was kept" if not wrong else "a bound was not kept")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
