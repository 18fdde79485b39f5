"""The catalog as a document that other tools read and write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml  # type: ignore[import-untyped]

from webhook_service.cli import session
from webhook_service.models import CatalogFormat, ImportOutcome

app = typer.Typer(
    help="Export and import the catalog as an OpenAPI or AsyncAPI document.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_COLUMNS = ("name", "outcome", "version", "event_type_id")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())  # as which JSON can be read, too
        if not isinstance(document, dict):
            raise ValueError(f"{path} must be an object")  # noqa: TRY004 - as other errors of files
        # YAML has dates, which JSON has as texts.
        return cast("dict[str, Any]", json.loads(json.dumps(document, default=str)))
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as JSON or YAML: {error}") from None


@app.command("export")
def export_document(
    context: typer.Context,
    form: Annotated[
        CatalogFormat, typer.Option("--format", help="openapi: OpenAPI 3.1. asyncapi: AsyncAPI 3.0.")
    ] = CatalogFormat.OPENAPI,
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only these event types, as 'invoice.*'; may be repeated.")
    ] = None,
) -> None:
    """Print the current versions of event types as a document."""
    found = session.of(context).client.catalog.export_document(format=form, event_type=event_type)
    document = {name: value for name, value in found.to_dict().items() if value is not None}
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@app.command("import")
def import_document(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON or YAML.", exists=True, dir_okay=False)],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be changed.")] = False,
) -> None:
    """Create event types and versions from a document; the exit code is 1 if any is refused."""
    asked = session.of(context)
    done = asked.client.catalog.import_document(_read(file), dry_run=dry_run)
    asked.output.rows(_COLUMNS, done.event_types)
    if not asked.output.is_json:
        for one in done.event_types:
            for problem in one.problems:
                asked.output.say(f"{one.name}: {problem.path}: {problem.description}", "red")
            for change in one.breaking:
                asked.output.say(f"{one.name}: breaking: {change.path} {change.description}", "yellow")
    if any(one.outcome is ImportOutcome.REFUSED for one in done.event_types):
        sys.exit(1)
