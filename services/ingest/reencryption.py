"""Encrypts stored secrets with the first of ENCRYPTION_KEYS: python -m services reencrypt.

Services may be running, and it may be repeated. Exit status 1 when something could not be opened: it stays as it is.
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
    """The settings of the command."""


@dataclass(kw_only=True)
class Report:
    """What was done with the subscriptions that have secrets."""

    rewritten: int = 0
    # Encrypted with the first key already.
    left: int = 0
    unreadable: list[UUID] = field(default_factory=list)


async def reencrypt(connection: postgres.Connection, keys: Keys) -> Report:
    """Rewrite the secrets of every subscription, chunk by chunk, and the canary. Raises CannotOpen with other keys."""
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
    """Add the new values of a row; a value that cannot be opened does not keep the others from being rewritten."""
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


# The secrets of a subscription by the statement that stores them: sealed with the first key, or None if they are so
# already or there are none. Each raises CannotOpen.
_RESEALED: Mapping[str, Callable[[Vault, Any], bytes | None]] = {
    "seal_secrets": lambda vault, row: vault.resealed(row["id"], row["sealed_secrets"]),
    "seal_headers": lambda vault, row: vault.resealed_headers(row["id"], row["sealed_headers"]),
    "seal_verification_secrets": lambda vault, row: vault.resealed_verification(
        row["id"], row["sealed_verification_secrets"]
    ),
    "seal_client_certificates": lambda vault, row: vault.resealed_client_certificate(
        row["id"], row["sealed_client_certificate"]
    ),
}


async def run(settings: ReencryptionSettings) -> Report:
    """Connect, and re-encrypt."""
    keys = Keys.of(settings)
    async with postgres.connection(
        settings, "reencryption", timeout_seconds=postgres.CONNECT_TIMEOUT_SECONDS
    ) as connection:
        return await reencrypt(connection, keys)


def main() -> None:
    """Re-encrypt, and print what was done."""
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
