"""Spans that are kept in a list, for tests of who has one."""

import random
from dataclasses import dataclass, field

from services.platform.tracing.spans import SAMPLED, Attributes, Kind, Parent, Span


class Kept(Span):
    """A span of a test."""

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
    """As services.platform.tracing.spans wants one."""

    spans: list[Kept] = field(default_factory=list)

    def start(self, name: str, kind: Kind, parent: Parent | None, attributes: Attributes) -> Kept:  # noqa: ARG002 - the tracer's
        self.spans.append(Kept(parent))
        return self.spans[-1]

    async def stop(self) -> None: ...
