"""What becomes of deliveries, as server-sent events for as long as somebody looks."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import grpc
import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from protos.webhook.v1 import deliveries_pb2 as pb
from services.gateway.resources import enums, models
from services.gateway.web import backends, callers, openapi, problems
from services.gateway.web.routing import RoleRoute
from services.platform import errors
from services.platform.grpc import conversion
from services.platform.process.shares import ConcurrencyLimit

router = APIRouter(prefix="/api/v1/stream", tags=["deliveries"], route_class=RoleRoute)

MEDIA_TYPE = "text/event-stream"
# At this process: fewer than the 128 that a server takes on their connection. A single tenant gets half of them, and
# one key, session, or portal link a few.
MAX_STREAMS = 120
MAX_OF_ONE = 8
# A browser connects again after this time.
RETRY_MILLISECONDS = 1_000
# Between looks whether a session has ended; keys and portal links are looked at by the service.
SESSION_SECONDS = 5.0
# Proxies are told, too, that nothing may wait for more.
_HEADERS = models.NO_STORE | {"x-accel-buffering": "no"}


class Streams:
    """The streams of this process: how many there are, and their end when it begins to stop."""

    def __init__(self) -> None:
        self._places = ConcurrencyLimit(
            MAX_STREAMS,
            none_free="too many streams are open at this gateway; try again",
            too_many="too many streams of this tenant are open at this gateway; close one first",
        )
        self._by_holder: Counter[str] = Counter()
        self._ends: set[asyncio.Event] = set()

    @contextlib.contextmanager
    def taken(self, tenant_id: str, holder: str) -> Iterator[asyncio.Event]:
        """Take a place for a stream, and yield what is set when it has to end; Overloaded if there is none."""
        with self._places.taken(tenant_id):
            if self._by_holder[holder] >= MAX_OF_ONE:
                raise errors.TenantOverloaded(
                    f"{MAX_OF_ONE} streams are open with this key, session or link; close one first"
                )
            self._by_holder[holder] += 1
            end = asyncio.Event()
            self._ends.add(end)
            try:
                yield end
            finally:
                self._ends.discard(end)
                self._by_holder[holder] -= 1
                if not self._by_holder[holder]:
                    del self._by_holder[holder]

    def end(self) -> None:
        """End those that are open; clients connect to another gateway."""
        for end in self._ends:
            end.set()


class StreamQuery(models.Request):
    """What is watched."""

    topic: enums.StreamTopic = Field(
        description="`deliveries`: each delivery that a worker records. `stats`: counts, every second."
    )
    subscription_id: Annotated[list[models.Uuid], Field(max_length=50)] = Field(
        [], description="Only of these subscriptions.", examples=[[models.EXAMPLE_SUBSCRIPTION_ID]]
    )
    event_type: Annotated[list[str], Field(max_length=50)] = Field(
        [],
        description="Only of events of these types, exact or with a prefix, such as `order.*`.",
        examples=[["order.*"]],
    )
    status: Annotated[list[enums.DeliveryStatus], Field(max_length=6)] = Field(
        [], description="Only with these statuses.", examples=[["failed"]]
    )


class _Events(StreamingResponse):
    """A response that gives back what it holds, however it ends."""

    def __init__(self, lines: AsyncIterator[bytes], held: contextlib.ExitStack) -> None:
        super().__init__(lines, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


@router.get(
    "",
    operation_id="stream",
    summary="Watch deliveries",
    response_class=Response,
    responses={
        **openapi.problems(404),
        200: {
            "description": "Server-sent events. It lasts for about a minute; connect again with `Last-Event-ID`.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
    },
)
async def stream(
    query: Annotated[StreamQuery, Query()],
    request: Request,
    services: backends.Injected,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern="^[0-9]{1,19}-[0-9]{1,19}$",
            description="The `id` of the last event that you got: what was missed follows, or `reset`.",
        ),
    ] = None,
) -> Response:
    """Stream deliveries as workers record them, for as long as you are connected.

    The event `deliveries` has `items` and `dropped`: how many were left out because there were too many, for you or for
    the service. `stats` has the numbers of a second. `reset` says that something may have been missed: load your list
    again. It returns 503 while Redis is unavailable; poll the lists then.
    """
    caller = callers.of(request.scope)
    holder = callers.key_of(request.scope) or caller.key_id
    asked = pb.WatchRequest(
        topic=conversion.numbers(pb.WatchTopic.DESCRIPTOR)[query.topic],
        filter=pb.DeliveryFilter(
            subscription_id=query.subscription_id,
            event_type=query.event_type,
            status=[conversion.numbers(pb.DeliveryStatus.DESCRIPTOR)[one] for one in query.status],
        ),
        position=last_event_id or "",
    )
    streams: Streams = request.app.state.streams
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(streams.taken(caller.tenant_id, holder))
        call = services.stream(services.watching.Watch, asked)
        stack.callback(call.cancel)
        try:
            first = await call.read()
        except grpc.aio.AioRpcError as error:
            raise problems.refusal_of(error, tenant_field=callers.TENANT) from None
        if not isinstance(first, pb.WatchResponse):
            raise errors.Unavailable("the stream ended as it began; try again")
        return _Events(_events(services, call, first, end, query.topic), stack.pop_all())
    raise AssertionError("an exit stack swallows nothing")


async def _events(
    services: backends.Backends, call: Any, first: pb.WatchResponse, end: asyncio.Event, topic: str
) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RETRY_MILLISECONDS
    loop = asyncio.get_running_loop()
    checked_at, message = loop.time(), first
    ending = asyncio.ensure_future(end.wait())
    try:
        while True:
            # Before the message: it may have been long in coming.
            if loop.time() - checked_at > SESSION_SECONDS:
                await services.check_session()
                checked_at = loop.time()
            yield _event(message, topic)
            reading = asyncio.ensure_future(call.read())
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                return
            message = reading.result()
            if not isinstance(message, pb.WatchResponse):
                return
    except (grpc.aio.AioRpcError, errors.WebhookError):
        return  # the client connects again, and learns why
    finally:
        ending.cancel()


def _event(message: pb.WatchResponse, topic: str) -> bytes:
    """Return a message as events; a comment, which keeps proxies from closing the connection, if it says nothing."""
    events: list[tuple[str, dict[str, Any]]] = []
    if message.reset:
        events.append(("reset", {}))
    if topic == "stats":
        if message.HasField("counts"):
            events.append((topic, models.values(message.counts) | {"dropped": message.dropped}))
    elif message.recorded or message.dropped:
        items = [_item(one) for one in message.recorded]
        events.append((topic, {"items": items, "dropped": message.dropped}))
    identified = f"id: {message.position}\n".encode()
    if not events:
        return b": nothing new\n" + identified + b"\n"
    return b"".join(
        identified + f"event: {name}\n".encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
        for name, data in events
    )


def _item(message: pb.RecordedDelivery) -> dict[str, Any]:
    found = models.values(message)
    return found | {name: found[name] or None for name in ("event_type", "error_kind")}
