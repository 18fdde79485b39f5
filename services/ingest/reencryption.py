"""Rewrites what is encrypted under the first of ENCRYPTION_KEYS: python -m services reencrypt.

Safe beside running services, and to repeat. Exit status 1 when something could not be opened: it stays as it is.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.domain.secrets import canary
from services.domain.secrets.encryption import CannotOpen, EncryptionSettings, Keys
from services.domain.secrets.vault import Vault
from services.platform.settings import PostgresSettings, load
from services.platform.stores import postgres, sql
from services.platform.stores.errors import STORE_AWAY

SQL = sql.Queries("services.ingest.subscriptions")
CHUNK = 500
NIL = UUID(int=0)


class ReencryptionSettings(PostgresSettings, EncryptionSettings):
    """What the command reads from the environment."""


@dataclass(kw_only=True)
class Report:
    """What was done of the subscriptions that keep something secret."""

    rewritten: int = 0
    # Under the first key already.
    left: int = 0
    unreadable: list[UUID] = field(default_factory=list)


async def reencrypt(connection: postgres.Connection, keys: Keys) -> Report:
    """Rewrites what every subscription keeps secret, chunk by chunk, and the canary; CannotOpen with other keys."""
    if not await canary.is_known(connection, keys):
        raise CannotOpen("ENCRYPTION_KEYS are not those of this database")
    vault, report, last = Vault(keys), Report(), NIL
    while True:
        async with connection.transaction():
            rows = await connection.fetch(SQL["lock_sealed_secrets"], last, CHUNK)
            fresh: dict[str, dict[UUID, bytes]] = {statement: {} for statement in _RESEALED}
            for row in rows:
                _reseal(vault, row, fresh, report)
            for statement, values in fresh.items():
                await connection.execute(SQL[statement], list(values), list(values.values()))
        report.rewritten += len(set().union(*fresh.values()))
        if not rows:
            break
        last = rows[-1]["id"]
    await connection.execute(SQL["update_canary"], canary.seal(keys))
    return report


def _reseal(vault: Vault, row: Any, fresh: dict[str, dict[UUID, bytes]], report: Report) -> None:
    """Adds what a row is to hold in place of what it does; what cannot be opened keeps nothing else from it."""
    subscription_id: UUID = row["id"]
    unreadable = rewritten = False
    for statement, reseal in _RESEALED.items():
        try:
            sealed = reseal(vault, row)
        except CannotOpen:
            unreadable = True
            continue
        if sealed is not None:
            fresh[statement][subscription_id] = sealed
            rewritten = True
    if unreadable:
        report.unreadable.append(subscription_id)
    elif not rewritten:
        report.left += 1


def _resealed_secrets(vault: Vault, row: Any) -> bytes | None:
    """Those that a version before wrote as they are, too."""
    sealed = vault.sealed(row["id"], row["secret_key"], row["sealed_secrets"])
    if sealed is None:
        return None
    fresh = vault.resealed(row["id"], sealed) or sealed
    return fresh if fresh != row["sealed_secrets"] else None


# What a subscription keeps secret, by the statement that stores it: the same under the first key, or None when it is so
# already, or not there. CannotOpen.
_RESEALED: Mapping[str, Callable[[Vault, Any], bytes | None]] = {
    "seal_secrets": _resealed_secrets,
    "seal_headers": lambda vault, row: vault.resealed_headers(row["id"], row["sealed_headers"]),
    "seal_verification_secrets": lambda vault, row: vault.resealed_verification(
        row["id"], row["sealed_verification_secrets"]
    ),
    "seal_client_certificates": lambda vault, row: vault.resealed_client_certificate(
        row["id"], row["sealed_client_certificate"]
    ),
}


async def run(settings: ReencryptionSettings) -> Report:
    """The same over a connection of its own."""
    keys = Keys.of(settings)
    async with postgres.connection(
        settings, "reencryption", timeout_seconds=postgres.CONNECT_TIMEOUT_SECONDS
    ) as connection:
        return await reencrypt(connection, keys)


def main() -> None:
    """Prints what was done."""
    try:
        report = asyncio.run(run(load(ReencryptionSettings)))
    except (CannotOpen, asyncpg.PostgresError, *STORE_AWAY) as error:
        sys.exit(f"nothing more is re-encrypted: {str(error) or type(error).__name__}")
    sys.stdout.write(f"{report.rewritten} subscriptions re-encrypted, {report.left} were already\n")
    if report.unreadable:
        names = ", ".join(str(subscription_id) for subscription_id in report.unreadable)
        sys.exit(f"{len(report.unreadable)} cannot be opened with any of the keys: {names}")


if __name__ == "__main__":
    main()
