"""Whether a process says that it serves."""

import contextlib
import http.client
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

# A bit more than the processes give their own checks.
TIMEOUT_SECONDS = 1.5
# A gateway is ready before it has reached these; whoever starts a stack wants to use all of it.
SERVICES = frozenset(("ingest", "delivery", "analytics"))


def all_ready(urls: Iterable[str]) -> bool:
    """Return whether every URL answers 200 now, and no service behind it is away."""
    return all(_ok(url) for url in urls)


def _ok(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status == http.client.OK and not SERVICES & json.load(answer).get("degraded", {}).keys()
    return False
