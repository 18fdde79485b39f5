"""Whether a process says that it serves."""

import contextlib
import http.client
from collections.abc import Iterable
from urllib.parse import urlsplit

# A bit more than the processes give their own checks.
TIMEOUT_SECONDS = 1.5


def all_ready(urls: Iterable[str]) -> bool:
    """Whether every URL answers 200 now."""
    return all(_ok(url) for url in urls)


def _ok(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    return False
