"""Free TCP ports of the loopback interface."""

import atexit
import contextlib
import errno
import random
import socket
import threading
from collections.abc import Collection, Iterable

# Below the range that Linux (32768) and macOS (49152) use for outgoing connections. A port that the system picks (port
# 0) is in that range: while its process restarts, a connection of the worker could take it. Also below the port of
# MongoDB, which deliveries cannot reach (services/domain/egress/policy.py).
_FIRST, _LAST = 20_000, 27_000
_BLOCK = 50


def _bound(host: str, port: int, *, alone: bool = False) -> socket.socket:
    """Bind a socket to a port; with `alone`, others cannot bind it before it listens."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if not alone:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def why_not(host: str, port: int) -> str | None:
    """Return in a few words why a server cannot listen there now; None if it can."""
    # macOS treats the wildcard address and loopback separately: one can be free while the other is taken.
    for address in dict.fromkeys((host, "127.0.0.1")):
        try:
            _bound(address, port).close()
        except OSError as error:
            return "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
    return None


def free_ports(count: int, *, avoid: Collection[int] = ()) -> list[int]:
    """Return `count` different free ports of 127.0.0.1, none of them in `avoid`.

    No other process that uses this function gets them while this one lives, and no port is returned twice. Raise
    OSError if there are not enough.
    """
    return [_reservations.port(avoid) for _ in range(count)]


def free_port() -> int:
    """Return one of `free_ports`."""
    return _reservations.port()


def reserve(host: str, wanted: Iterable[int]) -> bool:
    """Reserve these ports for this process if all of them are free, and return whether they were.

    As with `free_ports`, other processes that use this function do not get them while this one lives: it occupies the
    port before the first as a marker.
    """
    numbers = list(wanted)
    if any(why_not(host, port) for port in numbers):
        return False
    try:
        atexit.register(_bound("127.0.0.1", numbers[0] - 1, alone=True).close)
    except OSError:
        return False
    return True


class _Reservations:
    """Blocks of ports that this process reserved. It occupies the first port of each, and others avoid the rest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: list[int] = []

    def port(self, avoid: Collection[int] = ()) -> int:
        with self._lock:
            while True:
                if not self._ports:
                    self._ports = self._reserve()
                port = self._ports.pop()
                if port not in avoid and why_not("127.0.0.1", port) is None:
                    return port

    def _reserve(self) -> list[int]:
        starts = range(_FIRST, _LAST, _BLOCK)
        for start in random.sample(starts, len(starts)):
            with contextlib.suppress(OSError):
                atexit.register(_bound("127.0.0.1", start, alone=True).close)
                return list(range(start + 1, start + _BLOCK))
        raise OSError(errno.EADDRINUSE, f"no free ports between {_FIRST} and {_LAST}")


_reservations = _Reservations()
