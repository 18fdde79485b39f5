"""Accept webhooks: uvicorn dev.benchmarks.peers.plain.app:app."""

import json
import os
from typing import Any
from uuid import UUID

from fastapi import FastAPI, HTTPException
from psycopg_pool import ConnectionPool
from pydantic import BaseModel

from dev.benchmarks.peers.plain.tasks import deliver

app = FastAPI()
pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=2, max_size=10, open=True)
STORE = """
    INSERT INTO deliveries (subscription_id, payload) SELECT id, %s FROM subscriptions WHERE id = %s RETURNING id
"""


class Webhook(BaseModel):
    """What is sent."""

    payload: dict[str, Any]


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """Return that it runs."""
    return {"status": "ok"}


@app.post("/api/v1/webhooks/ingest/{subscription}", status_code=202)
def ingest(subscription: UUID, webhook: Webhook) -> dict[str, str]:
    """Commit the webhook, and hand it to a worker."""
    body = json.dumps(webhook.payload, separators=(",", ":"))
    with pool.connection() as connection:
        row = connection.execute(STORE, (body, subscription)).fetchone()
    if row is None:
        raise HTTPException(404)
    deliver.delay(str(row[0]))
    return {"id": str(row[0]), "status": "pending"}
