"""Idempotency keys: repeated requests with the same key get the same response and create one object.

The key is written in the transaction that makes the object. A request that loses the race for a key waits a moment for
the winner, and reads in a second statement what that committed.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from services.domain import events
from services.platform import errors
from services.platform.settings import Hours, Settings
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.domain")
EXPIRED_CHUNK = 10_000
# How long a request waits for another with the same key: a commit takes milliseconds, and accepting has a deadline.
WAIT_SECONDS = 0.25

# In place of the digest of a request whose event was erased. A repetition gets the first answer, and stores nothing.
_ERASED = b""

Made = TypeVar("Made")


class IdempotencySettings(Settings):
    """What those who take keys agree on."""

    # How long an Idempotency-Key is remembered.
    idempotency_key_hours: Hours = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A caller's key, its scope, and the digest of the request."""

    tenant_id: str
    route: str
    key: str
    request_hash: bytes

    @property
    def scope(self) -> tuple[str, str, str]:
        """Return what must be unique."""
        return self.tenant_id, self.route, self.key


def key_of(tenant_id: str, route: str, key: str, *request: bytes) -> Key:
    """Return the key of a request, which is made of these parts. Raises InvalidArgument for an invalid key."""
    if not events.is_valid_text(key):
        raise errors.InvalidArgument.field("idempotency_key", events.TEXT_EXPECTED)
    digest = hashlib.sha256()
    for part in request:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Key(tenant_id=tenant_id, route=route, key=key, request_hash=digest.digest())


def key_of_request(tenant_id: str, route: str, request: Message) -> Key | None:
    """Return the key in the field `idempotency_key` of a request, with a digest of the others; None without one."""
    key: str = getattr(request, "idempotency_key")  # noqa: B009 - those that are given have it
    if not key:
        return None
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("idempotency_key")
    return key_of(tenant_id, route, key, asked.SerializeToString(deterministic=True))


def in_use() -> errors.IdempotencyKeyInUse:
    """Return the error for a key whose first request is still running."""
    return errors.IdempotencyKeyInUse("the first request with this idempotency key is still running; try again")


async def once(
    pool: postgres.Pool,
    key: Key | None,
    object_id: UUID,
    make: Callable[[postgres.Connection], Awaitable[Made]],
    render: Callable[[Made], bytes],
    *,
    hours: int,
) -> tuple[Made | None, bytes]:
    """Make something in one transaction with its key; `render` makes the response that is kept. Return both.

    Return None and the first response if the key was used before; InvalidArgument if it was used for another request,
    IdempotencyKeyInUse while that request is still running. Without a key it is made in any case.
    """
    async with pool.acquire() as connection:
        if key is None:
            async with connection.transaction():
                made = await make(connection)
            return made, render(made)
        transaction = connection.transaction()
        await transaction.start()
        won: set[UUID] = set()
        refused: errors.WebhookError | None = None
        try:
            made = await make(connection)
            answer = render(made)
            won = await take(connection, [(object_id, key, answer)], hours=hours)
        except (errors.Conflict, errors.NotFound) as error:
            refused = error  # perhaps with what this very key made, or because of what it used up
        except asyncpg.LockNotAvailableError:
            await transaction.rollback()
            raise in_use() from None
        except BaseException:
            await transaction.rollback()
            raise
        if won:
            await transaction.commit()
            return made, answer
        await transaction.rollback()
        (first,) = await winners(connection, [key])
        if refused is not None and isinstance(first, errors.Unavailable):
            raise refused
        if isinstance(first, errors.WebhookError):
            raise first
        return None, first


async def take(
    connection: postgres.Connection,
    keyed: Sequence[tuple[UUID, Key, bytes]],
    *,
    hours: int,
    wait_seconds: float = WAIT_SECONDS,
) -> set[UUID]:
    """Take the keys that are free for these objects, each with the answer to keep; return the objects that won theirs.

    No key may appear in one call twice. Waits for a transaction that is taking the same key; LockNotAvailableError,
    which ends this transaction, when that takes longer than `wait_seconds`.
    """
    won = await connection.fetchval(
        SQL["take_keys"],
        [key.tenant_id for _, key, _ in keyed],
        [key.route for _, key, _ in keyed],
        [key.key for _, key, _ in keyed],
        [object_id for object_id, _, _ in keyed],
        [key.request_hash for _, key, _ in keyed],
        [answer for _, _, answer in keyed],
        hours,
        f"{wait_seconds * 1000:.0f}ms",
    )
    return set(won or ())


async def give_back(connection: postgres.Connection, keys: Sequence[Key]) -> None:
    """Release keys that were taken in this transaction and whose object was refused."""
    await connection.execute(SQL["give_back_keys"], *_columns(keys))


async def winners(
    connection: postgres.Pool | postgres.Connection, keys: Sequence[Key]
) -> list[bytes | errors.WebhookError]:
    """Return what the calls that won these keys were answered; InvalidArgument where they had sent something else."""
    rows = await connection.fetch(SQL["select_winners"], *_columns(keys))
    found = {(row["tenant_id"], row["route"], row["key"]): row for row in rows}
    results: list[bytes | errors.WebhookError] = []
    for key in keys:
        row = found.get(key.scope)
        if row is None:
            results.append(errors.Unavailable("the first request with this idempotency key was rolled back; try again"))
        elif row["request_hash"] not in (key.request_hash, _ERASED):
            message = "this idempotency key was used with a different request; use a new key"
            results.append(errors.InvalidArgument(message, reason=errors.ErrorReason.IDEMPOTENCY_KEY_REUSED))
        else:
            results.append(row["response"])
    return results


async def first(pool: postgres.Pool, key: Key) -> bytes | None:
    """Return the response to the request that used a key, or None; InvalidArgument if that was another request."""
    (found,) = await winners(pool, [key])
    if isinstance(found, errors.InvalidArgument):
        raise found
    return found if isinstance(found, bytes) else None


async def delete_expired(pool: postgres.Pool) -> int:
    """Delete expired keys, chunk by chunk, and return how many."""
    total = 0
    while deleted := await pool.fetchval(SQL["delete_expired_keys"], EXPIRED_CHUNK):
        total += deleted
    return total


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str], list[str]]:
    return [key.tenant_id for key in keys], [key.route for key in keys], [key.key for key in keys]
