"""Ports that nobody else uses, in this process or another one."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dev.embedded import ports

ROOT = Path(__file__).resolve().parents[3]
ASK = """
import sys
from dev.embedded import ports
print(*ports.free_ports(500), flush=True)
sys.stdin.read()
"""


def test_ports_are_never_given_twice() -> None:
    """Neither in one call nor in the next."""
    given = [*ports.free_ports(150), *ports.free_ports(150), ports.free_port()]
    assert len(set(given)) == len(given)


def test_a_port_to_avoid_is_not_given() -> None:
    """Though it is free."""
    own = ports.free_ports(200)
    assert not set(ports.free_ports(10, avoid=own)) & set(own)


def test_a_taken_port_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server listens there already."""
    fresh = ports._Reservations()
    monkeypatch.setattr(ports, "_reservations", fresh)
    ports.free_port()
    after_next, following = fresh._ports[-2:]
    with socket.create_server(("127.0.0.1", following)):
        assert ports.free_port() == after_next


def test_processes_side_by_side_get_different_ports() -> None:
    """While they live; afterwards the ports are free again."""
    with (
        subprocess.Popen([sys.executable, "-c", ASK], stdin=-1, stdout=-1, text=True, cwd=ROOT) as one,
        subprocess.Popen([sys.executable, "-c", ASK], stdin=-1, stdout=-1, text=True, cwd=ROOT) as other,
    ):
        assert one.stdout
        assert other.stdout
        given = [set(one.stdout.readline().split()), set(other.stdout.readline().split())]
        one.communicate()
        other.communicate()
    assert len(given[0]) == len(given[1]) == 500
    assert not given[0] & given[1]


def test_exhausted_ports_raise_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises an error instead of trying forever."""
    monkeypatch.setattr(ports, "_FIRST", ports._LAST)
    monkeypatch.setattr(ports, "_reservations", ports._Reservations())
    with pytest.raises(OSError, match="no free ports"):
        ports.free_port()


def test_wanted_ports_are_one_processes_alone() -> None:
    """A second stack on this machine, which chooses ports before the first one's servers listen, gets others."""
    free = (
        port for port in range(15_001, 19_000, 4) if not any(ports.why_not("127.0.0.1", port + n) for n in range(-1, 3))
    )
    first = next(free)
    wanted = range(first, first + 3)
    ask = f"from dev.embedded import ports; print(ports.reserve('127.0.0.1', {list(wanted)}))"

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()

    assert elsewhere() == "True"  # and given back with its end
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 2))
        taken.listen()
        assert not ports.reserve("127.0.0.1", wanted)
    assert ports.reserve("127.0.0.1", wanted)
    assert elsewhere() == "False"
