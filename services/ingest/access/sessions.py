"""Sessions of people who signed in with an API key: their rows in Postgres."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.domain.notices import audit
from services.domain.notices.audit import Action
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")

# From the sign-in to the next one: a working day.
SESSION_SECONDS = 12 * 3600
# Of one key; the oldest is deleted first, so that signing in repeatedly fills no table.
MAX_SESSIONS = 100
MAX_USER_AGENT_LENGTH = 256
EXPIRED_CHUNK = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A row of `sessions`, without the digests, and of its key."""

    id: UUID
    tenant_id: str
    # As in identity.Identity.
    key_id: str
    key_name: str
    role: Role
    user_agent: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class SessionStore:
    """Every method raises one of STORE_AWAY when Postgres is away, and writes the audit entry of its change."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def create(self, holder: Identity, *, key_hash: bytes, token_hash: bytes, user_agent: str) -> Session:
        """Store a new session for the holder of a key, by the digest of its token."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await self.insert(
                connection,
                tenant_id=holder.tenant_id,
                actor=holder.key_id,
                key_hash=key_hash,
                token_hash=token_hash,
                user_agent=user_agent,
            )

    async def insert(
        self,
        connection: postgres.Connection,
        *,
        tenant_id: str,
        actor: str,
        key_hash: bytes,
        token_hash: bytes,
        user_agent: str,
        state_hash: bytes | None = None,
    ) -> Session:
        """Store a new session in a transaction; UniqueViolationError if there was one with this state of OIDC."""
        session_id = ids.new()
        shown = "".join(character for character in user_agent if character.isprintable())[:MAX_USER_AGENT_LENGTH]
        arguments = (tenant_id, token_hash, key_hash, shown, SESSION_SECONDS, state_hash)
        await connection.execute(SQL["insert_session"], session_id, *arguments)
        await connection.execute(SQL["delete_older_sessions"], key_hash, MAX_SESSIONS)
        made = _session(await connection.fetchrow(SQL["select_session_by_id"], session_id))
        await audit.record(connection, _of_session(Action.CREATE_SESSION, made), actor=actor)
        return made

    async def by_token(self, token_hash: bytes) -> Session | None:
        """Return a session by the digest of its token, whether it has ended or not."""
        row = await self._pool.fetchrow(SQL["select_session_by_token"], token_hash)
        return None if row is None else _session(row)

    async def page(self, tenant_id: str | None, before: UUID, limit: int) -> list[Session]:
        """Return up to `limit` sessions with ids below `before`, newest first; of all tenants if none is named."""
        return [_session(row) for row in await self._pool.fetch(SQL["select_sessions_page"], tenant_id, before, limit)]

    async def revoke(self, session_id: UUID, *, actor: str | None = None) -> Session:
        """End a session, unless it has ended; by this actor, or by the current caller. Raises NotFound."""
        async with self._pool.acquire() as connection, connection.transaction():
            revoked = await connection.fetchval(SQL["revoke_session"], session_id)
            row = await connection.fetchrow(SQL["select_session_by_id"], session_id)
            if row is None:
                raise errors.NotFound(f"session {session_id} not found")
            found = _session(row)
            if revoked is not None:
                await audit.record(connection, _of_session(Action.REVOKE_SESSION, found), actor=actor)
            return found

    async def delete_expired(self) -> None:
        """Delete sessions that have expired."""
        oldest = ids.least_at(datetime.now(UTC) - timedelta(seconds=SESSION_SECONDS))
        await self._pool.execute(SQL["delete_expired_sessions"], oldest, EXPIRED_CHUNK)


def _session(row: Any) -> Session:
    known = row["key_id"] is not None
    return sql.record(
        Session,
        row,
        key_id=str(row["key_id"]) if known else identity.BOOTSTRAP_KEY_ID,
        key_name=row["key_name"] if known else "",
        role=Role(row["role"]) if known else Role.ADMIN,
    )


def _of_session(action: Action, session: Session) -> audit.Entry:
    return audit.Entry(action=action, tenant_id=session.tenant_id, resource_id=str(session.id))
