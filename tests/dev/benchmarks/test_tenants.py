import socket

import msgspec
import pytest

from dev.benchmarks.scenarios import tenants
from dev.benchmarks.scenarios.tenants import CONTROL, KINDS, Beside
from dev.harness.load import strangers


def _beside(kind: str, **changes: float) -> Beside:
    plain = dict.fromkeys(Beside.__struct_fields__, 1.0)
    return msgspec.convert({**plain, "kind": kind, "memory_mb": {"gateway": 80.0}, "lost": 0, **changes}, Beside)


def _runs(kind: str, **changes: float) -> list[Beside]:
    """Return one run of each kind, one of which differs."""
    return [_beside(name, **(changes if name == kind else {})) for name in KINDS]


def test_summary_leads_with_the_worst_kind() -> None:
    found = tenants.summary(_runs("slow receivers", accepted_share=0.5, end_to_end_p99_ratio=4.0, lost=3))

    assert (found["accepted_share"], found["end_to_end_p99_ratio"], found["lost"]) == (0.5, 4.0, 3)


def test_summary_leaves_the_control_out_of_the_worst() -> None:
    found = tenants.summary(_runs(CONTROL, end_to_end_p99_ratio=4.0))

    assert found["end_to_end_p99_ratio"] == 1.0


def test_summary_compares_with_the_control_of_the_same_run() -> None:
    slower = [_beside(kind, end_to_end_p99_ms=3.0) for kind in KINDS]

    found = tenants.summary([*_runs("least rates", end_to_end_p99_ms=2.0), *slower])

    assert found["kinds"]["least rates"]["end_to_end_p99_to_control"] == pytest.approx((2.0 + 1.0) / 2)


def test_strangers_open_streams_with_valid_frames() -> None:
    """The first frames are the preface, SETTINGS, and HEADERS of stream 1 with the method as a literal."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with strangers.open_streams(server.getsockname()[1]):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(5)
                received = b""
                while len(received) < 24 + 9 + 9 + 100:
                    received += connection.recv(4096)
    assert received.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    length, kind, flags = int.from_bytes(received[33:36]), received[36], received[37]
    assert (kind, flags, int.from_bytes(received[38:42])) == (1, 4, 1)
    assert strangers.METHOD.encode() in received[42 : 42 + length]
