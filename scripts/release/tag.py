"""Check that a tag can be released, and print what the workflow of releases needs to know.

    python3 -m scripts.release.tag TAG OWNER/REPOSITORY [--notes FILE]

The standard library is all that it needs.
"""

import argparse
import re
import sys
from pathlib import Path

from scripts.release import versions
from scripts.release.publishing import ROOT, Addresses


def notes(version: str, addresses: Addresses) -> str:
    """Return the section of CHANGELOG.md on a version, with links that work elsewhere; nothing without one."""
    found = re.search(
        rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    if found is None:
        return ""
    base = f"{addresses.repository}/blob/v{version}/"
    return re.sub(r"\]\((?!https?://|#)", f"]({base}", found[1].strip()) + "\n"


def problems(tag: str, repository: str, addresses: Addresses) -> list[str]:
    """Return what prevents this tag from being released from this repository."""
    version, said = versions.current(), versions.problems()
    if tag != f"v{version}":
        said.append(f"the tag is {tag}, but pyproject.toml has version {version}: tag v{version}")
    if f"https://github.com/{repository}" != addresses.repository:
        said.append(
            f"publishing.toml: repository is {addresses.repository}, but this is https://github.com/{repository}: "
            "change that line, run `make generate`, and tag the commit"
        )
    if not notes(version, addresses).strip():
        said.append(f"CHANGELOG.md has no section {version}: rename Unreleased")
    return said


def main() -> None:
    """Print the outputs of the workflow's first job, or why there is no release."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.release.tag")
    parser.add_argument("tag")
    parser.add_argument("repository", metavar="OWNER/REPOSITORY")
    parser.add_argument("--notes", type=Path, help="a file for the notes of the release")
    asked = parser.parse_args()
    addresses = Addresses.read()
    if said := problems(asked.tag, asked.repository, addresses):
        sys.exit("this tag cannot be released:\n" + "\n".join(f"  - {line}" for line in said))
    version = versions.current()
    if asked.notes:
        asked.notes.write_text(notes(version, addresses))
    outputs = {
        "version": version,
        "registry": addresses.registry,
        "image": addresses.image,
        "charts": addresses.charts,
        "chart": addresses.chart.removeprefix("oci://"),
    }
    sys.stdout.write("".join(f"{name}={value}\n" for name, value in outputs.items()))


if __name__ == "__main__":
    main()
