"""Free TCP ports of the loopback interface."""

import contextlib
import errno
import random
import socket
from collections.abc import Collection

# Below what Linux (32768) and macOS (49152) hand out to outgoing connections. A port that the system picks
# (port 0) lies among those: while its process is being restarted, a connection of the worker could sit down on it.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 1_000


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def why_not(host: str, port: int) -> str | None:
    """Why a server could not listen there now, in a few words; None when it could."""
    # The wildcard address and loopback are two things to macOS, where one can be had while the other is taken.
    for address in dict.fromkeys((host, "127.0.0.1")):
        try:
            _bound(address, port).close()
        except OSError as error:
            return "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
    return None


def free_ports(count: int, *, avoid: Collection[int] = ()) -> list[int]:
    """`count` different ports that nobody listens on at 127.0.0.1, none of them in `avoid`.

    Raises OSError when there are no such ports. Nothing reserves them: use them soon.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for _ in range(_TRIES):
            port = random.randint(_FIRST, _LAST)  # noqa: S311 - spread, not secrecy
            if port in avoid:
                continue
            with contextlib.suppress(OSError):
                held.enter_context(_bound("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(errno.EADDRINUSE, f"no {count} free ports between {_FIRST} and {_LAST}")


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]
