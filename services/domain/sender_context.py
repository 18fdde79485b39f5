"""What the sender of an event said of it besides its payload: the column `webhook_events.sender_context`.

Most events have none.
"""

from collections.abc import Mapping

import msgspec

from services.domain import cloudevents, events
from services.domain.cloudevents import Attributes


class SenderContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was kept of one event."""

    # The provider's own headers, where its subscription relays them.
    headers: Mapping[str, str] = {}
    # The attributes of a CloudEvent, as services/domain/cloudevents.py has them.
    cloudevent: Attributes = {}
    # Of the event, as the catalog has it; None: it has none.
    event_version: int | None = None

    @property
    def text(self) -> str | None:
        """JSON as it is stored; None if nothing is to be kept."""
        return msgspec.json.encode(self).decode() if self != NOTHING else None


NOTHING = SenderContext()
_RELAYED = frozenset(name.lower() for names in events.RELAYED_HEADERS.values() for name in names)
_DECODER = msgspec.json.Decoder(SenderContext)


def parse(text: str | None) -> SenderContext:
    """Return what is stored."""
    return NOTHING if text is None else _DECODER.decode(text)


def is_header(name: str) -> bool:
    """Return whether a header of a delivery may be of what the sender said."""
    return name.lower() in _RELAYED or name.lower().startswith(cloudevents.PREFIX)
