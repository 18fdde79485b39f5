"""Sending events: send and trigger."""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from webhook_service.cli import session, subscriptions
from webhook_service.models import WebhookAccepted


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(send)
    app.command()(trigger)


def send(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the event.")],
    data: Annotated[str | None, typer.Option("--data", "-d", help="The payload, as JSON.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="File with the payload; - is standard input.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Send it to this subscription only: id or name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find it by. Repeat for several.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Sends it once, however often repeated.")] = None,
) -> None:
    """Publish an event to all subscriptions of its type. Its payload is delivered byte for byte."""
    asked = session.of(context)
    payload = _payload(data, file)
    tags = _pairs(tag or [])
    if subscription is not None:
        sent = asked.client.webhooks.send(
            subscriptions.found(asked, subscription),
            payload,
            event_type=event_type,
            tags=tags or None,
            idempotency_key=key,
        )
        names = ("event_id", "delivery_id", "status") if isinstance(sent, WebhookAccepted) else ("challenge",)
        asked.output.fields(sent, names)
        return
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the payload must be JSON: {error}") from None
    published = asked.client.events.publish(
        event_type, msgspec.Raw(payload), **({"tags": tags} if tags else {}), idempotency_key=key
    )
    asked.output.fields(published, ("event_id", "deliveries"))


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


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(key and equals and value for key, equals, value in pairs):
        raise ValueError("--tag must be KEY=VALUE, such as order=42")
    return {key: value for key, _, value in pairs}
