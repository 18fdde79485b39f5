"""What every scenario is given: the options, a folder, the screen, and the floor of this run."""

import os
from dataclasses import dataclass
from pathlib import Path

from dev.benchmarks.figures import Figures
from dev.benchmarks.options import Options
from dev.benchmarks.screen import Screen

CORES = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run of the benchmark."""

    options: Options
    # For data and logs.
    folder: Path
    screen: Screen
    # CPU milliseconds that a webhook cannot do without on this machine; 0 before that was measured.
    floor_cpu_ms: float = 0.0

    def ratio_to_floor(self, cpu_ms: float) -> float:
        """How many times the floor."""
        return cpu_ms / self.floor_cpu_ms if self.floor_cpu_ms else 0.0

    def percent_of_machine(self, cpu_seconds: float, seconds: float) -> float:
        """What part of the machine's cores that was."""
        # Clocks that tick every 10 ms can say a little more or less than all of it.
        return min(100.0, max(0.0, 100 * cpu_seconds / (seconds * CORES))) if seconds else 0.0

    def done(self, one: Figures) -> Figures:
        """Says what a run showed."""
        self.screen.say(
            f"  {one.case}: accepted {one.accepted_per_second:,.0f}/s, delivered {one.delivered_per_second:,.0f}/s, "
            f"{one.cpu_ms_per_webhook['stack']:.3f} CPU ms each ({one.ratio_to_floor:.1f} times the floor), "
            f"end to end p50 {one.end_to_end_p50_ms:.1f} ms p99 {one.end_to_end_p99_ms:.1f} ms, "
            f"lost {one.lost}, duplicates {one.duplicates}, others took {one.others_cpu_percent:.0f} % of the machine"
        )
        return one
