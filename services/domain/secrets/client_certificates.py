"""Hands a client certificate to OpenSSL."""

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator


def show(context: ssl.SSLContext, pem: bytes) -> None:
    """Let a context's connections show a certificate chain with its private key. Raises ssl.SSLError.

    Python has OpenSSL read them from a file alone, so that there is one for as long as this takes.
    """
    with _file(pem) as path:
        context.load_cert_chain(path, password=_no_passphrase)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Create a file with this content: in memory and without a name on Linux, elsewhere readable only by its owner."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("client-certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _no_passphrase() -> bytes:
    """Keep OpenSSL from asking for a password on the terminal."""
    return b""
