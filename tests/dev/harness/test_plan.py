"""Which ports the processes get."""

import socket
from pathlib import Path

import pytest

from dev.embedded import ports
from dev.harness import plan
from dev.local.settings import LocalSettings

USUAL = {"ingest": 50051, "delivery": 50052, "analytics": 50053}


def made(tmp_path: Path, port: int = 8080) -> dict[str, int]:
    return dict(plan.make(LocalSettings(data_dir=tmp_path, port=port, env="development")).grpc_ports)


@pytest.fixture(autouse=True)
def usual_ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three free ports instead of 50051 to 50053, which another stack may use."""
    assert dict(plan.USUAL_GRPC_PORTS) == USUAL
    runs = (range(first, first + 3) for first in range(15_001, 19_000, 4))
    free = next(run for run in runs if not any(ports.why_not("127.0.0.1", port) for port in (run[0] - 1, *run)))
    monkeypatch.setattr(plan, "USUAL_GRPC_PORTS", dict(zip(USUAL, free, strict=True)))
    return list(free)


def test_the_usual_ports_of_grpc_are_taken_when_they_are_free(tmp_path: Path, usual_ports: list[int]) -> None:
    assert made(tmp_path) == dict(zip(USUAL, usual_ports, strict=True))


def test_other_ports_are_chosen_if_a_usual_one_is_in_use(tmp_path: Path, usual_ports: list[int]) -> None:
    with socket.create_server(("127.0.0.1", usual_ports[1])):
        others = made(tmp_path)
    assert others.keys() == USUAL.keys()
    assert not {*others.values()} & {*usual_ports}


def test_other_ports_are_chosen_if_the_gateway_uses_a_usual_one(tmp_path: Path, usual_ports: list[int]) -> None:
    assert not {*made(tmp_path, port=usual_ports[2]).values()} & {*usual_ports}
