"""Claims for unit tests."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from services.delivery.worker.store import Claim

CLAIM = Claim(
    id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    token=UUID(int=1),
    event_id=UUID("01890a5d-ac96-774b-8cce-b302099a8057"),
    subscription_id=UUID(int=2),
    tenant_id="default",
    event_type="order.created",
    number=1,
    failures=0,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    claimed_at=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
    claimed_monotonic=100.0,
    expired=False,
    deleted=False,
    held_by=None,
    probe=False,
    failing=False,
    timeout_seconds=None,
    retry_policy=None,
    endpoint_version=1,
    target_url="https://receiver.example/hook",
    sealed_secrets=None,
    sealed_headers=None,
    sealed_client_certificate=None,
    content_type="application/json",
    payload_bytes=2,
    payload=b"{}",
)


def claim(**changes: Any) -> Claim:
    """A claim that differs from CLAIM by these."""
    return msgspec.structs.replace(CLAIM, **changes)
