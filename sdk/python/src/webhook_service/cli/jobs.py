"""Jobs: what is done to many deliveries at once."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer

from webhook_service.cli import session
from webhook_service.cli.session import Session
from webhook_service.models import Job, JobStatus

app = typer.Typer(help="List, watch, pause, resume, and cancel jobs.", no_args_is_help=True, rich_markup_mode=None)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
_FIELDS = ("id", "kind", "status", "created_at", "started_at", "ended_at", "error")
_ENDED = frozenset((JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED))
_INTERVAL_SECONDS = 1.0


def show_job(asked: Session, job: Job) -> None:
    """Print a job with its counts."""
    asked.output.fields(job, _FIELDS)
    if not asked.output.is_json:
        counts = job.counts
        asked.output.line(f"{counts.done} of {counts.matched} done, {counts.skipped} skipped, {counts.gone} gone")


def ended(asked: Session, job: Job) -> Job:
    """Return a job once it has ended."""
    while job.status not in _ENDED:
        time.sleep(_INTERVAL_SECONDS)
        job = asked.client.jobs.get(job.id)
    return job


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to list.")] = 50,
) -> None:
    """List jobs, newest first."""
    asked = session.of(context)
    found = asked.client.jobs.list(status=status, limit=min(limit, 100))
    asked.output.rows(("id", "kind", "status", "created_at", "ended_at"), islice(found, limit))


@app.command()
def show(
    context: typer.Context, job_id: JobId, wait: Annotated[bool, typer.Option("--wait", help="Until it ended.")] = False
) -> None:
    """Show a job."""
    asked = session.of(context)
    job = asked.client.jobs.get(job_id)
    show_job(asked, ended(asked, job) if wait else job)


@app.command()
def pause(context: typer.Context, job_id: JobId) -> None:
    """Pause a job."""
    asked = session.of(context)
    show_job(asked, asked.client.jobs.pause(job_id))


@app.command()
def resume(context: typer.Context, job_id: JobId) -> None:
    """Resume a paused job."""
    asked = session.of(context)
    show_job(asked, asked.client.jobs.resume(job_id))


@app.command()
def cancel(context: typer.Context, job_id: JobId) -> None:
    """Cancel a job."""
    asked = session.of(context)
    show_job(asked, asked.client.jobs.cancel(job_id))
