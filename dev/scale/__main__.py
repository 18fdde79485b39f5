"""Entry: python -m dev.scale [--deliveries N] [--repeats N] [--keep FOLDER].

Exit status: 0 if every bound was kept, 1 if not.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from dev.scale import run


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(prog="python -m dev.scale", description="Search very many deliveries.")
    parser.add_argument("--deliveries", type=int, default=10_000_000, help="about 0.7 GB on disk for each million")
    parser.add_argument("--repeats", type=int, default=5, help="of each request, after a first one")
    parser.add_argument("--keep", type=Path, help="folder for the data, which is kept, and used again for a day")
    options = parser.parse_args()
    began_at = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began_at:7.1f}  {line}\n")
        sys.stdout.flush()

    folder = options.keep or Path(tempfile.mkdtemp(prefix="scale-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        report = run.run(folder, options.deliveries, options.repeats, say)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    say(run.as_text(report))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
