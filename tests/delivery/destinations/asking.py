"""A receiver with mutual TLS, on OpenSSL sockets, because asyncio's servers refuse without an alert."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev.harness import certificates
from dev.harness.certificates import Issued

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=30\r\n\r\n"


@dataclass(kw_only=True)
class Asking:
    """The receiver, and its clients: for each connection the client's name, once for each request."""

    port: int
    # The file of the CA that signs its certificate and its clients'.
    ca_bundle: str
    served: list[list[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return a target URL of this receiver."""
        return f"https://127.0.0.1:{self.port}/hook"

    def serve(self, tls: ssl.SSLContext, accepted: socket.socket) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(OSError), accepted, tls.wrap_socket(accepted, server_side=True) as connection:
            names: list[str] = []
            self.served.append(names)
            stream = connection.makefile("rb")
            while stream.readline():
                while (line := stream.readline().lower()) != b"\r\n":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                stream.read(length)
                names.append(_name(connection))
                connection.sendall(OK)


@contextlib.contextmanager
def asking(
    ca: Issued, folder: Path, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, optional: bool = False
) -> Iterator[Asking]:
    """Run a receiver with this version of TLS, which keeps connections, and serves clients of this CA, or any."""
    (folder / "ca.pem").write_text(ca.pem)
    tls = certificates.server_tls(
        ca.issue("receiver.example", usages=(certificates.SERVER,)), folder, client_authority=ca
    )
    tls.minimum_version = tls.maximum_version = version
    if optional:
        tls.verify_mode = ssl.CERT_OPTIONAL
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Asking(port=listener.getsockname()[1], ca_bundle=str(folder / "ca.pem"))
        open_sockets: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted = listener.accept()[0]
                    accepted.settimeout(20)
                    open_sockets.append(socket.socket(fileno=socket.dup(accepted.fileno())))
                    threads.append(threading.Thread(target=made.serve, args=(tls, accepted)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in open_sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            for thread in threads:
                thread.join()


def _name(connection: ssl.SSLSocket) -> str:
    """Return the client's common name."""
    found: Any = connection.getpeercert() or {}
    return str(dict(pair for part in found.get("subject", ()) for pair in part).get("commonName", "nobody"))
