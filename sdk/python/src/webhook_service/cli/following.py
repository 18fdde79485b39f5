"""Follows deliveries as they change: by the live stream, and by looking at lists while there is none."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from webhook_service import errors
from webhook_service.calls import Call
from webhook_service.client import Client
from webhook_service.models import DeliverySummary

# How far back a look at the list goes, and how much of it is read.
WINDOW = timedelta(minutes=10)
MOST_LISTED = 200
LOOK_SECONDS = 1.0
# The stream is asked for again after so long.
STREAM_AGAIN_SECONDS = 30.0
# Whose last state is remembered, so that none is printed twice.
REMEMBERED = 10_000
# Refusals while which the list tells the same, only later: an older service, too many streams, Redis away.
_WITHOUT_STREAM = frozenset((404, 405, 429, 502, 503, 504))
# No worker records these, so the stream does not tell of them.
_NOT_TOLD = frozenset(("pending", "in_flight"))


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery."""

    delivery_id: str
    event_id: str
    subscription_id: str
    event_type: str | None
    status: str
    attempt_count: int
    status_code: int | None = None
    error_kind: str | None = None
    duration_ms: int | None = None
    recorded_at: datetime | None = None


class _Deliveries(msgspec.Struct, frozen=True):
    items: list[Change] = []
    dropped: int = 0


class Message(NamedTuple):
    """A message of a stream of server-sent events; without a name it only says where the stream is."""

    position: str
    name: str
    data: str


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Yield the messages in the lines of a stream (WHATWG HTML, 9.2)."""
    position, name, data = "", "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            position = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line:
            yield Message(position, name if data else "", "\n".join(data))
            name, data = "", []


class Follower:
    """Deliveries that somebody follows."""

    def __init__(
        self,
        client: Client,
        *,
        began: str,
        subscription_id: Sequence[str] | None = None,
        event_type: Sequence[str] | None = None,
        status: Sequence[str] | None = None,
        tag: Sequence[str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._began = began
        self._listed: dict[str, Any] = {"subscription_id": subscription_id, "event_type": event_type, "tag": tag}
        self._told = {"subscription_id": subscription_id, "event_type": event_type, "status": status}
        self._statuses = frozenset(status or ())
        # Streams have no tags.
        self._streams = not tag and not self._statuses & _NOT_TOLD
        self._say = say
        self._position: str | None = None
        self._seen: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def changes(self) -> Generator[Change, None, None]:
        """Yield each change, until it is looped over no more."""
        while True:
            if self._streams:
                try:
                    yield from self._stream()
                    continue
                except errors.ConnectionFailed:
                    pass
                except errors.ApiError as error:
                    if error.status not in _WITHOUT_STREAM:
                        raise
            self._position = None
            until = time.monotonic() + STREAM_AGAIN_SECONDS
            while time.monotonic() < until:
                yield from self._look()
                time.sleep(LOOK_SECONDS)

    def _stream(self) -> Iterator[Change]:
        """Yield what one connection tells. It ends after a minute, and the next one goes on where it was."""
        call = Call(
            "GET",
            "/api/v1/stream",
            responses={200: None},
            query={"topic": "deliveries", **self._told},
            headers={"Accept": "text/event-stream", "Last-Event-ID": self._position},
        )
        with self._client.streaming(call) as lines:
            begins = self._position is None
            for message in messages(lines):
                self._position = message.position or self._position
                # What was recorded before the stream began, or since it broke off, is in the list; and so is what
                # workers did not tell because they had not noticed yet that somebody watches.
                if begins or message.name in ("", "reset"):
                    yield from self._look()
                    begins = False
                if message.name == "deliveries":
                    told = msgspec.json.decode(message.data, type=_Deliveries)
                    yield from filter(self._is_new, told.items)
                    if told.dropped:
                        self._say(f"{told.dropped} more were recorded in that moment")

    def _look(self) -> Iterator[Change]:
        """Yield what the list has that was not seen."""
        since = max(self._began, (datetime.now(UTC) - WINDOW).isoformat())
        found = self._client.deliveries.list(**self._listed, from_=since, limit=100)
        for delivery in reversed(list(islice(found, MOST_LISTED))):
            change = _change(delivery)
            if (not self._statuses or change.status in self._statuses) and self._is_new(change):
                yield change

    def _is_new(self, change: Change) -> bool:
        """Return whether a change was not seen, and remember it."""
        state = (change.status, change.attempt_count)
        if self._seen.get(change.delivery_id) == state:
            return False
        self._seen[change.delivery_id] = state
        self._seen.move_to_end(change.delivery_id)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


def _change(delivery: DeliverySummary) -> Change:
    return Change(
        delivery_id=delivery.id,
        event_id=delivery.event_id,
        subscription_id=delivery.subscription_id,
        event_type=delivery.event_type,
        status=str(delivery.status),
        attempt_count=delivery.attempt_count,
        status_code=delivery.last_status_code,
        error_kind=delivery.last_error_kind,
    )
