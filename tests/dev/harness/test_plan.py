"""Which ports the processes get."""

import socket
from pathlib import Path

import pytest

from dev.embedded import ports
from dev.harness import plan
from dev.local.settings import LocalSettings

USUAL = {"ingest": 50051, "delivery": 50052, "analytics": 50053}


def made(tmp_path: Path, port: int = 8080) -> dict[str, int]:
    return dict(plan.make(LocalSettings(data_dir=tmp_path, port=port, env="development", processes="five")).grpc_ports)


@pytest.fixture(autouse=True)
def usual_ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three free ports instead of 50051 to 50053, which another stack may use."""
    assert dict(plan.USUAL_GRPC_PORTS) == USUAL
    runs = (range(first, first + 3) for first in range(15_001, 19_000, 4))
    free = next(run for run in runs if not any(ports.why_not("127.0.0.1", port) for port in (run[0] - 1, *run)))
    monkeypatch.setattr(plan, "USUAL_GRPC_PORTS", dict(zip(USUAL, free, strict=True)))
    return list(free)


@pytest.mark.parametrize("processes", plan.SHAPES)
def test_every_role_has_one_process_with_its_environment(tmp_path: Path, processes: str) -> None:
    settings = LocalSettings(data_dir=tmp_path, port=8080, env="development", processes=processes)
    the_plan = plan.make(settings)
    roles = [role for of_process in the_plan.processes.values() for role in of_process]
    assert sorted(roles) == sorted(plan.ROLES)
    assert (
        len({*the_plan.metrics_ports.values()}) == len(the_plan.processes) == {"one": 1, "two": 2, "five": 5}[processes]
    )
    for name, of_process in the_plan.processes.items():
        command = the_plan.command(name, settings, database_url="postgresql://x", redis_url="redis://x")
        assert command.arguments[1:] == ["-m", "services", *of_process]
        environment = command.environment
        assert ("ENCRYPTION_KEYS" in environment) == bool({"ingest", "delivery", "worker"} & {*of_process})
        # Several roles have their own usual ports, unless these are taken.
        alone = len({*of_process} & {*plan.GRPC_ROLES}) == 1
        assert environment.get("GRPC_PORT") == (str(the_plan.grpc_ports[of_process[0]]) if alone else None)
        assert ("PORT" in environment) == ("gateway" in of_process)


@pytest.mark.parametrize(("processes", "name"), [("one", "service"), ("two", "front"), ("five", "relay")])
def test_a_relay_runs_if_there_is_an_outbox(tmp_path: Path, processes: str, name: str) -> None:
    url = "postgresql://shop/shop"
    settings = LocalSettings(
        data_dir=tmp_path, port=8080, env="development", processes=processes, outbox_database_url=url
    )
    the_plan = plan.make(settings)
    assert [each for each, of_process in the_plan.processes.items() if "relay" in of_process] == [name]
    command = the_plan.command(name, settings, database_url="postgresql://x", redis_url="redis://x")
    assert command.arguments[-1] == "relay"
    assert command.environment["INGEST_ADDR"] == f"127.0.0.1:{the_plan.grpc_ports['ingest']}"
    assert the_plan.metrics_ports.keys() == {*plan.ROLES, "relay"}


def test_several_roles_share_a_port_if_a_usual_one_is_in_use(tmp_path: Path, usual_ports: list[int]) -> None:
    settings = LocalSettings(data_dir=tmp_path, port=8080, env="development", processes="one")
    with socket.create_server(("127.0.0.1", usual_ports[1])):
        the_plan = plan.make(settings)
    (port,) = {*the_plan.grpc_ports.values()}
    command = the_plan.command("service", settings, database_url="postgresql://x", redis_url="redis://x")
    assert command.environment["GRPC_PORT"] == str(port)


def test_the_usual_ports_of_grpc_are_taken_when_they_are_free(tmp_path: Path, usual_ports: list[int]) -> None:
    assert made(tmp_path) == dict(zip(USUAL, usual_ports, strict=True))


def test_other_ports_are_chosen_if_a_usual_one_is_in_use(tmp_path: Path, usual_ports: list[int]) -> None:
    with socket.create_server(("127.0.0.1", usual_ports[1])):
        others = made(tmp_path)
    assert others.keys() == USUAL.keys()
    assert not {*others.values()} & {*usual_ports}


def test_other_ports_are_chosen_if_the_gateway_uses_a_usual_one(tmp_path: Path, usual_ports: list[int]) -> None:
    assert not {*made(tmp_path, port=usual_ports[2]).values()} & {*usual_ports}
