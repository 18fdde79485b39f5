"""Free TCP ports of the loopback interface."""

import atexit
import contextlib
import errno
import random
import socket
import threading
from collections.abc import Collection, Iterable

# Below what Linux (32768) and macOS (49152) hand out to outgoing connections. A port that the system picks
# (port 0) lies among those: while its process is being restarted, a connection of the worker could sit down on it.
# And below that of MongoDB, which nothing is delivered to (services/domain/egress/policy.py).
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

    No other process that asks here is given them while this one lives, and no port is given twice.
    Raises OSError when there are no such ports.
    """
    return [_reservations.port(avoid) for _ in range(count)]


def free_port() -> int:
    """One of `free_ports`."""
    return _reservations.port()


def reserve(host: str, wanted: Iterable[int]) -> bool:
    """Take these ports for this process if all of them are free, and return whether they were.

    As with `free_ports`, another process that asks here is refused them while this one lives: the port before the first
    is held as a mark.
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
    """Blocks of ports that this process has: it holds the first port of each, and others keep away from the rest."""

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
