"""Sending events: send and trigger, and those that are sent later: scheduled and cancel."""

from __future__ import annotations

import itertools
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from webhook_service.cli import session, subscriptions
from webhook_service.cli.deliveries import timestamp
from webhook_service.models import WebhookAccepted

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# Objects of a page.
_PAGE = 200


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(send)
    app.command()(trigger)
    app.command()(scheduled)
    app.command()(cancel)


def send(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the event.")],
    data: Annotated[str | None, typer.Option("--data", "-d", help="The payload, as JSON.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="File with the payload; - is standard input.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Send it to this subscription only: id or name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find it by. Repeat for several.")] = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--event-version", min=1, help="Version of the type that the payload is of. Default: the current."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Sends it once, however often repeated.")] = None,
    at: Annotated[str | None, typer.Option(help="When it becomes due, such as 2026-03-14T15:00:00Z.")] = None,
    after: Annotated[
        str | None, typer.Option("--in", help="The same from now on, such as 30s, 10m, 2h, or 7d.")
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="For how long after that it may be delivered, such as 10m.")
    ] = None,
) -> None:
    """Publish an event to all subscriptions of its type. Its payload is delivered byte for byte."""
    asked = session.of(context)
    payload = _payload(data, file)
    tags = _pairs(tag or [])
    fields = _times(at, after, within)
    if subscription is not None:
        if fields:
            raise ValueError("--at, --in, and --within cannot be combined with --subscription")
        sent = asked.client.webhooks.send(
            subscriptions.found(asked, subscription),
            payload,
            event_type=event_type,
            tags=tags or None,
            event_version=version,
            idempotency_key=key,
        )
        names = ("event_id", "delivery_id", "status") if isinstance(sent, WebhookAccepted) else ("challenge",)
        asked.output.fields(sent, names)
        return
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the payload must be JSON: {error}") from None
    if tags:
        fields["tags"] = tags
    if version is not None:
        fields["event_version"] = version
    published = asked.client.events.publish(event_type, msgspec.Raw(payload), **fields, idempotency_key=key)
    asked.output.fields(published, ("event_id", "deliveries" if published.deliver_at is None else "deliver_at"))


def scheduled(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """List events that are not due yet, those first that are due next."""
    asked = session.of(context)
    found = asked.client.events.list(scheduled=True, order="oldest", limit=min(limit, _PAGE))
    asked.output.rows(
        ("id", "event_type", "event_version", "deliver_at", "created_at"), list(itertools.islice(found, limit))
    )


def cancel(
    context: typer.Context,
    event: Annotated[str, typer.Argument(metavar="ID", help="Id of an event that is not due yet.")],
) -> None:
    """Cancel an event that is not due yet: it is never delivered."""
    asked = session.of(context)
    asked.output.fields(asked.client.events.cancel(event), ("event_id",))


def trigger(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the events.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 1,
) -> None:
    """Publish made-up events of a type, to see what receivers do with them."""
    asked = session.of(context)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    events = [
        {
            "event_type": event_type,
            "payload": {"type": event_type, "timestamp": now, "data": {"id": str(uuid.uuid4()), "example": number}},
        }
        for number in range(1, count + 1)
    ]
    results = asked.client.events.publish_batch(events).results
    asked.output.rows(("event_id", "deliveries"), [result for result in results if result.error is None])
    refused = [result.error for result in results if result.error is not None]
    if refused:
        asked.output.say(f"{len(refused)} of {count} were refused: {refused[0].detail}", "red")
        raise typer.Exit(1)


def _payload(data: str | None, file: Path | None) -> bytes:
    if (data is None) == (file is None):
        raise ValueError("give the payload with --data or with --file")
    if data is not None:
        return data.encode()
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(str(file)).read_bytes()
    except OSError as error:
        raise ValueError(f"--file: {error}") from None


def _times(at: str | None, after: str | None, within: str | None) -> dict[str, Any]:
    if at is not None and after is not None:
        raise ValueError("--at cannot be combined with --in")
    times: dict[str, Any] = {}
    if at is not None:
        times["deliver_at"] = _future(at)
    if after is not None:
        times["delay_seconds"] = _seconds("--in", after)
    if within is not None:
        times["deliver_within_seconds"] = _seconds("--within", within)
    return times


def _future(text: str) -> str:
    try:
        return timestamp(text)
    except ValueError:
        message = "--at must be a time, such as 2026-03-14T15:00:00Z; for a delay, use --in, such as --in 2h"
        raise ValueError(message) from None


def _seconds(option: str, text: str) -> int:
    if text[:-1].isdecimal() and text[-1:] in _UNITS:
        return int(text[:-1]) * _UNITS[text[-1]]
    raise ValueError(f"{option} must be a number and a unit, such as 30s, 10m, 2h, or 7d")


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(key and equals and value for key, equals, value in pairs):
        raise ValueError("--tag must be KEY=VALUE, such as order=42")
    return {key: value for key, _, value in pairs}
