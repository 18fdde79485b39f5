"""Build everything that is published, and try it, without a registry: `make release-check`.

    python -m scripts.release.check [--strict] [--output FOLDER]

The versions of all parts agree; each part is installed into an empty environment, and its quickstart runs with the real
service. What needs a tool that is not installed is skipped; with --strict that is an error.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dev.harness import stack as stacks
from scripts.release import artifacts, quickstarts, versions
from scripts.release.artifacts import Missing


def document() -> dict[str, Any]:
    """Return the OpenAPI document; AssertionError if its version is another."""
    from services.gateway import app

    found = app.described().openapi()
    assert found["info"]["version"] == versions.current(), (
        f"the OpenAPI document has version {found['info']['version']}"
    )
    return found


def parts(work: Path, output: Path, url: str) -> dict[str, Callable[[], None]]:
    """Return what is built and tried, by its name."""
    described = document()

    def python() -> None:
        programs = quickstarts.installed(artifacts.python(work, output), work)
        quickstarts.python(programs, work, url)
        quickstarts.command_line(programs, work, url)

    def npm() -> None:
        quickstarts.typescript(artifacts.npm(work, output, described), work, url)

    def go() -> None:
        quickstarts.go(artifacts.go(work), work, url)

    def chart() -> None:
        artifacts.chart(work, output)

    return {"Python package": python, "npm package": npm, "Go module": go, "chart": chart}


def attempt(name: str, part: Callable[[], None]) -> tuple[str, str]:
    """Return how a part ended: `ok`, `skipped` or `failed`, and what to say."""
    began = time.monotonic()
    try:
        part()
    except Missing as error:
        return "skipped", f"{name}: skipped, because {error}"
    except Exception:  # noqa: BLE001 - every part reports
        return "failed", f"{name}: failed\n{traceback.format_exc()}"
    return "ok", f"{name}: built, installed, and tried in {time.monotonic() - began:.0f} s"


def main() -> None:
    """Check the versions, then all parts side by side."""
    parser = argparse.ArgumentParser(prog="make release-check")
    parser.add_argument("--strict", action="store_true", help="fail if a part is skipped")
    parser.add_argument("--output", type=Path, help="keep what is built in this folder")
    asked = parser.parse_args()
    if said := versions.problems():
        sys.exit("\n".join(said))
    sys.stdout.write(f"versions: all are {versions.current()}\n")
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        work = Path(folder)
        output = asked.output.resolve() if asked.output else work / "output"
        output.mkdir(parents=True, exist_ok=True)
        with stacks.running(work / "data", processes="one") as stack, ThreadPoolExecutor() as pool:
            found = parts(work, output, stack.base_url)
            outcomes = list(pool.map(attempt, found, found.values()))
    sys.stdout.write("".join(f"{said}\n" for _, said in outcomes))
    failing = {"failed", "skipped"} if asked.strict else {"failed"}
    if any(outcome in failing for outcome, _ in outcomes):
        sys.exit("release-check: failed")
    sys.stdout.write("release-check: everything can be released\n")


if __name__ == "__main__":
    main()
