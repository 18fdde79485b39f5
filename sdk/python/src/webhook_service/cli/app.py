"""webhookctl: its options, its commands, and how errors are printed."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from webhook_service import version
from webhook_service.cli import (
    catalog,
    configuration,
    deliveries,
    event_types,
    events,
    jobs,
    listening,
    login,
    subscriptions,
    verifying,
)
from webhook_service.cli.output import Format, Output
from webhook_service.cli.session import Session
from webhook_service.errors import ApiError, WebhookServiceError

app = typer.Typer(
    help="Send and receive webhooks of a webhook delivery service, and see what becomes of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - as typer calls it
    if asked:
        typer.echo(f"webhookctl {version.VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    output: Annotated[Format, typer.Option("--output", "-o", help="How results are printed.")] = Format.TABLE,
    profile: Annotated[str | None, typer.Option(help="Profile to use. Default: the last one logged in to.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant to act in. Requires a key with role admin.")] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options before the command."""
    context.obj = Session(output=Output(output), profile_name=profile, tenant=tenant)
    context.call_on_close(context.obj.close)


for part in (login, events, deliveries, listening, verifying, configuration):
    part.add_to(app)
app.add_typer(catalog.app, name="catalog")
app.add_typer(event_types.app, name="event-types")
app.add_typer(jobs.app, name="jobs")
app.add_typer(subscriptions.app, name="subscriptions")


def run() -> None:
    """Run a command; errors of the service are a line, with the fields that they name."""
    try:
        app()
    except ApiError as error:
        sys.stderr.write(f"error: {error.detail}{_hint(error)}\n")
        for field in error.errors:
            if f"{field.field}: " not in error.detail:
                sys.stderr.write(f"  {field.field}: {field.message}\n")
        if error.request_id:
            sys.stderr.write(f"  request {error.request_id}\n")
        sys.exit(1)
    except (WebhookServiceError, LookupError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has stopped.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n" if error.filename else f"error: {error}\n")
        sys.exit(1)


def _hint(error: ApiError) -> str:
    unauthorized = 401
    return "; log in with `webhookctl login`, or set WEBHOOKCTL_API_KEY" if error.status == unauthorized else ""
