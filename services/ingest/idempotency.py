"""Idempotency keys: the same key and request get the same answer, and make one object.

The key is written in the transaction that makes the object. Who loses the race for a key reads, in a
second statement, what the winner committed.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.common import errors, postgres, sql

SQL = sql.Queries("services.ingest")
EXPIRED_CHUNK = 10_000
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A caller's key, where it holds, and the digest of what was sent with it."""

    tenant_id: str
    route: str
    key: str
    request_hash: bytes

    @property
    def scope(self) -> tuple[str, str, str]:
        """What is unique."""
        return self.tenant_id, self.route, self.key


def key_of(tenant_id: str, route: str, key: str, *request: bytes) -> Key:
    """The key of a request, made of these parts; InvalidArgument for one that cannot be."""
    if not _KEY.fullmatch(key):
        raise errors.InvalidArgument.field("idempotency_key", "must be 1 to 255 printable ASCII characters")
    digest = hashlib.sha256()
    for part in request:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Key(tenant_id=tenant_id, route=route, key=key, request_hash=digest.digest())


async def take(connection: postgres.Connection, keyed: Sequence[tuple[UUID, Key, bytes]], *, hours: int) -> set[UUID]:
    """Takes the keys that are free for these objects, each with the answer to keep; the objects that won theirs.

    No key may stand in one call twice. Waits for a transaction that is taking the same key.
    """
    rows = await connection.fetch(
        SQL["take_keys"],
        [key.tenant_id for _, key, _ in keyed],
        [key.route for _, key, _ in keyed],
        [key.key for _, key, _ in keyed],
        [object_id for object_id, _, _ in keyed],
        [key.request_hash for _, key, _ in keyed],
        [answer for _, _, answer in keyed],
        hours,
    )
    return {row["object_id"] for row in rows}


async def give_back(connection: postgres.Connection, keys: Sequence[Key]) -> None:
    """Forgets keys that were taken in this transaction and whose object was refused."""
    await connection.execute(SQL["give_back_keys"], *_columns(keys))


async def winners(
    connection: postgres.Pool | postgres.Connection, keys: Sequence[Key]
) -> list[bytes | errors.WebhookError]:
    """What the calls that won these keys were answered; Conflict where they had sent something else."""
    rows = await connection.fetch(SQL["select_winners"], *_columns(keys))
    found = {(row["tenant_id"], row["route"], row["key"]): row for row in rows}
    results: list[bytes | errors.WebhookError] = []
    for key in keys:
        row = found.get(key.scope)
        if row is None:
            results.append(errors.Unavailable("the first call with this idempotency key was undone; try again"))
        elif row["request_hash"] != key.request_hash:
            message = "this idempotency key was used with another request; a new request needs a new key"
            results.append(errors.Conflict(message, reason="IDEMPOTENCY_KEY_REUSED"))
        else:
            results.append(row["response"])
    return results


async def delete_expired(pool: postgres.Pool) -> int:
    """Deletes keys that are past their time, chunk by chunk; answers how many."""
    total = 0
    while deleted := await pool.fetchval(SQL["delete_expired_keys"], EXPIRED_CHUNK):
        total += deleted
    return total


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str], list[str]]:
    return [key.tenant_id for key in keys], [key.route for key in keys], [key.key for key in keys]
