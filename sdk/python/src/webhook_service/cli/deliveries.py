"""Deliveries: what became of them, and what to do about it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from msgspec import UNSET

from webhook_service.cli import jobs, session, subscriptions
from webhook_service.cli.following import Change, Follower
from webhook_service.cli.output import COLORS, Output
from webhook_service.cli.session import Session
from webhook_service.errors import NotFound
from webhook_service.models import Delivery

_COLUMNS = (
    "id",
    "created_at",
    "event_type",
    "event_version",
    "status",
    "attempt_count",
    "last_status_code",
    "explanation",
)
_DELIVERY = (
    "id",
    "event_id",
    "subscription_id",
    "event_type",
    "event_version",
    "status",
    "reason",
    "next_attempt_at",
)
_NARROW = ("created_at", "event_type", "status", "id")

Subscriptions = Annotated[
    list[str] | None, typer.Option("--subscription", help="To this subscription: id or name. Repeatable.")
]
Statuses = Annotated[list[str] | None, typer.Option("--status", help="With this status, such as failed. Repeatable.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Of this type, such as order.*. Repeatable.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="With this tag, KEY=VALUE. Repeatable.")]
Since = Annotated[str | None, typer.Option("--from", help="Accepted since: a time, or how long ago: 30m, 24h, 7d.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("deliveries")(list_deliveries)
    app.command()(tail)
    app.command()(explain)
    app.command()(retry)
    app.command()(recover)


def moment(text: str) -> str:
    """Return a time as the API takes it, from a time or from how long ago it was."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdecimal() and text[-1:] in units:
        return (datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})).isoformat()
    with contextlib.suppress(ValueError):
        return timestamp(text)
    raise ValueError(f"{text} is not a time: give one such as 2026-03-14T15:00:00Z, or how long ago, such as 24h")


def timestamp(text: str) -> str:
    """Return a time as the API takes it. One without an offset is local. Raise ValueError if it is not a time."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.astimezone()).isoformat()


def _ids(asked: Session, given: list[str] | None) -> list[str] | None:
    return given and [subscriptions.found(asked, one) for one in given]


def list_deliveries(
    context: typer.Context,
    subscription: Subscriptions = None,
    status: Statuses = None,
    event_type: Types = None,
    tag: Tags = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to list.")] = 50,
) -> None:
    """List deliveries, newest first."""
    asked = session.of(context)
    found = asked.client.deliveries.list(
        subscription_id=_ids(asked, subscription),
        status=status,
        event_type=event_type,
        tag=tag,
        from_=moment(since) if since else None,
        limit=min(limit, 100),
    )
    asked.output.rows(_COLUMNS, islice(found, limit), narrow=_NARROW)


def tail(
    context: typer.Context,
    subscription: Subscriptions = None,
    status: Statuses = None,
    event_type: Types = None,
    tag: Tags = None,
    since: Since = None,
) -> None:
    """Print what becomes of deliveries as it is recorded, until interrupted."""
    asked = session.of(context)
    follower = Follower(
        asked.client,
        began=moment(since) if since else datetime.now(UTC).isoformat(),
        subscription_id=_ids(asked, subscription),
        event_type=event_type,
        status=status,
        tag=tag,
        say=asked.output.say,
    )
    with contextlib.suppress(KeyboardInterrupt):
        for change in follower.changes():
            _print_change(asked.output, change)


def _print_change(output: Output, change: Change) -> None:
    if output.is_json:
        output.json(change)
        return
    said = f"{datetime.now(UTC):%H:%M:%S}  {change.event_type or '-'}  "
    outcome = change.status_code or change.error_kind or ""
    colored = (change.status, COLORS.get(change.status, ""))
    output.line(said, colored, f"  attempt {change.attempt_count}  {outcome}  {change.delivery_id}")


def explain(
    context: typer.Context,
    object_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a delivery or of an event.")],
) -> None:
    """Explain where a delivery is and why, with its attempts; of an event, who got it and why."""
    asked = session.of(context)
    try:
        delivery = asked.client.deliveries.get(object_id)
    except NotFound:
        _explain_event(asked, object_id)
    else:
        _explain_delivery(asked.output, delivery)


def _explain_delivery(output: Output, delivery: Delivery) -> None:
    if output.is_json:
        output.json(delivery)
        return
    output.fields(delivery, _DELIVERY)
    output.line((delivery.explanation, "bold"))
    for attempt in delivery.attempts:
        outcome = f"{attempt.error.kind}: {attempt.error.message}" if attempt.error else "delivered"
        style = "red" if attempt.error else "green"
        spent = "" if attempt.duration_ms is None else f" in {attempt.duration_ms} ms"
        when = f"{attempt.started_at:%Y-%m-%d %H:%M:%S}Z"
        output.line(f"  attempt {attempt.number} at {when}{spent}: ", (outcome, style))


def _explain_event(asked: Session, event_id: str) -> None:
    event = asked.client.events.get(event_id)
    if not asked.output.is_json:
        asked.output.fields(event, ("id", "event_type", "event_version", "created_at", "payload_bytes"))
    routes = asked.client.events.routing(event_id)
    columns = ("subscription_id", "routed", "explanation", "delivery_id")
    asked.output.rows(columns, routes, narrow=("subscription_id", "delivery_id"))


def retry(
    context: typer.Context,
    delivery_id: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of deliveries.")],
) -> None:
    """Send deliveries again now."""
    asked = session.of(context)
    asked.output.rows(("id", "status", "explanation"), [asked.client.deliveries.retry(one) for one in delivery_id])


def recover(
    context: typer.Context,
    subscription: Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="Id or name of the subscription.")],
    since: Annotated[str, typer.Option("--from", help="Accepted since: a time, or how long ago: 30m, 24h, 7d.")],
    until: Annotated[str | None, typer.Option("--to", help="Accepted before. Default: now.")] = None,
    only: Annotated[str, typer.Option(help="failed, missing, or all.")] = "failed",
    rate: Annotated[int | None, typer.Option(help="The most deliveries per second.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
) -> None:
    """Send again what a subscription missed, by a job."""
    asked = session.of(context)
    job = asked.client.subscriptions.recover(
        subscriptions.found(asked, subscription),
        moment(since),
        to=moment(until) if until else UNSET,
        only=only,
        rate_per_second=rate or UNSET,
    )
    jobs.show_job(asked, jobs.ended(asked, job) if wait else job)
