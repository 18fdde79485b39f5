"""Find whose a key is, in Postgres and without a cache, and note in the background that it was used."""

import contextlib
import hmac
import math
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from uuid import UUID

import asyncpg
import structlog

from services.platform import errors
from services.platform.auth import identity, keys
from services.platform.auth.identity import Identity, Portal
from services.platform.auth.roles import Capability, PortalCapability, Role
from services.platform.process import background
from services.platform.process.lifecycle import Process
from services.platform.settings import GrpcServerSettings
from services.platform.stores import postgres, sql

# API keys in Postgres, as those look at them who let callers in.


SQL = sql.Queries("services.platform.auth")
_CAPABILITIES = frozenset(Capability)
_PORTAL_CAPABILITIES = frozenset(PortalCapability)


class KeyStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(self, pool: postgres.Pool) -> None:
        self._pool = pool

    async def find(self, key_hash: bytes) -> Identity:
        """Return the holder of the key with this digest; Unauthenticated if there is none, or it has expired."""
        return _identity(await self._pool.fetchrow(SQL["select_key"], key_hash))

    async def find_by_id(self, key_id: UUID) -> Identity:
        """Return the holder of the key with this id; Unauthenticated if there is none, or it is revoked or expired."""
        return _identity(await self._pool.fetchrow(SQL["select_key_by_id"], key_id))

    async def find_session(self, token_hash: bytes, *, bootstrap_hash: bytes | None) -> Identity:
        """Return the holder of the key of a session; Unauthenticated if there is none, or one of them has ended."""
        row = await self._pool.fetchrow(SQL["select_session"], token_hash)
        if row is None or row["revoked"]:
            raise errors.Unauthenticated("the session has ended; sign in again")
        if row["expired"]:
            raise errors.Unauthenticated(
                "the session has expired; sign in again", reason=errors.ErrorReason.KEY_EXPIRED
            )
        if row["id"] is not None:
            return _identity(row)
        if row["key_hash"] != bootstrap_hash:
            raise errors.Unauthenticated("the session has ended; sign in again")
        return identity.BOOTSTRAP

    async def find_link(
        self, *, token_hash: bytes | None = None, link_id: UUID | None = None, unlisted: Collection[bytes]
    ) -> Identity:
        """Return the holder of a portal link, by its token or by its id; Unauthenticated once it has ended.

        It ends with the key that it was made with: one of the table, or one of those `unlisted`.
        """
        row = await self._pool.fetchrow(SQL["select_portal_link"], token_hash, link_id)
        if row is None or row["revoked"] or (row["key_id"] is None and row["key_hash"] not in unlisted):
            raise errors.Unauthenticated("the portal link has ended; open another one")
        if row["expired"]:
            raise errors.Unauthenticated(
                "the portal link has expired; open another one", reason=errors.ErrorReason.KEY_EXPIRED
            )
        subscriptions = row["subscriptions"]
        portal = Portal(
            capabilities=frozenset(
                PortalCapability(name) for name in row["capabilities"] if name in _PORTAL_CAPABILITIES
            ),
            subscriptions=None if subscriptions is None else frozenset(subscriptions),
        )
        key_id = f"{identity.PORTAL_PREFIX}{row['id']}"
        return Identity(
            tenant_id=row["tenant_id"],
            role=Role.PORTAL,
            key_id=key_id,
            # As often as its key: a link can do no more.
            requests_per_second=row["requests_per_second"],
            portal=portal,
        )

    async def note_used(self, key_ids: Sequence[UUID]) -> None:
        """Record that these keys were used just now."""
        await self._pool.execute(SQL["note_used"], key_ids)


def _identity(row: asyncpg.Record | None) -> Identity:
    if row is None or row["revoked"]:
        raise keys.invalid()
    if row["expired"]:
        raise errors.Unauthenticated("the API key has expired", reason=errors.ErrorReason.KEY_EXPIRED)
    return Identity(
        tenant_id=row["tenant_id"],
        role=Role(row["role"]),
        key_id=str(row["id"]),
        requests_per_second=row["requests_per_second"],
        # One that a later version gives, which is being rolled out, is nothing here.
        capabilities=frozenset(Capability(name) for name in row["capabilities"] if name in _CAPABILITIES),
        pull_subscription_ids=frozenset(row["pull_subscription_ids"]),
    )


# Finds whose a key is, without a cache, and notes in the background that it was used.


log = structlog.get_logger(__name__)

# How exact last_used_at is: each process writes it once in so long for each key.
USED_SECONDS = 60.0
# From a use until it is written, with all others of that time.
NOTE_SECONDS = 1.0


class Finder:
    """Finds the bootstrap key in the settings, and all others in the database, by themselves or by a session."""

    def __init__(self, store: KeyStore, *, bootstrap_key: str, required: bool = True) -> None:
        self._store = store
        self._bootstrap_key = bootstrap_key.encode()
        self._bootstrap_hash = keys.digest(bootstrap_key) if bootstrap_key else None
        # Of callers that are in no table.
        self._unlisted: Mapping[str, bytes] = {
            **({identity.BOOTSTRAP_KEY_ID: self._bootstrap_hash} if self._bootstrap_hash else {}),
            **({} if required else {identity.ANONYMOUS_ID: keys.digest(identity.ANONYMOUS_ID)}),
        }
        self._used: set[UUID] = set()
        # On time.monotonic(), by key.
        self._noted_at: dict[UUID, float] = {}
        self._due = background.Alarm()

    async def find(self, key: str) -> Identity:
        """Return the current holder of a key, or of the token of a session; Unauthenticated if there is none."""
        if keys.may_be_session_token(key):
            return self._used_now(await self._store.find_session(keys.digest(key), bootstrap_hash=self._bootstrap_hash))
        if keys.may_be_portal_token(key):
            return await self._store.find_link(token_hash=keys.digest(key), unlisted=self._unlisted.values())
        if self._bootstrap_key and hmac.compare_digest(key.encode(), self._bootstrap_key):
            return identity.BOOTSTRAP
        if not key.startswith(keys.PREFIX):
            raise keys.invalid()
        return self._used_now(await self._store.find(keys.digest(key)))

    def _used_now(self, found: Identity) -> Identity:
        """Remember that a key was used, unless that was noted of late, and return its holder."""
        if found is not identity.BOOTSTRAP:
            key_id = UUID(found.key_id)
            if time.monotonic() - self._noted_at.get(key_id, -math.inf) >= USED_SECONDS:
                self._used.add(key_id)
                self._due.set(NOTE_SECONDS)
        return found

    def hash_of(self, key_id: str) -> bytes | None:
        """Return the digest that stands for a caller without a row in the table of keys; None for others."""
        return self._unlisted.get(key_id)

    async def find_actor(self, actor: str) -> Identity:
        """Return the holder of the key that a gateway acts for, by its id; Unauthenticated if there is no such key.

        The gateway has had the bootstrap key itself looked up, by ingest.
        """
        if actor == identity.BOOTSTRAP_KEY_ID:
            return identity.BOOTSTRAP
        try:
            key_id = UUID(actor.removeprefix(identity.PORTAL_PREFIX))
        except ValueError:
            raise keys.invalid() from None
        if actor.startswith(identity.PORTAL_PREFIX):
            return await self._store.find_link(link_id=key_id, unlisted=self._unlisted.values())
        return await self._store.find_by_id(key_id)

    async def note(self) -> None:
        """Write down which keys were used, until cancelled. What a failure loses is said again within a minute."""
        await background.repeat(
            self._note_used, interval_seconds=USED_SECONDS, at_once=False, quiet=True, wake=self._due
        )

    async def _note_used(self) -> None:
        now = time.monotonic()
        self._noted_at = {key_id: at for key_id, at in self._noted_at.items() if now - at < USED_SECONDS}
        if self._used:
            used, self._used = self._used, set()
            self._noted_at |= dict.fromkeys(used, now)
            await self._store.note_used(list(used))


@contextlib.asynccontextmanager
async def running(process: Process, settings: GrpcServerSettings, pool: postgres.Pool) -> AsyncIterator[Finder]:
    """Yield a finder that writes uses of keys while the context lasts."""
    finder = Finder(KeyStore(pool), bootstrap_key=settings.bootstrap_admin_key, required=settings.requires_key)
    noting = process.spawn("key_use", finder.note())
    try:
        yield finder
    finally:
        await process.cancel(noting)
