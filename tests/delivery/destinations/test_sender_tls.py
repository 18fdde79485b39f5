"""Which certificates the sender trusts, and its errors for others."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dev.harness import certificates
from dev.harness.certificates import DAY, SERVER, Issued
from services.delivery.destinations.http import sender as http_sender
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.destinations.http.tls import trust
from services.domain.states import AttemptOutcome
from tests.delivery import sending
from tests.delivery.sending import OK, Naming, failure, post
from tests.delivery.world import LOOPBACK


@pytest.fixture
async def trusting(authority: tuple[Path, ssl.SSLContext]) -> AsyncIterator[HttpSender]:
    """A sender with the CA's file as EGRESS_CA_BUNDLE."""
    tls = trust(str(authority[0]))
    async with http_sender.sender(LOOPBACK, max_response_bytes=1024, wanted_bytes=1024, tls=tls) as made:
        yield made


async def test_the_system_store_does_not_trust_a_private_authority(
    sender: HttpSender, authority: tuple[Path, ssl.SSLContext]
) -> None:
    async with sending.serving(sending.answering(OK), tls=authority[1]) as server:
        assert (await failure(sender, server.url("https"))).kind is AttemptOutcome.TLS
    assert all(not connection.heads for connection in server.connections)


async def test_authority_in_the_configured_file_is_trusted_besides_those_of_the_system(
    trusting: HttpSender, authority: tuple[Path, ssl.SSLContext]
) -> None:
    async with sending.serving(sending.answering(OK), tls=authority[1]) as server:
        assert (await trusting.send(post(server.url("https")), timeout_seconds=30)).status_code == 200
    systems, extended = trust(), trust(str(authority[0]))
    assert extended.cert_store_stats()["x509_ca"] == systems.cert_store_stats()["x509_ca"] + 1


async def test_certificate_for_another_name_is_rejected_even_if_its_authority_is_trusted(
    trusting: HttpSender, authority: tuple[Path, ssl.SSLContext], names: Naming
) -> None:
    names(["127.0.0.1"])
    async with sending.serving(sending.answering(OK), tls=authority[1]) as server:
        url = f"https://other.example:{server.port}/"
        assert (await failure(trusting, url)).kind is AttemptOutcome.TLS
        for host in ("receiver.example", "receiver.example.", "RECEIVER.example"):
            assert (await trusting.send(post(f"https://{host}:{server.port}/"), timeout_seconds=30)).status_code == 200


NOW = datetime.now(UTC)
TRUSTED, UNKNOWN = certificates.authority(), certificates.authority("Another authority")


@pytest.mark.parametrize(
    ("authority", "how", "said"),
    [
        (TRUSTED, {"begins": NOW - 9 * DAY, "ends": NOW - DAY}, "certificate has expired"),
        (TRUSTED, {"begins": NOW + DAY, "ends": NOW + 9 * DAY}, "certificate is not yet valid"),
        (TRUSTED, {"hosts": ("other.example",)}, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (UNKNOWN, {}, "unable to get local issuer certificate (it is signed by an unknown authority, "),
        (TRUSTED, {"usages": (certificates.CLIENT,)}, "unsuitable certificate purpose"),
        (None, {}, "self-signed certificate (it is not signed by a certificate authority)"),
    ],
    ids=["expired", "not yet valid", "wrong name", "unknown authority", "wrong purpose", "self-signed"],
)
async def test_a_certificate_that_is_refused_is_recorded_with_why(
    tmp_path: Path, authority: Issued | None, how: dict[str, Any], said: str
) -> None:
    mine = (authority.issue("a", **{"usages": (SERVER,), **how})) if authority else certificates.authority("127.0.0.1")
    (tmp_path / "ca.pem").write_text(TRUSTED.pem)
    (tmp_path / "mine.pem").write_text(mine.pem + mine.key_pem)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "mine.pem")
    tls = trust(str(tmp_path / "ca.pem"))
    async with (
        http_sender.sender(LOOPBACK, max_response_bytes=1024, wanted_bytes=1024, tls=tls) as sender,
        sending.serving(sending.answering(OK), tls=served) as server,
    ):
        found = await failure(sender, server.url("https"))
    assert found.kind is AttemptOutcome.TLS
    assert found.message.startswith(f"TLS failed: the receiver's certificate: {said}")


async def test_a_receiver_that_does_not_speak_tls_is_named_in_the_error(sender: HttpSender) -> None:
    async def plain(connection: sending.Connection) -> None:
        await connection.send(OK)

    async with sending.serving(plain) as server:
        found = await failure(sender, server.url("https"))
    assert (found.kind, found.message) == (
        AttemptOutcome.TLS,
        "TLS failed: WRONG_VERSION_NUMBER (the receiver does not support TLS on this port)",
    )
