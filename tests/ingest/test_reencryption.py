"""python -m services reencrypt: encrypt everything with the first key while servers run; it can be repeated."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from dev.harness import certificates
from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, encryption_keys, vault
from protos.webhook.v1 import subscriptions_pb2
from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import Secret, Vault
from services.ingest import reencryption
from services.ingest.reencryption import reencrypt
from services.platform.stores.postgres import Connection
from tests.ingest.conftest import UNSIGNED, Ingest, serving

ROOT = Path(__file__).resolve().parents[2]
BOTH = (OTHER_KEY, ENCRYPTION_KEY)
WHSK = "whsk_" + base64.b64encode(b"\x03" * 32).decode()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(database)
    yield made
    await made.close()


async def _opened_with(connection: Connection, *texts: str) -> dict[UUID, list[str]]:
    rows = await connection.fetch("SELECT * FROM subscriptions WHERE sealed_secrets IS NOT NULL")
    return {
        row["id"]: [secret.secret_key for secret in vault(*texts).secrets(row["id"], row["sealed_secrets"]).kept]
        for row in rows
    }


async def test_secrets_are_rewritten_once_and_open_only_with_the_new_key(
    alone: Ingest, connection: Connection, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "CHUNK", 3)
    made = [await alone.create(secret_key=f"secret-{number}") for number in range(7)]
    unsigned = await alone.create(**UNSIGNED)
    request = subscriptions_pb2.RotateSubscriptionSecretRequest(subscription_id=made[0].id, secret_key="secret-new")
    await alone.subscriptions.RotateSubscriptionSecret(request)
    before = await _opened_with(connection, ENCRYPTION_KEY)
    assert before[UUID(made[0].id)] == ["secret-new", "secret-0"]

    report = await reencrypt(connection, encryption_keys(*BOTH))
    assert (report.rewritten, report.left, report.unreadable) == (7, 0, [])
    assert await _opened_with(connection, OTHER_KEY) == before
    assert UUID(unsigned.id) not in before
    again = await reencrypt(connection, encryption_keys(*BOTH))
    assert (again.rewritten, again.left, again.unreadable) == (0, 7, [])
    async with serving(database, redis_url, encryption_keys=OTHER_KEY) as after:
        assert list((await after.get(made[0].id)).status.previous_secrets) != []


# By column: the fields that fill it, and its content.
ISSUED = certificates.authority().issue("shop")
OTHERS: dict[str, tuple[dict[str, Any], object]] = {
    "sealed_headers": (
        {"headers": subscriptions_pb2.CustomHeaders(values={"Authorization": "hunter2"})},
        {"Authorization": "hunter2"},
    ),
    "sealed_verification_secrets": (
        {"verification_secrets": subscriptions_pb2.VerificationSecrets(values=["hunter2-one", "hunter3-two"])},
        ("hunter2-one", "hunter3-two"),
    ),
    "sealed_client_certificate": (
        {"client_certificate": subscriptions_pb2.ClientCertificate(certificate=ISSUED.pem, private_key=ISSUED.key_pem)},
        (ISSUED.pem + ISSUED.key_pem).encode(),
    ),
    "sealed_template_secrets": (
        {"template_secrets": subscriptions_pb2.TemplateSecrets(values={"routing_key": "hunter2"})},
        {"routing_key": "hunter2"},
    ),
    "sealed_secrets": (
        {"signature_scheme": subscriptions_pb2.SIGNATURE_SCHEME_ED25519, "secret_key": WHSK},
        (Secret(WHSK, scheme=SignatureScheme.ED25519),),
    ),
}


def _readers(made: Vault) -> dict[str, Callable[[UUID, bytes], object]]:
    """Return a decrypted value of each sealed column."""
    return {
        "sealed_secrets": lambda name, sealed: made.opened(name, sealed).kept,
        "sealed_headers": made.headers,
        "sealed_verification_secrets": made.verification_secrets,
        "sealed_client_certificate": made.client_certificate,
        "sealed_template_secrets": made.template_secrets,
    }


@pytest.mark.parametrize("column", OTHERS)
async def test_sealed_columns_are_all_rewritten_with_or_without_a_signing_secret(
    alone: Ingest, connection: Connection, column: str
) -> None:
    fields, held = OTHERS[column]
    made = [await alone.create(**fields), await alone.create(**UNSIGNED | fields)]
    report = await reencrypt(connection, encryption_keys(*BOTH))
    assert (report.rewritten, report.left, report.unreadable) == (2, 0, [])
    for one in made:
        sealed = await connection.fetchval(f"SELECT {column} FROM subscriptions WHERE id = $1", UUID(one.id))
        assert _readers(vault(OTHER_KEY))[column](UUID(one.id), sealed) == held
    again = await reencrypt(connection, encryption_keys(*BOTH))
    assert (again.rewritten, again.left) == (0, 2)


async def test_a_rotation_at_the_same_time_is_not_lost(alone: Ingest, connection: Connection) -> None:
    made = [await alone.create(secret_key="secret-old") for _ in range(20)]

    async def rotate(subscription_id: str) -> None:
        request = subscriptions_pb2.RotateSubscriptionSecretRequest(
            subscription_id=subscription_id, secret_key="secret-new"
        )
        await alone.subscriptions.RotateSubscriptionSecret(request)

    await asyncio.gather(reencrypt(connection, encryption_keys(ENCRYPTION_KEY)), *(rotate(one.id) for one in made))
    assert set(map(tuple, (await _opened_with(connection, ENCRYPTION_KEY)).values())) == {("secret-new", "secret-old")}


async def test_an_unreadable_secret_is_named_and_stays_as_it_is(alone: Ingest, connection: Connection) -> None:
    broken, whole = await alone.create(secret_key="secret-s"), await alone.create(secret_key="secret-s")
    await connection.execute("UPDATE subscriptions SET sealed_secrets = 'x' WHERE id = $1", UUID(broken.id))
    report = await reencrypt(connection, encryption_keys(*BOTH))
    assert (report.rewritten, report.unreadable) == (1, [UUID(broken.id)])
    assert await connection.fetchval("SELECT sealed_secrets FROM subscriptions WHERE id = $1", UUID(broken.id)) == b"x"
    assert await connection.fetchval("SELECT sealed_secrets FROM subscriptions WHERE id = $1", UUID(whole.id)) != b"x"


@pytest.mark.parametrize(
    "broken",
    [
        *("sealed_secrets", "sealed_headers", "sealed_verification_secrets", "sealed_client_certificate"),
        "sealed_template_secrets",
    ],
)
async def test_an_unreadable_column_does_not_keep_the_others_under_the_old_key(
    alone: Ingest, connection: Connection, broken: str
) -> None:
    fields: dict[str, Any] = {name: value for given, _ in OTHERS.values() for name, value in given.items()}
    made = await alone.create(**fields)
    name = UUID(made.id)
    await connection.execute(f"UPDATE subscriptions SET {broken} = 'x' WHERE id = $1", name)
    report = await reencrypt(connection, encryption_keys(*BOTH))
    assert (report.rewritten, report.left, report.unreadable) == (1, 0, [name])
    row: Any = await connection.fetchrow("SELECT * FROM subscriptions WHERE id = $1", name)
    assert row[broken] == b"x"
    for column, opened in _readers(vault(OTHER_KEY)).items():
        if column != broken:
            opened(name, row[column])


async def test_the_command_says_what_it_did_and_refuses_other_keys(alone: Ingest, database: str) -> None:
    await alone.create(secret_key="secret-hunter2")
    refused = await asyncio.to_thread(_run, database, OTHER_KEY)
    assert refused.returncode == 1
    assert refused.stderr == "re-encryption stopped: ENCRYPTION_KEYS do not match this database\n"
    done = await asyncio.to_thread(_run, database, ",".join(BOTH))
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 subscriptions re-encrypted, 0 were already\n", "")
    only = await asyncio.to_thread(_run, database, OTHER_KEY)
    assert (only.returncode, only.stdout) == (0, "0 subscriptions re-encrypted, 1 were already\n")


def _run(database: str, text: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "services", "reencrypt"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": database, "ENCRYPTION_KEYS": text},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
