"""Spans in a list, for tests of who creates one."""

import random
from dataclasses import dataclass, field

from services.platform.tracing.spans import SAMPLED, Attributes, Kind, Parent, Span


class Kept(Span):
    """A recorded span."""

    def __init__(self, parent: Parent | None) -> None:
        super().__init__(parent.trace_id if parent else random.getrandbits(128), random.getrandbits(64), SAMPLED)
        self.parent = parent
        self.error: str | None = None

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def link(self, parent: Parent) -> None: ...

    def end(self, *, error: str = "", failed: bool = True) -> None:  # noqa: ARG002 - the signature of Span
        self.error = error


@dataclass
class Recording:
    """Implements what services.platform.tracing.spans needs."""

    spans: list[Kept] = field(default_factory=list)

    def start(self, name: str, kind: Kind, parent: Parent | None, attributes: Attributes) -> Kept:  # noqa: ARG002 - the tracer's
        self.spans.append(Kept(parent))
        return self.spans[-1]

    async def stop(self) -> None: ...
