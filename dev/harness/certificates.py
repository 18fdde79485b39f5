"""Certificates for tests and benchmarks, created with `cryptography`, which the product needs anyway."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = timedelta(days=1)


def p256() -> ec.EllipticCurvePrivateKey:
    """Create a key, quickly."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Any, passphrase: str = "") -> str:
    """Return a private key in PEM."""
    how = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode())


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        """Return the certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """Return its key in PEM."""
        return pem_of(self.key)

    def issue(
        self,
        name: str,
        *,
        key: Any = None,
        begins: datetime | None = None,
        ends: datetime | None = None,
        usages: tuple[x509.ObjectIdentifier, ...] = (CLIENT,),
        hosts: tuple[str, ...] = (),
        authority: bool = False,
    ) -> "Issued":
        """Issue a certificate signed by this one; by default for a client, for a day.

        A server's certificate is for `hosts`, or for 127.0.0.1 and its name.
        """
        return _made(name, key or p256(), self, begins, ends, usages, hosts, authority=authority)


def authority(name: str = "Test authority") -> Issued:
    """Create a self-signed CA."""
    return _made(name, p256(), None, None, None, (), (), authority=True)


def self_signed(name: str = "127.0.0.1") -> Issued:
    """Return the certificate of a server, which no CA signed."""
    return _made(name, p256(), None, None, None, (SERVER,), (), authority=False)


def _made(
    name: str,
    key: Any,
    issuer: Issued | None,
    begins: datetime | None,
    ends: datetime | None,
    usages: tuple[x509.ObjectIdentifier, ...],
    hosts: tuple[str, ...],
    *,
    authority: bool,
) -> Issued:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - DAY)
        .not_valid_after(ends or now + DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if SERVER in usages:
        names = [_host(host) for host in hosts or ("127.0.0.1", name)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signing = issuer.key if issuer else key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(certificate=builder.sign(signing, algorithm), key=key)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def of_process(ca: Issued, name: str, **how: Any) -> Issued:
    """Issue a certificate for one of the service's own processes, which is a server and a client."""
    return ca.issue(name, usages=(SERVER, CLIENT), **how)


def grpc_files(issued: Issued, folder: Path, authorities: str) -> dict[str, str]:
    """Write tls.crt, tls.key, and ca.crt, as in a Kubernetes Secret; return the variables with their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("tls.key", issued.key_pem), ("tls.crt", issued.pem), ("ca.crt", authorities)):
        (folder / name).write_text(content)
    return {
        "GRPC_TLS_CERT_FILE": str(folder / "tls.crt"),
        "GRPC_TLS_KEY_FILE": str(folder / "tls.key"),
        "GRPC_TLS_CA_FILE": str(folder / "ca.crt"),
    }


def spellings(issued: Issued) -> set[bytes]:
    """Return how the private key (P-256) could appear in text: lines of its PEM, and the number itself."""
    number = issued.key.private_numbers().private_value.to_bytes(32, "big")
    return {*(line.encode() for line in issued.key_pem.splitlines()[1:-1]), number, number.hex().encode()}


def write(issued: Issued, path: Path) -> Path:
    """Write a certificate and its key to one file, as servers load them; return the file."""
    path.write_text(issued.pem + issued.key_pem)
    return path


def server_tls(issued: Issued, folder: Path, *, client_authority: Issued | None = None) -> ssl.SSLContext:
    """Return the TLS context of a server; with an authority, it refuses clients without a certificate from it."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(write(issued, folder / "server.pem"))
    if client_authority:
        tls.load_verify_locations(cadata=client_authority.pem)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls
