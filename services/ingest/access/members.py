"""Members: people who sign in by OpenID Connect. Each has a row among the keys, which no text is the key of.

So a session, a portal link, a rate, and an audit entry of a member are like those of a key, and end with it.
"""

from dataclasses import dataclass

import asyncpg

from services.domain.notices import audit
from services.domain.notices.audit import Action, FieldChange
from services.ingest.access.sessions import Session, SessionStore
from services.platform import errors, ids
from services.platform.auth import keys
from services.platform.auth.roles import Role
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")

# Where keys have their first characters.
PREFIX = "oidc"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A person, as the issuer has just described them, and the role of their group."""

    issuer: str
    # `sub`, which the issuer never gives to another person.
    subject: str
    name: str
    tenant_id: str
    role: Role

    @property
    def digest(self) -> bytes:
        """What the member is found by: it has not the form of a key's."""
        return keys.digest(f"{PREFIX}\n{self.issuer}\n{self.subject}\n{self.tenant_id}")


class MemberStore:
    """Every method raises one of STORE_AWAY when Postgres is away, and writes the audit entry of its change."""

    def __init__(self, pool: postgres.Pool, sessions: SessionStore) -> None:
        self._pool = pool
        self._sessions = sessions

    async def sign_in(self, member: Member, *, state: str, token_hash: bytes, user_agent: str) -> Session:
        """Start a session of a member, whose role and name become what they are now.

        What the member had with another role, or in another tenant, ends. Unauthenticated if this state was used
        before, or an operator has revoked the member; PermissionDenied if there is no such tenant.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await self._row(connection, member)
            try:
                return await self._sessions.insert(
                    connection,
                    tenant_id=member.tenant_id,
                    actor=str(row["id"]),
                    key_hash=member.digest,
                    token_hash=token_hash,
                    user_agent=user_agent,
                    state_hash=keys.digest(state),
                )
            except asyncpg.UniqueViolationError:
                raise errors.Unauthenticated("this sign-in was completed before; sign in again") from None

    async def _row(self, connection: postgres.Connection, member: Member) -> asyncpg.Record:
        """Return the row of a member, locked, and as the issuer describes it now."""
        made = await connection.fetchrow(
            SQL["insert_member"],
            ids.new(),
            member.tenant_id,
            member.digest,
            PREFIX,
            member.name,
            member.role,
            member.subject,
        )
        if made is not None:
            changes = [FieldChange(field="name", after=member.name), FieldChange(field="role", after=member.role)]
            await audit.record(connection, _entry(Action.CREATE_API_KEY, made, changes), actor=str(made["id"]))
            await connection.execute(SQL["end_other_memberships"], member.subject, made["id"])
            return made
        row = await connection.fetchrow(SQL["lock_member"], member.digest)
        if row is None:
            message = f"tenant {member.tenant_id} of your group does not exist; ask an operator"
            raise errors.PermissionDenied(message, reason=errors.ErrorReason.ROLE_INSUFFICIENT)
        if row["revoked_at"] is not None:
            raise errors.Unauthenticated("an operator has revoked your access")
        after = {"name": member.name, "role": str(member.role)}
        changes = [
            FieldChange(field=field, before=row[field], after=value)
            for field, value in after.items()
            if row[field] != value
        ]
        if changes:
            await connection.execute(SQL["update_member"], row["id"], member.name, member.role)
            await audit.record(connection, _entry(Action.UPDATE_API_KEY, row, changes), actor=str(row["id"]))
        if row["role"] != member.role:
            await connection.execute(SQL["end_member"], member.digest)
        await connection.execute(SQL["end_other_memberships"], member.subject, row["id"])
        return row


def _entry(action: Action, row: asyncpg.Record, changes: list[FieldChange]) -> audit.Entry:
    return audit.Entry(action=action, tenant_id=row["tenant_id"], resource_id=str(row["id"]), changes=changes)
