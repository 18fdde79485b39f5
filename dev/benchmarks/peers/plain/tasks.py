"""Send webhooks: celery --app dev.benchmarks.peers.plain.tasks worker."""

import base64
import functools
import hashlib
import hmac
import os
import time
from typing import Any

import psycopg
import requests
from celery import Celery

TIMEOUT_SECONDS = 15.0
RETRIES = 10
MAX_DELAY_SECONDS = 3_600
FIND = """
    SELECT d.payload, s.target_url, s.secret FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id
    WHERE d.id = %s
"""
LOG = """
    INSERT INTO attempts (delivery_id, number, status_code, error, duration_ms) VALUES (%s, %s, %s, %s, %s)
"""
END = "UPDATE deliveries SET status = %s, completed_at = now() WHERE id = %s"

app = Celery("plain", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    # A task of a worker that was killed is delivered again.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
)


@functools.cache
def _database() -> psycopg.Connection[Any]:
    """Return the connection of this process."""
    return psycopg.connect(os.environ["DATABASE_URL"])


@functools.cache
def _session() -> requests.Session:
    """Return the session of this process, which keeps connections."""
    return requests.Session()


@app.task(bind=True, max_retries=RETRIES)  # type: ignore[untyped-decorator]
def deliver(task: Any, delivery_id: str) -> None:
    """Sign and send a webhook, log the attempt, and repeat it later if it failed."""
    database = _database()
    with database.transaction():
        row = database.execute(FIND, (delivery_id,)).fetchone()
    if row is None:
        return
    body, url, secret = row[0].encode(), row[1], row[2]
    moment = str(int(time.time()))
    signed = hmac.new(secret, f"{delivery_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    began, status, error = time.monotonic(), None, None
    try:
        status = _session().post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS).status_code
    except requests.RequestException as failure:
        error = str(failure)
    succeeded = status is not None and 200 <= status < 300  # noqa: PLR2004 - of HTTP
    last = task.request.retries >= RETRIES
    duration_ms = int(1e3 * (time.monotonic() - began))
    with database.transaction():
        database.execute(LOG, (delivery_id, task.request.retries + 1, status, error, duration_ms))
        if succeeded or last:
            database.execute(END, ("delivered" if succeeded else "failed", delivery_id))
    if not succeeded and not last:
        raise task.retry(countdown=min(2**task.request.retries, MAX_DELAY_SECONDS))
