"""Event types: the catalog of a tenant."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from webhook_service.cli import session
from webhook_service.cli.session import Session
from webhook_service.models import EventType

app = typer.Typer(
    help="List, show, create, and check event types of the catalog.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the event type.")]
SchemaFile = Annotated[Path, typer.Option("--schema", help="File with the JSON Schema.", exists=True, dir_okay=False)]
_COLUMNS = ("name", "current_version", "effective_validation", "id")
_FIELDS = ("id", "name", "description", "validation", "effective_validation", "current_version", "created_at")


def _found(asked: Session, name: str) -> EventType:
    for found in asked.client.event_types.list(name=name):
        return found
    raise LookupError(f"there is no event type {name}")


def _read(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{path} must be a JSON object")  # noqa: TRY004 - as other errors of files
    return schema


@app.command("list")
def list_types(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, help="The most to list.")] = 200
) -> None:
    """List event types by name."""
    asked = session.of(context)
    asked.output.rows(_COLUMNS, islice(asked.client.event_types.list(limit=min(limit, 200)), limit))


@app.command()
def show(context: typer.Context, name: Name) -> None:
    """Show an event type with the schema of its newest version."""
    asked = session.of(context)
    found = _found(asked, name)
    asked.output.fields(found, _FIELDS)
    if not asked.output.is_json:
        asked.output.line(f"version {found.latest_version.number}, {found.latest_version.status}")
        asked.output.line(json.dumps(found.latest_version.schema, indent=2))
        invalid = found.invalid_events
        if invalid.count:
            events = "1 event" if invalid.count == 1 else f"{invalid.count} events"
            asked.output.line(f"{events} did not match; the last one: {'; '.join(invalid.last_errors)}")


@app.command()
def create(
    context: typer.Context,
    name: Name,
    schema: SchemaFile,
    description: Annotated[str, typer.Option(help="What the events are about.")] = "",
    validation: Annotated[
        str | None, typer.Option(help="off, warn, or enforce. Default: as the tenant has it.")
    ] = None,
) -> None:
    """Create an event type, or add a version to one that exists."""
    asked = session.of(context)
    known = next(iter(asked.client.event_types.list(name=name)), None)
    if known is None:
        made = asked.client.event_types.create(_read(schema), name, description=description, validation=validation)
        asked.output.fields(made, _FIELDS)
        return
    version = asked.client.event_types.create_version(known.id, _read(schema), description=description)
    asked.output.fields(version, ("event_type_id", "number", "status", "created_at"))


@app.command()
def check(context: typer.Context, name: Name, schema: SchemaFile) -> None:
    """List what would be breaking in a new version; the exit code is 1 if anything."""
    asked = session.of(context)
    compared = asked.client.event_types.check_version(_found(asked, name).id, _read(schema))
    asked.output.rows(("path", "description"), compared.breaking)
    if not compared.compatible:
        sys.exit(1)
