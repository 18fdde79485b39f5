"""How many cases of which kind were tried: what the tests claim, counted where it happens."""

from collections import Counter


class Tally:
    """Counts of a run."""

    def __init__(self) -> None:
        self._cases: Counter[str] = Counter()

    def add(self, kind: str, cases: int = 1) -> None:
        """Counts cases of a kind."""
        self._cases[kind] += cases

    @property
    def total(self) -> int:
        """All cases."""
        return self._cases.total()

    @property
    def lines(self) -> list[str]:
        """The sum, and then each kind; nothing when nothing was tried."""
        if not self._cases:
            return []
        width = max(map(len, self._cases))
        whole = f"adversarial: {self.total:,} cases of {len(self._cases)} kinds"
        return [whole, *(f"  {kind:<{width}}  {cases:>7,}" for kind, cases in sorted(self._cases.items()))]
