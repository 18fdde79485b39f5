"""verify: whether a delivery is genuine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from webhook_service import verification
from webhook_service.cli import session

VARIABLE = "WEBHOOK_SECRET"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    context: typer.Context,
    body: Annotated[Path, typer.Argument(help="File with the exact body; - is standard input.")],
    header: Annotated[list[str], typer.Option("--header", "-H", help="NAME: VALUE. Repeat for each webhook- header.")],
    secret_file: Annotated[
        Path | None, typer.Option(help=f"File with secrets, one a line. Default: ${VARIABLE}.")
    ] = None,
    any_age: Annotated[bool, typer.Option("--any-age", help="Accept a delivery of any age.")] = False,
) -> None:
    """Verify a delivery that was received. Secrets and public keys come from a file or a variable."""
    asked = session.of(context)
    headers = {name.strip(): value.strip() for name, _, value in (one.partition(":") for one in header)}
    content = sys.stdin.buffer.read() if str(body) == "-" else body.read_bytes()
    tolerance = float("inf") if any_age else verification.TOLERANCE_SECONDS
    verified = verification.verify(content, headers, secrets(secret_file), tolerance_seconds=tolerance)
    asked.output.fields(verified, ("id", "timestamp"))


def secrets(file: Path | None) -> list[str]:
    """Return the secrets of a file, or of the variable."""
    text = os.environ.get(VARIABLE, "") if file is None else file.read_text()
    found = text.splitlines() if file is not None else [text]
    kept = [line.strip() for line in found if line.strip()]
    if not kept:
        raise ValueError(f"no secret: set {VARIABLE}, or name a file with --secret-file")
    return kept
