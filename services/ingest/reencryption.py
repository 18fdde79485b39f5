"""Rewrites what is encrypted under the first of ENCRYPTION_KEYS: python -m services reencrypt.

Safe beside running services, and to repeat. Exit status 1 when something could not be opened: it stays as it is.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from services.common import canary, errors, postgres, sql
from services.common.encryption import CannotOpen, Keys
from services.common.encryption_keys import EncryptionSettings
from services.common.settings import PostgresSettings, load
from services.common.vault import Vault

SQL = sql.Queries("services.ingest")
CHUNK = 500
NIL = UUID(int=0)


class ReencryptionSettings(PostgresSettings, EncryptionSettings):
    """What the command reads from the environment."""


@dataclass(kw_only=True)
class Report:
    """What was done of the subscriptions that have secrets, headers or a client certificate."""

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
            secrets: dict[UUID, bytes] = {}
            headers: dict[UUID, bytes] = {}
            verification: dict[UUID, bytes] = {}
            certificates: dict[UUID, bytes] = {}
            kinds = (secrets, headers, verification, certificates)
            for row in rows:
                try:
                    _reseal(vault, row, secrets, headers, verification, certificates)
                except CannotOpen:
                    report.unreadable.append(row["id"])
                else:
                    report.left += not any(row["id"] in kind for kind in kinds)
            await connection.execute(SQL["seal_secrets"], list(secrets), list(secrets.values()))
            await connection.execute(SQL["seal_headers"], list(headers), list(headers.values()))
            await connection.execute(SQL["seal_verification_secrets"], list(verification), list(verification.values()))
            await connection.execute(SQL["seal_client_certificates"], list(certificates), list(certificates.values()))
        report.rewritten += len(set().union(*kinds))
        if not rows:
            break
        last = rows[-1]["id"]
    await connection.execute(SQL["update_canary"], canary.seal(keys))
    return report


def _reseal(
    vault: Vault,
    row: Any,
    secrets: dict[UUID, bytes],
    headers: dict[UUID, bytes],
    verification: dict[UUID, bytes],
    certificates: dict[UUID, bytes],
) -> None:
    """Adds what a row is to hold in place of what it does; CannotOpen, and what could be opened is added."""
    subscription_id: UUID = row["id"]
    own = vault.resealed_headers(subscription_id, row["sealed_headers"])
    if own is not None:
        headers[subscription_id] = own
    others = vault.resealed_verification(subscription_id, row["sealed_verification_secrets"])
    if others is not None:
        verification[subscription_id] = others
    certificate = vault.resealed_client_certificate(subscription_id, row["sealed_client_certificate"])
    if certificate is not None:
        certificates[subscription_id] = certificate
    sealed = vault.sealed(subscription_id, row["secret_key"], row["sealed_secrets"])
    if sealed is not None:
        fresh = vault.resealed(subscription_id, sealed) or sealed
        if fresh != row["sealed_secrets"]:
            secrets[subscription_id] = fresh


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
    except (CannotOpen, asyncpg.PostgresError, *errors.STORE_AWAY) as error:
        sys.exit(f"nothing more is re-encrypted: {str(error) or type(error).__name__}")
    sys.stdout.write(f"{report.rewritten} subscriptions re-encrypted, {report.left} were already\n")
    if report.unreadable:
        names = ", ".join(str(subscription_id) for subscription_id in report.unreadable)
        sys.exit(f"{len(report.unreadable)} cannot be opened with any of the keys: {names}")


if __name__ == "__main__":
    main()
