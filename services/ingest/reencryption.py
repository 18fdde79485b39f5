"""Rewrites what is encrypted under the first of ENCRYPTION_KEYS: python -m services reencrypt.

Safe beside running services, and to repeat. Exit status 1 when something could not be opened: it stays as it is.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.domain.secrets import encryption
from services.domain.secrets.encryption import CannotOpen, EncryptionSettings, Keys
from services.domain.secrets.vault import PLACES, Vault
from services.platform.settings import PostgresSettings, load
from services.platform.stores import postgres, sql
from services.platform.stores.availability import STORE_AWAY

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
    """Rewrite what every subscription keeps secret, chunk by chunk, and the canary; CannotOpen with other keys."""
    if not await encryption.opens_canary(connection, keys):
        raise CannotOpen("ENCRYPTION_KEYS do not match this database")
    vault, report, last = Vault(keys), Report(), NIL
    while True:
        async with connection.transaction():
            rows = await connection.fetch(SQL["lock_sealed_secrets"], last, CHUNK)
            resealed = [found for row in rows if (found := _resealed(vault, row, report))]
            if resealed:
                await connection.execute(SQL["reseal"], *map(list, zip(*resealed, strict=True)))
        if not rows:
            break
        last = rows[-1]["id"]
    await connection.execute(SQL["update_canary"], encryption.seal_canary(keys))
    return report


def _resealed(vault: Vault, row: Any, report: Report) -> tuple[UUID | bytes | None, ...] | None:
    """Return what to store for a row, None for what stays as it is; None when all of it does.

    What cannot be opened stays as it is, and keeps nothing else from being rewritten.
    """
    fresh: dict[str, bytes | None] = dict.fromkeys(PLACES)
    unreadable = False
    for column in PLACES:
        try:
            fresh[column] = vault.resealed(row["id"], column, row[column])
        except CannotOpen:
            unreadable = True
    rewritten = any(fresh.values())
    report.rewritten += rewritten
    if unreadable:
        report.unreadable.append(row["id"])
    elif not rewritten:
        report.left += 1
    return (row["id"], *fresh.values()) if rewritten else None


async def run(settings: ReencryptionSettings) -> Report:
    """Do the same over a new connection."""
    keys = Keys.of(settings)
    async with postgres.connection(
        settings, "reencryption", timeout_seconds=postgres.CONNECT_TIMEOUT_SECONDS
    ) as connection:
        return await reencrypt(connection, keys)


def main() -> None:
    """Print what was done."""
    try:
        report = asyncio.run(run(load(ReencryptionSettings)))
    except (CannotOpen, asyncpg.PostgresError, *STORE_AWAY) as error:
        sys.exit(f"re-encryption stopped: {str(error) or type(error).__name__}")
    sys.stdout.write(f"{report.rewritten} subscriptions re-encrypted, {report.left} were already\n")
    if report.unreadable:
        names = ", ".join(str(subscription_id) for subscription_id in report.unreadable)
        sys.exit(f"{len(report.unreadable)} cannot be decrypted with any of the keys: {names}")


if __name__ == "__main__":
    main()
