"""Which images this repository pins, and since when.

    python3 scripts/pins.py [--days 60]

Prints each image with the day its line was changed last, and a warning of GitHub Actions for those that are older than
so many days: newer versions usually close holes by then. It asks only git, and no registry.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each image is pinned in the first file that has it; the test of this script compares the others.
FILES = ("charts/webhook-service/values.yaml", "docker-compose.yaml", "Dockerfile", "kind/*.yaml")
_DIGEST = r"(?:@sha256:[0-9a-f]{64})?"
# `image: name:1.2` of manifests, and `ARG BASE=name:1.2` of a Dockerfile.
_WHOLE = re.compile(
    rf"^\s*(?:image:|ARG BASE=)\s*(?P<image>[a-z0-9.-]+\.[a-z]+/[a-z0-9/._-]+):(?P<tag>v?[0-9][\w.-]*){_DIGEST}$"
)
# `repository:` and `tag:` of a chart's values.
_REPOSITORY = re.compile(r"^\s*repository: (?P<image>[a-z0-9.-]+\.[a-z]+/\S+)$")
_TAG = re.compile(r"^\s*tag: \"?(?P<tag>[0-9][\w.-]*)\"?$")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """An image's version, and the line that says it."""

    image: str
    tag: str
    file: str
    line: int


def pins(root: Path = ROOT) -> Iterator[Pin]:
    """Return the versions of images that the repository's files name."""
    for pattern in FILES:
        for path in sorted(root.glob(pattern)):
            yield from _pins_of(path.read_text().splitlines(), str(path.relative_to(root)))


def _pins_of(lines: list[str], file: str) -> Iterator[Pin]:
    repository = ""
    for number, line in enumerate(lines, 1):
        if found := _WHOLE.match(line):
            yield Pin(image=found["image"], tag=found["tag"], file=file, line=number)
        elif found := _REPOSITORY.match(line):
            repository = found["image"]
        elif repository and (found := _TAG.match(line)):
            yield Pin(image=repository, tag=found["tag"], file=file, line=number)
            repository = ""


def changed_at(pin: Pin, root: Path = ROOT) -> datetime:
    """Return when the pin's line was committed last; now, if it is not committed."""
    command = ["git", "blame", "--porcelain", "-L", f"{pin.line},{pin.line}", "--", pin.file]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command line
    found = re.search(r"^committer-time ([0-9]+)$", printed, re.MULTILINE)
    assert found is not None, printed
    return datetime.fromtimestamp(int(found[1]), UTC)


def main(arguments: list[str], root: Path = ROOT) -> None:
    """Print the pins, and a warning for each that is old."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=60, help="after how many days a pin is old (60)")
    days = parser.parse_args(arguments).days
    for pin in pins(root):
        changed = changed_at(pin, root)
        age = (datetime.now(UTC) - changed).days
        sys.stdout.write(f"{pin.image}:{pin.tag} since {changed:%Y-%m-%d}, {pin.file}:{pin.line}\n")
        if age > days:
            message = f"{pin.image}:{pin.tag} was pinned {age} days ago: look for a newer version"
            sys.stdout.write(f"::warning file={pin.file},line={pin.line}::{message}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
