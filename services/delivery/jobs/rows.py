"""Jobs and their filters as rows have them."""

from typing import Any

from google.protobuf import json_format

from protos.webhook.v1 import deliveries_pb2
from services.delivery.jobs.missed import Only
from services.delivery.jobs.plans import Job
from services.domain.states import JobKind, JobStatus
from services.platform.stores import sql


def filter_of(text: str) -> deliveries_pb2.DeliveryFilter:
    """Return the filter of a job or a preview."""
    return json_format.Parse(text, deliveries_pb2.DeliveryFilter())


def job_of(row: Any) -> Job:
    """Return a job."""
    return sql.record(
        Job,
        row,
        kind=JobKind(row["kind"]),
        status=JobStatus(row["status"]),
        filter=filter_of(row["filter"]),
        only=only_of(row),
    )


def only_of(row: Any) -> Only | None:
    """Return which events a replay is limited to."""
    return None if row["only_events"] is None else Only(row["only_events"])
