"""Postgres over TLS by libpq's variables and parameters, with PgBouncer as the server, because ours has no TLS."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from dev.harness import certificates
from dev.harness import stores as pooler
from dev.harness.stores import Stores
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres

pytestmark = pytest.mark.skipif(pooler.PGBOUNCER is None, reason="run `python3 scripts/tools.py pgbouncer`")


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A server that accepts only TLS, with a certificate for 127.0.0.1; its CA, and another one."""

    port: int
    authority: Path
    stranger: Path

    def settings(self, *, host: str = "127.0.0.1", parameters: str = "") -> PostgresSettings:
        """Settings of a process that connects to it under this name."""
        url = f"postgresql://webhook@{host}:{self.port}/postgres{parameters}"
        return PostgresSettings(database_url=url, postgres_pooler="transaction")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secured(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """PgBouncer with a certificate from the first CA."""
    folder = tmp_path_factory.mktemp("tls")
    ca, other = certificates.authority(), certificates.authority("Stranger")
    authority, stranger = folder / "authority.pem", folder / "stranger.pem"
    authority.write_text(ca.pem)
    stranger.write_text(other.pem)
    peer = ca.issue("peer", usages=(certificates.SERVER,), hosts=("127.0.0.1",))
    both = certificates.write(peer, folder / "both.pem")
    async with pooler.pooling(stores, servers=2, certificate=both) as port:
        yield Secured(port=port, authority=authority, stranger=stranger)


async def _answer(settings: PostgresSettings) -> int:
    async with postgres.pool(Process("test"), settings) as pool:
        answer: int = await pool.fetchval("SELECT $1::int", 1)
        return answer


async def test_a_peer_with_a_certificate_of_the_authority_is_taken(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(secured.authority))
    assert await _answer(secured.settings()) == 1


async def test_a_peer_with_the_certificate_of_another_authority_is_refused(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(secured.stranger))
    with pytest.raises(ssl.SSLCertVerificationError):
        await _answer(secured.settings())


async def test_a_peer_with_the_certificate_of_another_name_is_refused_in_full_alone(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(secured.authority))
    monkeypatch.setenv("PGSSLMODE", "verify-ca")
    assert await _answer(secured.settings(host="localhost")) == 1
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        await _answer(secured.settings(host="localhost"))


async def test_a_url_says_the_same(secured: Secured) -> None:
    known, unknown = (f"?sslmode=verify-full&sslrootcert={path}" for path in (secured.authority, secured.stranger))
    assert await _answer(secured.settings(parameters=known)) == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        await _answer(secured.settings(parameters=unknown))


async def test_a_peer_that_asks_for_tls_is_not_spoken_to_without(secured: Secured) -> None:
    with pytest.raises(asyncpg.ProtocolViolationError, match="SSL required"):
        await _answer(secured.settings(parameters="?sslmode=disable"))
