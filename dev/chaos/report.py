"""The verdict as text and as JSON."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dev.chaos.schedule import Fault
from dev.chaos.stack import DELIVERY_TIMEOUT_SECONDS, LEASE_SECONDS, RETRY_LIMIT
from dev.chaos.verdict import Verdict

_COLUMNS = ("faults", "seconds", "refused_tries", "duplicates")


def to_json(verdict: Verdict, schedule: Sequence[Fault], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the verdict to JSON; `facts` describe the run."""
    return {
        **facts,
        "lease_seconds": LEASE_SECONDS,
        "delivery_timeout_seconds": DELIVERY_TIMEOUT_SECONDS,
        "retry_limit": RETRY_LIMIT,
        "python": platform.python_version(),
        "ok": verdict.ok,
        "faults": len(schedule),
        **asdict(verdict),
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def as_text(verdict: Verdict) -> str:
    """Return a table of the kinds of faults, the counts, and what is wrong, if anything."""
    width = max((len(name) for name in verdict.by_fault), default=4)
    lines = ["", "  ".join(["fault".ljust(width), *(column.rjust(13) for column in _COLUMNS)])]
    lines += [
        "  ".join([name.ljust(width), *(str(row[column]).rjust(13) for column in _COLUMNS)])
        for name, row in verdict.by_fault.items()
    ]
    counts = {name: value for name, value in asdict(verdict).items() if isinstance(value, int)}
    lines += ["", *(f"{name.replace('_', ' '):<26}{value:>9}" for name, value in counts.items()), ""]
    lines += verdict.findings
    lines.append("The promise was kept." if verdict.ok else "THE PROMISE WAS BROKEN.")
    return "\n".join(lines)
