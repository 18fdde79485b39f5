"""Mutual TLS between the processes, over real sockets and files."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

from dev.embedded import ports
from dev.harness import certificates as authorities
from dev.harness.certificates import Issued
from dev.harness.waiting import wait_until
from protos.webhook.v1 import ingest_pb2, ingest_pb2_grpc
from services.platform.grpc import client as grpc_client
from services.platform.grpc import tls as grpc_tls
from services.platform.grpc.calls import Context
from services.platform.grpc.tls import Certificates
from services.platform.process import lifecycle, metrics
from services.platform.settings import GrpcServerSettings, GrpcTlsSettings
from tests.platform.grpc.serving import serving

PATIENCE_SECONDS = 60.0


class Naming(ingest_pb2_grpc.IngestServiceServicer):
    """Responds with the name in the caller's certificate."""

    async def GetEvent(self, request: ingest_pb2.GetEventRequest, _context: Context) -> ingest_pb2.GetEventResponse:
        (name,) = _context.auth_context()["x509_common_name"]
        return ingest_pb2.GetEventResponse(event=ingest_pb2.Event(id=name.decode()))


@contextlib.asynccontextmanager
async def serving_with(files: dict[str, str]) -> AsyncIterator[int]:
    """Run a server as in the processes; yield its port."""
    port = ports.free_port()
    tls: dict[str, Any] = {name.lower(): path for name, path in files.items()}
    settings = GrpcServerSettings(bind_host="127.0.0.1", grpc_port=port, **tls)
    async with serving(settings, Naming()):  # type: ignore[abstract]  # one method is enough
        yield port


def certificates(files: dict[str, str]) -> Certificates:
    tls: dict[str, Any] = {name.lower(): path for name, path in files.items()}
    return Certificates(GrpcTlsSettings(**tls))


async def ask(channel: grpc.aio.Channel) -> str:
    stub: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)
    answer = await stub.GetEvent(ingest_pb2.GetEventRequest(), timeout=60)
    return answer.event.id


async def refused(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    return caught.value.code()


async def test_server_accepts_only_clients_with_a_certificate_of_the_authority(tmp_path: Path) -> None:
    authority, strange = authorities.authority(), authorities.authority("A stranger's")
    server = authorities.grpc_files(authorities.of_process(authority, "ingest"), tmp_path / "server", authority.pem)
    client = authorities.grpc_files(authorities.of_process(authority, "gateway"), tmp_path / "client", authority.pem)
    impostor = authorities.of_process(strange, "gateway")
    async with serving_with(server) as port:
        address = f"127.0.0.1:{port}"
        async with grpc_client.channel(address, certificates=certificates(client)) as channel:
            assert await ask(channel) == "gateway"
        for credentials in (
            None,
            grpc.ssl_channel_credentials(authority.pem.encode()),
            grpc.ssl_channel_credentials(authority.pem.encode(), impostor.key_pem.encode(), impostor.pem.encode()),
        ):
            assert await refused(address, credentials) == grpc.StatusCode.UNAVAILABLE


async def test_a_server_with_the_wrong_name_or_authority_is_not_called(tmp_path: Path) -> None:
    authority, strange = authorities.authority(), authorities.authority("A stranger's")
    client = authorities.grpc_files(authorities.of_process(authority, "gateway"), tmp_path / "client", authority.pem)
    elsewhere = authorities.of_process(authority, "ingest", hosts=("elsewhere.test",))
    for number, issued in enumerate((elsewhere, authorities.of_process(strange, "ingest"))):
        server = authorities.grpc_files(issued, tmp_path / f"server{number}", authority.pem)
        async with serving_with(server) as port:
            address = f"127.0.0.1:{port}"
            async with grpc_client.channel(address, certificates=certificates(client)) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ask(channel)
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_renewed_certificates_are_shown_on_both_sides_and_no_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_tls, "INTERVAL_SECONDS", 0.05)
    authority, next_authority = authorities.authority(), authorities.authority("The next")
    both = authority.pem + next_authority.pem
    server = authorities.grpc_files(authorities.of_process(authority, "ingest"), tmp_path / "server", both)
    client = authorities.grpc_files(authorities.of_process(authority, "gateway"), tmp_path / "client", both)
    async with serving_with(server) as port:
        shown = certificates(client)
        async with grpc_client.channel(f"127.0.0.1:{port}", certificates=shown) as channel:
            stub: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)

            async def name() -> str:
                return (await stub.GetEvent(ingest_pb2.GetEventRequest(), timeout=60)).event.id

            assert await name() == "gateway"
            authorities.grpc_files(
                authorities.of_process(next_authority, "gateway, renewed"), tmp_path / "client", both
            )
            shown.refresh()
            assert await name() == "gateway, renewed"

            renewed = authorities.of_process(next_authority, "ingest, renewed")
            authorities.grpc_files(renewed, tmp_path / "server", both)

            async def is_shown() -> bool:
                await name()
                return ssl.PEM_cert_to_DER_cert(renewed.pem) == served(port, client)

            await wait_until(is_shown, PATIENCE_SECONDS, what="the server to show its new certificate")


def served(port: int, files: dict[str, str]) -> bytes | None:
    """Return the certificate that a server uses, as DER."""
    context = ssl.create_default_context(cafile=files["GRPC_TLS_CA_FILE"])
    context.load_cert_chain(files["GRPC_TLS_CERT_FILE"], files["GRPC_TLS_KEY_FILE"])
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        return connection.getpeercert(binary_form=True)


@pytest.fixture
def issued() -> tuple[Issued, Issued]:
    authority = authorities.authority()
    return authority, authorities.of_process(authority, "ingest")


def test_a_renewal_that_is_half_done_changes_nothing_until_it_is_whole(
    tmp_path: Path, issued: tuple[Issued, Issued]
) -> None:
    authority, old = issued
    files = authorities.grpc_files(old, tmp_path, authority.pem)
    found = certificates(files)
    new = authorities.of_process(authority, "ingest")
    Path(files["GRPC_TLS_CERT_FILE"]).write_text(new.pem)
    found.refresh()
    assert found.current.certificate == old.pem.encode()
    Path(files["GRPC_TLS_KEY_FILE"]).unlink()
    found.refresh()
    assert found.current.certificate == old.pem.encode()
    Path(files["GRPC_TLS_KEY_FILE"]).write_text(new.key_pem)
    found.refresh()
    assert found.current.certificate == new.pem.encode()


@pytest.mark.parametrize("variable", ["GRPC_TLS_CERT_FILE", "GRPC_TLS_KEY_FILE", "GRPC_TLS_CA_FILE"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n", None])
def test_files_that_are_of_no_use_end_the_start_and_are_named(
    tmp_path: Path, issued: tuple[Issued, Issued], variable: str, content: bytes | None
) -> None:
    authority, server = issued
    files = authorities.grpc_files(server, tmp_path, authority.pem)
    if content is None:
        Path(files[variable]).unlink()
    else:
        Path(files[variable]).write_bytes(content)
    with pytest.raises(lifecycle.StartError, match=f"^{variable}: "):
        certificates(files)


def test_the_key_of_another_certificate_ends_the_start(tmp_path: Path, issued: tuple[Issued, Issued]) -> None:
    authority, server = issued
    files = authorities.grpc_files(server, tmp_path, authority.pem)
    Path(files["GRPC_TLS_KEY_FILE"]).write_text(authorities.of_process(authority, "another").key_pem)
    with pytest.raises(lifecycle.StartError, match="GRPC_TLS_KEY_FILE: does not match the certificate"):
        certificates(files)


def test_settings_with_two_files_of_three_are_rejected() -> None:
    with pytest.raises(ValidationError, match="GRPC_TLS_CA_FILE: required if one of the others is set"):
        GrpcTlsSettings(grpc_tls_cert_file="a", grpc_tls_key_file="b")


def test_the_end_of_the_certificate_is_exported(tmp_path: Path, issued: tuple[Issued, Issued]) -> None:
    authority, server = issued
    certificates(authorities.grpc_files(server, tmp_path, authority.pem))
    (found,) = metrics.GRPC_CERTIFICATE_NOT_AFTER.collect()
    assert found.samples[0].value == server.certificate.not_valid_after_utc.timestamp()
