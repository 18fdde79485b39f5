"""How long it takes from installing webhookctl to the first event on localhost."""

import time
from pathlib import Path

from dev.reach.finding import Finding
from scripts.release import artifacts, quickstarts

MOST_SECONDS = 60.0


def check(work: Path, url: str) -> list[Finding]:
    """Install the wheel into an empty environment, listen, and send an event."""
    wheel = artifacts.python(work, work / "output")
    began_at = time.monotonic()
    programs = quickstarts.installed(wheel, work)
    installed = time.monotonic() - began_at
    quickstarts.command_line(programs, work, url)
    took = time.monotonic() - began_at
    what = (
        f"from installing the wheel of webhookctl to its first event on localhost: {took:.1f} s, at most "
        f"{MOST_SECONDS:.0f} s; {installed:.1f} s of them to install it"
    )
    return [Finding(what=what, ok=took <= MOST_SECONDS)]
