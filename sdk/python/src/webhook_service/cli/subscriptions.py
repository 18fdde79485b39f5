"""Subscriptions."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from msgspec import UNSET

from webhook_service.cli import session
from webhook_service.cli.session import Session
from webhook_service.models import Subscription

app = typer.Typer(help="Create, list, change, and test subscriptions.", no_args_is_help=True, rich_markup_mode=None)

SubscriptionId = Annotated[str, typer.Argument(metavar="ID", help="Id or name of the subscription.")]
_COLUMNS = ("id", "name", "status", "event_types", "destination", "target_url")
_FIELDS = (
    *("id", "name", "description", "destination", "target_url", "event_types", "status", "status_reason"),
    *(
        "signature_scheme",
        "metadata",
        "header_names",
        "verify",
        "rate_limit_per_second",
        "timeout_seconds",
        "warnings",
        "created_at",
    ),
)


def found(asked: Session, id_or_name: str) -> str:
    """Return the id of a subscription that was given by id or by name."""
    uuid_length, dashes = 36, 4
    if len(id_or_name) == uuid_length and id_or_name.count("-") == dashes:
        return id_or_name
    named = list(asked.client.subscriptions.list(name=id_or_name))
    if not named:
        raise LookupError(f"there is no subscription with the name {id_or_name}")
    return named[0].id


def _show(asked: Session, subscription: Subscription) -> None:
    asked.output.fields(subscription, _FIELDS)


@app.command("list")
def list_subscriptions(
    context: typer.Context,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE in its metadata. Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to list.")] = 50,
) -> None:
    """List subscriptions, newest first."""
    asked = session.of(context)
    listed = asked.client.subscriptions.list(metadata=metadata, limit=min(limit, 100))
    asked.output.rows(_COLUMNS, islice(listed, limit))


@app.command()
def show(context: typer.Context, subscription: SubscriptionId) -> None:
    """Show a subscription."""
    asked = session.of(context)
    _show(asked, asked.client.subscriptions.get(found(asked, subscription)))


@app.command()
def create(
    context: typer.Context,
    target_url: Annotated[str, typer.Argument(help="URL that deliveries are sent to.")],
    event_types: Annotated[
        list[str] | None, typer.Option("--events", help="Type, such as order.*. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to find it by.")] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Create a subscription, and print the secret that its deliveries are signed with."""
    asked = session.of(context)
    created = asked.client.subscriptions.create(
        target_url=target_url, event_types=event_types or [], name=name, description=description
    )
    asked.output.fields(created, (*_FIELDS[:9], "secret_key"))


@app.command()
def delete(context: typer.Context, subscription: SubscriptionId) -> None:
    """Delete a subscription, and cancel its waiting deliveries."""
    asked = session.of(context)
    asked.client.subscriptions.delete(found(asked, subscription))
    asked.output.say(f"deleted {subscription}")


@app.command()
def pause(context: typer.Context, subscription: SubscriptionId) -> None:
    """Pause deliveries; events are stored meanwhile."""
    asked = session.of(context)
    _show(asked, asked.client.subscriptions.pause(found(asked, subscription)))


@app.command()
def resume(context: typer.Context, subscription: SubscriptionId) -> None:
    """Resume a paused subscription."""
    asked = session.of(context)
    _show(asked, asked.client.subscriptions.resume(found(asked, subscription)))


@app.command()
def enable(context: typer.Context, subscription: SubscriptionId) -> None:
    """Enable a disabled subscription."""
    asked = session.of(context)
    _show(asked, asked.client.subscriptions.enable(found(asked, subscription)))


@app.command()
def disable(context: typer.Context, subscription: SubscriptionId) -> None:
    """Disable a subscription until it is enabled."""
    asked = session.of(context)
    _show(asked, asked.client.subscriptions.disable(found(asked, subscription)))


@app.command()
def test(context: typer.Context, subscription: SubscriptionId) -> None:
    """Send a test event, and print what the receiver responds."""
    asked = session.of(context)
    tested = asked.client.subscriptions.test(found(asked, subscription))
    if asked.output.is_json:
        asked.output.json(tested)
    else:
        asked.output.fields(tested.attempt, ("started_at", "duration_ms", "status_code", "response_body"))
    if tested.attempt.error is not None:
        asked.output.say(f"{tested.attempt.error.kind}: {tested.attempt.error.message}", "red")
        raise typer.Exit(1)


@app.command()
def rotate_secret(
    context: typer.Context,
    subscription: SubscriptionId,
    overlap_hours: Annotated[float | None, typer.Option(help="How long the old secret also signs.")] = None,
) -> None:
    """Replace the signing secret, and print the new one."""
    asked = session.of(context)
    overlap = UNSET if overlap_hours is None else overlap_hours
    rotated = asked.client.subscriptions.rotate_secret(found(asked, subscription), overlap_hours=overlap)
    asked.output.fields(rotated, ("secret_key",))
