"""Mutual TLS between the processes: each shows a certificate, and takes the others' for good if an authority signed it.

The files are read again every few seconds, so that certificates can be renewed under running processes: a server shows
the new one in its next handshake, a client makes its channel again (client.py). Files that do not fit together,
such as those of an unfinished renewal, are ignored until they do.
"""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import grpc
import structlog

from services.platform.process import background, metrics
from services.platform.process.lifecycle import Process, StartError
from services.platform.settings import GrpcTlsSettings

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 5.0


class Material(NamedTuple):
    """What the files hold, as PEM."""

    certificate: bytes
    key: bytes
    authorities: bytes


class Certificates:
    """The certificate of this process and the authorities of the others', as the files have them."""

    def __init__(self, settings: GrpcTlsSettings) -> None:
        """Read the files; StartError naming the variable if they are unusable."""
        self._settings = settings
        self._trouble = ""
        try:
            self.current = _read(settings)
        except ValueError as error:
            raise StartError(str(error)) from None

    async def follow(self) -> None:
        """Take over what changes, until cancelled."""

        async def step() -> None:
            self.refresh()

        await background.repeat(step, interval_seconds=INTERVAL_SECONDS, at_once=False)

    def refresh(self) -> None:
        """Reload changed files, if they are usable."""
        try:
            found = _read(self._settings)
        except ValueError as error:
            if str(error) != self._trouble:
                log.warning("the new certificate cannot be used; the old one stays in use", error=str(error))
            self._trouble = str(error)
            return
        self._trouble = ""
        if found != self.current:
            self.current = found
            log.info("the certificate was renewed", not_after=_not_after(found.certificate).isoformat())

    def of_server(self) -> grpc.ServerCredentials:
        """Credentials that follow the files, and ask every client for a certificate."""
        shown = self.current

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # Called in every handshake, by a thread of grpcio's own.
            nonlocal shown
            if shown is self.current:
                return None
            shown = self.current
            return _configuration(shown)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown),
            renewed,  # type: ignore[arg-type]  # its stubs leave out None, which says that nothing changed
            require_client_authentication=True,
        )

    def of_client(self) -> grpc.ChannelCredentials:
        """Credentials of now."""
        return grpc.ssl_channel_credentials(self.current.authorities, self.current.key, self.current.certificate)


def following(process: Process, settings: GrpcTlsSettings) -> Certificates | None:
    """Yield the certificates, kept current while the process runs; None if TLS is not configured."""
    if not settings.grpc_tls:
        return None
    certificates = Certificates(settings)
    process.spawn("grpc_certificates", certificates.follow())
    return certificates


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.authorities)


def _read(settings: GrpcTlsSettings) -> Material:
    """Read the files; ValueError naming the variable."""
    found = {}
    for name in ("grpc_tls_cert_file", "grpc_tls_key_file", "grpc_tls_ca_file"):
        path = getattr(settings, name)
        try:
            found[name] = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{name.upper()}: {path} cannot be read: {error.strerror}") from None
    material = Material(found["grpc_tls_cert_file"], found["grpc_tls_key_file"], found["grpc_tls_ca_file"])
    _check(material)
    metrics.GRPC_CERTIFICATE_NOT_AFTER.set(_not_after(material.certificate).timestamp())
    return material


def _check(material: Material) -> None:
    # cryptography takes a while and some MB to import: only where TLS is on.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        certificate, *_ = x509.load_pem_x509_certificates(material.certificate)
    except ValueError:
        raise ValueError(
            "GRPC_TLS_CERT_FILE: expected a certificate in PEM, with its intermediate certificates"
        ) from None
    try:
        key = load_pem_private_key(material.key, None)
    except (ValueError, TypeError):  # a TypeError for one that wants a password
        raise ValueError("GRPC_TLS_KEY_FILE: expected a private key in PEM, without a password") from None
    try:
        x509.load_pem_x509_certificates(material.authorities)
    except ValueError:
        raise ValueError("GRPC_TLS_CA_FILE: expected one or more certificates in PEM") from None
    spelling = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spelling) != certificate.public_key().public_bytes(*spelling):
        raise ValueError("GRPC_TLS_KEY_FILE: does not match the certificate in GRPC_TLS_CERT_FILE")


def _not_after(pem: bytes) -> datetime:
    from cryptography import x509

    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc
