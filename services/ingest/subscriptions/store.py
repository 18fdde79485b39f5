"""Subscriptions in Postgres. What changes one tells the audit log in the same transaction."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.domain import deliveries, endpoint_tests, idempotency, subscriptions
from services.domain.deliveries import Destination
from services.domain.egress import targets
from services.domain.idempotency import Key
from services.domain.notices import audit, operational_facts
from services.domain.notices.audit import Action, FieldChange
from services.domain.notices.operational_facts import EventType, Fact
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.vault import NONE, Secret, Vault
from services.domain.states import StatusReason, SubscriptionChange, SubscriptionState
from services.ingest.quotas.store import check_subscriptions
from services.ingest.subscriptions import changes as field_changes
from services.ingest.subscriptions import secrets as signing_secrets
from services.ingest.subscriptions.changes import Rotation, StatusChange
from services.ingest.subscriptions.labels import Labels
from services.ingest.subscriptions.matching import Filter
from services.ingest.subscriptions.record import (
    CLIENT_CERTIFICATE,
    HEADERS,
    SECRET_KEY,
    TEMPLATE_SECRETS,
    VERIFICATION_SECRETS,
    Breaker,
    Check,
    Draft,
    Shown,
    Spec,
    Subscription,
)
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.subscriptions")
CANCEL_CHUNK = 5_000
# Subscriptions that are looked at for a page of those with certain metadata.
LOOKED_AT = 20_000
# With another target, these are to be checked before there are more deliveries.
_SENDING = frozenset({SubscriptionState.ACTIVE, SubscriptionState.UNVERIFIED})
# Of a subscription, what its test event takes.
_TESTED = (
    *("target_url", "timeout_seconds", "template"),
    *("sealed_secrets", "sealed_headers", "sealed_client_certificate", "sealed_template_secrets"),
)
# What a subscription may not have because another one of its tenant has it, by the index that sees to it.
_TAKEN: Mapping[str, errors.Conflict] = {
    "subscriptions_system": errors.Conflict(
        "the tenant has a system subscription already; update that one, or delete it first",
        reason=errors.ErrorReason.SYSTEM_SUBSCRIPTION_EXISTS,
    ),
    "subscriptions_named": errors.Conflict(
        "name: another subscription of the tenant has this name; names are unique",
        reason=errors.ErrorReason.NAME_TAKEN,
    ),
}

# Makes an update of the stored subscription and of its headers, which are opened when asked for; None changes nothing.
UpdateOf: TypeAlias = Callable[[Subscription, Callable[[], Mapping[str, str]]], Draft | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """Filters that were read, and when."""

    # Postgres' time before they were read, and when this server was started.
    now: datetime
    server_started: datetime
    # When the last of them was written.
    changed_to: datetime | None
    filters: Sequence[Filter]

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Looked | None":
        """Return what the rows of a tenant say: one with a null id if there is nothing, none if there is no tenant."""
        if not rows:
            return None
        filters = [Filter.of_row(row) for row in rows if row["id"] is not None]
        last = rows[-1]
        return cls(
            now=last["now"], server_started=last["server_started"], changed_to=last["updated_at"], filters=filters
        )


class SubscriptionStore:
    """Every method raises what stores.availability.STORE_AWAY lists when Postgres is away."""

    def __init__(
        self, pool: postgres.Pool, vault: Vault, *, key_hours: int, quota: int, checks_endpoints: bool = False
    ) -> None:
        self._pool = pool
        # Whether a target that has not answered a challenge gets no deliveries.
        self._checks_endpoints = checks_endpoints
        self._vault = vault
        self._key_hours = key_hours
        # Of a tenant that has no quota of its own.
        self._quota = quota

    async def create_subscription(
        self,
        subscription_id: UUID,
        tenant_id: str,
        draft: Draft,
        render: Callable[[Subscription], bytes],
        key: Key | None = None,
    ) -> tuple[Subscription | None, bytes]:
        """Store a new subscription; InvalidArgument if there is no such tenant. See idempotency.once."""

        async def insert(connection: postgres.Connection) -> Subscription:
            return await self._insert(connection, subscription_id, tenant_id, draft)

        return await idempotency.once(self._pool, key, subscription_id, insert, render, hours=self._key_hours)

    async def test_new(self, test_id: UUID, tenant_id: str, draft: Draft) -> None:
        """Have a test event sent to the target of a subscription that is not created, and note who did.

        Raises what endpoint_tests.admit raises; InvalidArgument if there is no such tenant.
        """
        columns = self._columns(test_id, draft)
        asked = {name: columns[name] for name in _TESTED}
        statement = sql.with_columns(SQL["insert_test"], asked, before=3)
        async with self._pool.acquire() as connection, connection.transaction():
            await endpoint_tests.admit(connection, tenant_id, None)
            actor = identity.CALLER.get().key_id
            if not await connection.fetchval(statement, test_id, tenant_id, actor, *asked.values()):
                raise no_tenant()
            target = FieldChange(field="target_url", after=field_changes.origin(draft.target_url))
            entry = audit.Entry(
                action=Action.TEST_NEW_SUBSCRIPTION, tenant_id=tenant_id, resource_id=str(test_id), changes=[target]
            )
            await audit.record(connection, entry)

    async def subscription(self, subscription_id: UUID) -> Subscription | None:
        """Return a live subscription of any tenant, without its breaker, which accepting events does not need."""
        row = await self._pool.fetchrow(SQL["select_subscription"], subscription_id)
        return self._subscription(row) if row else None

    async def shown(self, tenant_id: str, subscription_id: UUID) -> Shown:
        """Return a subscription with its breaker; NotFound if there is none."""
        return await self._shown(self._pool, tenant_id, subscription_id)

    async def subscriptions_page(self, tenant_id: str | None, before: UUID, limit: int) -> list[Shown]:
        """Return up to `limit` subscriptions of a tenant, or of all, with ids below `before`, newest first."""
        if tenant_id is None:
            rows = await self._pool.fetch(SQL["select_all_subscriptions_page"], before, limit)
        else:
            rows = await self._pool.fetch(SQL["select_subscriptions_page"], tenant_id, before, limit)
        return [self._shown_row(row) for row in rows]

    async def of_ids(self, tenant_id: str, subscription_ids: Collection[UUID]) -> list[Shown]:
        """Return those of some subscriptions that the tenant has, newest first."""
        rows = await self._pool.fetch(SQL["select_subscriptions_of"], tenant_id, list(subscription_ids))
        return [self._shown_row(row) for row in rows]

    async def labelled_page(
        self, tenant_id: str, labels: Labels, before: UUID, limit: int
    ) -> tuple[list[Shown], UUID | None]:
        """Return up to `limit` subscriptions of a tenant that have these labels and ids below `before`, newest first.

        And below which id there may be more; None if there are none. So many are looked at that a page may be short.
        """
        more: UUID | None = None
        if labels.name is not None:
            rows = await self._pool.fetch(SQL["select_named"], tenant_id, labels.name, before, labels.metadata)
            found = [row["id"] for row in rows]
        else:
            rows = await self._pool.fetch(
                SQL["select_with_metadata"], tenant_id, before, LOOKED_AT, limit + 1, labels.metadata
            )
            found = [row["id"] for row in rows[:limit]]
            if len(rows) > limit:
                more = found[-1]
            else:
                more = await self._pool.fetchval(SQL["select_last_looked_at"], tenant_id, before, LOOKED_AT)
        rows = await self._pool.fetch(SQL["select_subscriptions_of"], tenant_id, found)
        return [self._shown_row(row) for row in rows], more

    async def filters_page(self, tenant_id: str, after: UUID, limit: int) -> Looked | None:
        """Return up to `limit` live subscriptions of a tenant with ids above `after`, in their order.

        None if there is no such tenant.
        """
        return Looked.of(await self._pool.fetch(SQL["select_filters_page"], tenant_id, after, limit))

    async def changed_filters(self, tenant_id: str, since: datetime, after: UUID, limit: int) -> Looked | None:
        """Return up to `limit` that were written after this time, or at it with a higher id, and deleted ones."""
        return Looked.of(await self._pool.fetch(SQL["select_changed_filters"], tenant_id, since, after, limit))

    async def filters_of(self, tenant_id: str, subscription_ids: Sequence[UUID]) -> Looked | None:
        """Return these subscriptions of a tenant, and deleted ones."""
        return Looked.of(await self._pool.fetch(SQL["select_filters_of"], tenant_id, subscription_ids))

    async def targets_wanting(self, tenant_id: str, entries: Sequence[str], limit: int | None) -> list[Filter]:
        """Return up to `limit` subscriptions that have one of these entries, or none and so want every event.

        InvalidArgument if there is no such tenant.
        """
        rows = await self._pool.fetch(SQL["select_targets_wanting"], tenant_id, entries, limit)
        if not rows:
            raise no_tenant()
        return [Filter.of_row(row) for row in rows if row["id"] is not None]

    async def update_subscription(
        self, tenant_id: str, subscription_id: UUID, update_of: UpdateOf, etags: Sequence[str]
    ) -> tuple[Shown, bool]:
        """Change a subscription by what `update_of` makes of the stored one, and say whether that changed anything.

        Raise InvalidArgument when the update does not fit what is stored, Outdated when its etag is none of `etags`,
        Conflict when another subscription has the name, NotFound.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            before, row = await self._locked(connection, tenant_id, subscription_id)
            _check_etag(before, etags)
            draft = update_of(before, lambda: self._stored_headers(row))
            if draft is None:
                return await self._shown(connection, tenant_id, subscription_id), False
            if not targets.same(before.target_url, draft.target_url):
                await connection.execute(SQL["begin_endpoint"], subscription_id)
                if self._checks_endpoints and before.status in _SENDING:
                    await connection.execute(SQL["set_status"], subscription_id, SubscriptionState.UNVERIFIED, None)
                    await connection.execute(SQL["ask_for_check"], subscription_id, tenant_id)
            columns = self._columns(subscription_id, draft)
            if draft.filter != before.filter:
                columns["filter_stopped_at"] = None
            statement = sql.with_columns(SQL["update_subscription"], columns, before=1)
            with _refuses_what_is_taken():
                row = await connection.fetchrow(statement, subscription_id, *columns.values())
            updated = self._subscription(row)
            changes = field_changes.field_changes(before, updated, replaced=draft.replaced)
            if updated.status is not before.status:
                changes.append(FieldChange(field="status", before=before.status, after=updated.status))
            await _tell(connection, Action.UPDATE_SUBSCRIPTION, updated, changes)
            return self._shown_row(row), True

    async def rotate_secret(
        self,
        tenant_id: str,
        subscription_id: UUID,
        rotation: Rotation,
        render: Callable[[tuple[Shown, Secret]], bytes],
        *,
        overlap: timedelta,
        key: Key | None = None,
    ) -> tuple[tuple[Shown, Secret] | None, bytes]:
        """Replace the secret and return it; the old ones stay valid for at most the overlap. See idempotency.once.

        InvalidArgument if it conflicts with other fields of the subscription; Conflict if there are too many old
        secrets, or they cannot be decrypted; NotFound.
        """

        async def rotate(connection: postgres.Connection) -> tuple[Shown, Secret]:
            before, row = await self._locked(connection, tenant_id, subscription_id)
            new_one = rotation.of(before, self._vault)
            try:
                kept = before.sealed_secrets
                secrets = NONE if kept is None else self._vault.opened(subscription_id, kept)
            except CannotOpen:
                raise errors.Conflict(
                    "the subscription's secrets cannot be decrypted; update it with a new secret_key",
                    reason=errors.ErrorReason.SECRET_UNREADABLE,
                ) from None
            rotated = signing_secrets.rotated(secrets, new_one, now=row["now"], overlap=overlap)
            sealed = self._vault.seal(subscription_id, rotated)
            await connection.execute(SQL["set_secrets"], subscription_id, sealed, new_one.scheme)
            shown = await self._shown(connection, tenant_id, subscription_id)
            changes = field_changes.field_changes(before, shown[0], replaced=["secret_key"])
            await _tell(connection, Action.ROTATE_SECRET, shown[0], changes)
            return shown, new_one

        return await idempotency.once(self._pool, key, ids.new(), rotate, render, hours=self._key_hours)

    async def set_ingest_token(
        self, tenant_id: str, subscription_id: UUID, token_hash: bytes | None, key: Key | None = None
    ) -> Subscription | None:
        """Replace the ingest token with one of this hash, or remove it; NotFound if there is no subscription.

        Return None if the key was used before: then the token stays as it is.
        """
        action = Action.DELETE_INGEST_TOKEN if token_hash is None else Action.CREATE_INGEST_TOKEN

        async def change(connection: postgres.Connection) -> Subscription:
            row = await connection.fetchrow(SQL["set_ingest_token"], tenant_id, subscription_id, token_hash)
            if row is None:
                raise no_subscription(subscription_id)
            changed = self._subscription(row)
            await _tell(connection, action, changed, [FieldChange(field="ingest_token")])
            return changed

        hours = self._key_hours
        changed, _ = await idempotency.once(self._pool, key, ids.new(), change, lambda _: b"", hours=hours)
        return changed

    async def change_status(self, tenant_id: str, subscription_id: UUID, change: StatusChange) -> tuple[Shown, bool]:
        """Change a subscription's status, and return whether that changed anything.

        Conflict if the status does not allow the change; NotFound if there is no subscription.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["lock_status"], tenant_id, subscription_id)
            if row is None:
                raise no_subscription(subscription_id)
            before = SubscriptionState(row["status"])
            after = change.of(before, must_verify=self._checks_endpoints and not row["verified"])
            checks = change.change is SubscriptionChange.CHECK and after is SubscriptionState.UNVERIFIED
            if after is before and not checks:
                return await self._shown(connection, tenant_id, subscription_id), False
            reason = StatusReason.MANUAL if after is SubscriptionState.DISABLED else None
            if after is not before:
                await connection.execute(SQL["set_status"], subscription_id, after, reason)
            if after is SubscriptionState.UNVERIFIED:
                await connection.execute(SQL["ask_for_check"], subscription_id, tenant_id)
            if change.change is SubscriptionChange.ENABLE:  # what is known of its failures is forgotten
                await connection.execute(SQL["reset_health"], subscription_id)
            if after is SubscriptionState.DISABLED:
                fact = Fact(subscription_id=subscription_id, event_type=EventType.DISABLED, reason=reason)
                await operational_facts.note(connection, fact)
            shown = await self._shown(connection, tenant_id, subscription_id)
            changes = [] if checks else [FieldChange(field="status", before=before, after=after)]
            await _tell(connection, change.action, shown[0], changes)
            return shown, True

    async def stop_filter(self, tenant_id: str, subscription_id: UUID, text: str) -> Subscription | None:
        """Stop a filter that is too slow, and return the subscription; None if it is another one by now."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["stop_filter"], tenant_id, subscription_id, text)
            if row is None:
                return None
            stopped = self._subscription(row)
            reason = stopped.filter_on_error
            fact = Fact(subscription_id=subscription_id, event_type=EventType.FILTER_STOPPED, reason=reason)
            await operational_facts.note(connection, fact)
            return stopped

    async def delete_subscription(self, tenant_id: str, subscription_id: UUID, etags: Sequence[str] = ()) -> int:
        """Mark a subscription deleted and return its new version.

        Raise Outdated when its etag is none of `etags`, NotFound.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            before, _ = await self._locked(connection, tenant_id, subscription_id)
            _check_etag(before, etags)
            version = (await subscriptions.delete(connection, [subscription_id]))[subscription_id]
            changes = [FieldChange(field="target_url", before=field_changes.origin(before.target_url))]
            await _tell(connection, Action.DELETE_SUBSCRIPTION, before, changes)
            return version

    async def cancel_waiting(self, subscription_id: UUID) -> int:
        """Cancel the waiting deliveries of a deleted subscription in chunks, and return how many.

        If this ends early, the dispatcher cancels the rest.
        """
        return await deliveries.cancel_waiting(self._pool, subscription_id, limit=CANCEL_CHUNK)

    async def delete_expired_keys(self) -> int:
        """Delete expired idempotency keys, and return how many."""
        return await idempotency.delete_expired(self._pool)

    async def _insert(
        self, connection: postgres.Connection, subscription_id: UUID, tenant_id: str, draft: Draft
    ) -> Subscription:
        await check_subscriptions(connection, tenant_id, default=self._quota)
        columns = self._columns(subscription_id, draft)
        # What consumers pull goes to no target that could answer a challenge.
        pulled = draft.destination is Destination.PULL
        columns["verified"] = pulled
        checks = self._checks_endpoints and not pulled
        if checks:
            columns["status"] = SubscriptionState.UNVERIFIED
        statement = sql.with_columns(SQL["insert_subscription"], columns, before=2)
        with _refuses_what_is_taken():
            row = await connection.fetchrow(statement, subscription_id, tenant_id, *columns.values())
        if row is None:
            raise no_tenant()
        if checks:
            await connection.execute(SQL["ask_for_check"], subscription_id, tenant_id)
        made = self._subscription(row)
        await _tell(connection, Action.CREATE_SUBSCRIPTION, made, field_changes.field_changes_of_new(made))
        return made

    async def _locked(
        self, connection: postgres.Connection, tenant_id: str, subscription_id: UUID
    ) -> tuple[Subscription, Any]:
        """Return a subscription as it stays for this transaction, and its row with the time (`now`)."""
        row = await connection.fetchrow(SQL["lock_subscription"], tenant_id, subscription_id)
        if row is None:
            raise no_subscription(subscription_id)
        return self._subscription(row), row

    def _stored_headers(self, row: Any) -> Mapping[str, str]:
        try:
            return self._vault.headers(row["id"], row["sealed_headers"])
        except CannotOpen:
            message = "the stored headers cannot be decrypted; replace all of them with a PUT, or set headers to null"
            raise errors.Conflict(message, reason=errors.ErrorReason.SECRET_UNREADABLE) from None

    def _columns(self, subscription_id: UUID, draft: Draft) -> dict[str, Any]:
        """Return what to store by column: the spec, and what is secret where it is replaced."""
        columns = {name: getattr(draft, name) for name in Spec.__struct_fields__}
        if SECRET_KEY in draft.replaced:
            secret = draft.secret_key
            given = [] if secret is None else [Secret(secret, scheme=draft.signature_scheme)]
            columns["sealed_secrets"] = self._vault.seal(subscription_id, given) if given else None
        if HEADERS in draft.replaced:
            columns["sealed_headers"] = self._vault.seal_headers(subscription_id, draft.headers)
            columns["header_names"] = sorted(draft.headers, key=str.lower)
        if VERIFICATION_SECRETS in draft.replaced:
            sealed = self._vault.seal_verification(subscription_id, draft.verification_secrets)
            columns["sealed_verification_secrets"] = sealed
        if TEMPLATE_SECRETS in draft.replaced:
            columns["sealed_template_secrets"] = self._vault.seal_template_secrets(
                subscription_id, draft.template_secrets
            )
            columns["template_secret_names"] = sorted(draft.template_secrets)
        if CLIENT_CERTIFICATE in draft.replaced:
            certificate = draft.client_certificate
            pem = None if certificate is None else certificate.pem
            columns["sealed_client_certificate"] = self._vault.seal_client_certificate(subscription_id, pem)
            columns["client_certificate"] = None if certificate is None else certificate.facts.text
        return columns

    async def _shown(
        self, connection: postgres.Pool | postgres.Connection, tenant_id: str, subscription_id: UUID
    ) -> Shown:
        row = await connection.fetchrow(SQL["select_subscription_with_breaker"], tenant_id, subscription_id)
        if row is None:
            raise no_subscription(subscription_id)
        return self._shown_row(row)

    def _shown_row(self, row: Any) -> Shown:
        return Shown(self._subscription(row), Breaker.from_row(row), Check.from_row(row))

    def _subscription(self, row: Any) -> Subscription:
        return Subscription.from_row(row)


@contextlib.contextmanager
def _refuses_what_is_taken() -> Iterator[None]:
    """Raise Conflict for what another subscription of the tenant has and only one may have."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        taken = _TAKEN.get(error.constraint_name or "")
        if taken is None:
            raise
        raise errors.Conflict(taken.message, reason=taken.reason) from None


def _check_etag(subscription: Subscription, etags: Sequence[str]) -> None:
    if etags and subscription.etag not in etags:
        raise errors.Outdated(f'the subscription was changed since it was read; its ETag is now "{subscription.etag}"')


async def _tell(
    connection: postgres.Connection, action: Action, subscription: Subscription, changes: Sequence[FieldChange]
) -> None:
    entry = audit.Entry(
        action=action, tenant_id=subscription.tenant_id, resource_id=str(subscription.id), changes=changes
    )
    await audit.record(connection, entry)


def no_subscription(subscription_id: UUID) -> errors.NotFound:
    """Return the error for an unknown, deleted, or foreign subscription."""
    return errors.NotFound(f"subscription {subscription_id} not found")


def no_tenant() -> errors.InvalidArgument:
    """Return the error for a request that states an unknown or deleted tenant."""
    return errors.InvalidArgument.field("tenant_id", "tenant not found")
