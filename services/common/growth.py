"""Counters that somebody else keeps, as ours: by what they grew since the look before."""


class Growth:
    """Remembers what each total was. A total that fell began anew, as after a restart, and grew by nothing."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def of(self, name: str, total: float) -> float:
        """What the total of this name grew by; 0 at the first look."""
        before = self._seen.get(name, total)
        self._seen[name] = total
        return max(0.0, total - before)
