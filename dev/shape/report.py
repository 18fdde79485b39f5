"""What a run says."""

import sys


class Report:
    """Prints each line at once, and remembers whether a bound was broken."""

    def __init__(self) -> None:
        self.is_good = True

    def say(self, line: str) -> None:
        """Print a line."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def check(self, line: str, *, kept: bool) -> None:
        """Print what was measured, and whether its bound was kept."""
        self.is_good &= kept
        self.say(f"  {'ok  ' if kept else 'FAIL'} {line}")
