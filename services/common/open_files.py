"""How many files, of which sockets are most, a process may have open."""

import contextlib
import resource

# A worker has a socket for each request and some kept ones, a gateway up to http_protocol.MAX_CONNECTIONS. Systems
# often begin with 1,024 or 256 and allow more.
WANTED = 16_384


def raise_limit() -> None:
    """Raises the soft limit as far as the hard one allows; what it is set to beyond that stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
