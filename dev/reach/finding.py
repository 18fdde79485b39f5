"""What was found."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A bound, and whether it was kept; `ok` is None for what could not be tried here."""

    what: str
    ok: bool | None

    @property
    def line(self) -> str:
        """Return it as it is printed."""
        return f"{ {True: 'ok     ', False: 'WRONG  ', None: 'skipped'}[self.ok] }  {self.what}"
