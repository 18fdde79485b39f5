"""A throw-away certificate authority."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Issued(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, authorities: bytes) -> dict[str, str]:
        """Writes tls.crt, tls.key and ca.crt, as a Secret of Kubernetes has them; the variables that name them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("tls.key", self.key), ("tls.crt", self.certificate), ("ca.crt", authorities)):
            (folder / name).write_bytes(content)
        return {
            "GRPC_TLS_CERT_FILE": str(folder / "tls.crt"),
            "GRPC_TLS_KEY_FILE": str(folder / "tls.key"),
            "GRPC_TLS_CA_FILE": str(folder / "ca.crt"),
        }


class Authority:
    """Signs certificates that are good for a day."""

    def __init__(self, name: str = "Authority of the tests") -> None:
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(self._name, self._name, self._key.public_key())
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, name: str, *, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> Issued:
        """A certificate of a name, for servers at these hosts and for clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(_named(name), self._name, key.public_key())
        built = built.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        certificate = built.sign(self._key, hashes.SHA256())
        return Issued(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
