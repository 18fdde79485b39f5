"""Client certificates: how one is handed to OpenSSL."""

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator


def show(context: ssl.SSLContext, pem: bytes) -> None:
    """Makes connections of a context show a certificate chain, by the private key behind it; ssl.SSLError when refused.

    Python has OpenSSL read them from a file alone, so that there is one for as long as this takes.
    """
    with _file(pem) as path:
        context.load_cert_chain(path, password=_no_passphrase)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A file with this content: in memory and without a name where that can be (Linux), else for its owner alone."""
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
    """So that nobody is asked for one on a terminal."""
    return b""
