"""Whom the sender trusts."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.delivery.worker import http_sender
from services.delivery.worker.sender import Failure, Sender
from tests.integration.delivery import raw
from tests.integration.delivery.names import Naming
from tests.integration.delivery.sending import OK, failure, post
from tests.integration.delivery.world import LOOPBACK


@pytest.fixture
async def trusting(authority: tuple[Path, ssl.SSLContext]) -> AsyncIterator[Sender]:
    """A sender with the authority's file as EGRESS_CA_BUNDLE."""
    tls = http_sender.trust(str(authority[0]))
    async with http_sender.sender(LOOPBACK, max_response_bytes=1024, wanted_bytes=1024, tls=tls) as made:
        yield made


async def test_the_system_alone_does_not_trust_an_authority_of_ones_own(
    sender: Sender, authority: tuple[Path, ssl.SSLContext]
) -> None:
    async with raw.serving(raw.answering(OK), tls=authority[1]) as server:
        assert (await failure(sender, server.url("https"))).kind is Failure.TLS


async def test_with_its_file_it_is_trusted_besides_the_systems(
    trusting: Sender, authority: tuple[Path, ssl.SSLContext]
) -> None:
    async with raw.serving(raw.answering(OK), tls=authority[1]) as server:
        assert (await trusting.send(post(server.url("https")), timeout_seconds=5)).status_code == 200
    systems, extended = http_sender.trust(), http_sender.trust(str(authority[0]))
    assert extended.cert_store_stats()["x509_ca"] == systems.cert_store_stats()["x509_ca"] + 1


async def test_with_its_file_a_certificate_for_another_name_is_still_refused(
    trusting: Sender, authority: tuple[Path, ssl.SSLContext], names: Naming
) -> None:
    names(["127.0.0.1"])
    async with raw.serving(raw.answering(OK), tls=authority[1]) as server:
        url = f"https://other.example:{server.port}/"
        assert (await failure(trusting, url)).kind is Failure.TLS
        for host in ("receiver.example", "receiver.example.", "RECEIVER.example"):
            assert (await trusting.send(post(f"https://{host}:{server.port}/"), timeout_seconds=5)).status_code == 200


async def test_with_its_file_a_certificate_that_signs_itself_is_still_refused(
    trusting: Sender, self_signed: ssl.SSLContext
) -> None:
    async with raw.serving(raw.answering(OK), tls=self_signed) as server:
        assert (await failure(trusting, server.url("https"))).kind is Failure.TLS
