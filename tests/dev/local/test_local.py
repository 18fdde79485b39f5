"""The local stack: python -m dev.local."""

import functools
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from psutil import NoSuchProcess, Process

from dev.embedded import processes
from dev.harness.receiver import Receiver, Reply
from dev.harness.stack import ROLES, Stack
from dev.harness.waiting import wait_until, wait_until_sync

SUBSCRIPTIONS = "/api/v1/subscriptions/"

MakeStack = Callable[..., Stack]


@pytest.fixture
def make_stack(short_folder: Path) -> Iterator[MakeStack]:
    """Start stacks, and stop those that the test left running."""
    made: list[Stack] = []

    def make(name: str, **options: object) -> Stack:
        made.append(Stack(short_folder / name, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for stack in made:
        stack.stop()


def _subscribe(stack: Stack, target_url: str) -> str:
    answer = httpx.post(stack.base_url + SUBSCRIPTIONS, json={"target_url": target_url}, timeout=60)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def _subscriptions(stack: Stack) -> list[str]:
    answer = httpx.get(stack.base_url + SUBSCRIPTIONS, timeout=60)
    assert answer.status_code == httpx.codes.OK, answer.text
    return [item["id"] for item in answer.json()["items"]]


def _ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=30).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_processes_are_all_ready_at_the_ports_in_ports_json(stack: Stack) -> None:
    """Each has its own session, its role in its command line, and DATA_DIR in its environment."""
    ports = stack.ports
    assert ports["gateway"] == stack.port
    assert ports["supervisor_pid"] == stack.process.pid
    assert set(ports) >= {"ingest", "delivery", "analytics", "postgres", "redis", "database_url", "redis_url"}
    assert all(_ready(f"http://127.0.0.1:{ports['metrics'][role]}/readyz") for role in ROLES)
    assert _ready(f"{stack.base_url}/readyz")
    # URLs of external stores contain passwords.
    assert stat.S_IMODE((stack.data_dir / "ports.json").stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    for role in ROLES:
        pid = stack.pid_of(role)
        assert pid is not None
        assert os.getsid(pid) == pid
        command = " ".join(Process(pid).cmdline()[1:])
        assert [word for word in ROLES if word in command] == [role]
        assert Process(pid).environ()["DATA_DIR"] == str(stack.data_dir)


def test_the_output_ends_with_what_to_open_and_what_to_try(stack: Stack) -> None:
    """URL, Swagger URL, a curl."""
    assert f"{stack.base_url}/docs" in stack.output
    assert f"curl -s {stack.base_url}/api/v1/subscriptions/" in stack.output
    assert f"ingest 127.0.0.1:{stack.ports['ingest']}, delivery 127.0.0.1:" in stack.output


def test_a_port_in_use_is_reported_in_one_line_and_nothing_starts(stack: Stack, make_stack: MakeStack) -> None:
    """Exit status 1."""
    other = make_stack("taken", port=stack.port)
    other.launch()
    assert other.process.wait(120) == 1
    assert other.output.splitlines() == [
        f"PORT {stack.port} is already in use; choose another one, for example PORT={stack.port + 1}"
    ]
    assert not (other.data_dir / "postgres").exists()


def test_a_data_dir_in_use_is_reported_in_one_line(stack: Stack, make_stack: MakeStack) -> None:
    """It names the process that uses the port."""
    other = make_stack(stack.data_dir.name)
    output = stack.output_path.read_bytes()
    other.output_path = stack.output_path.with_name("in-use.output")
    other.launch()
    assert other.process.wait(120) == 1
    assert other.output.splitlines() == [
        f"DATA_DIR {stack.data_dir} is in use by another running stack (pid {stack.process.pid})"
    ]
    assert stack.output_path.read_bytes() == output
    assert _ready(f"{stack.base_url}/readyz")


def test_an_invalid_setting_is_reported_in_one_line(make_stack: MakeStack) -> None:
    """Named like its variable."""
    stack = make_stack("wrong", environment={"PORT": "many"})
    stack.launch()
    assert stack.process.wait(120) != 0
    assert len(stack.output.splitlines()) == 1
    assert stack.output.startswith("PORT: ")


def test_a_killed_process_is_started_again(make_stack: MakeStack) -> None:
    """On its ports, with a line that names it and its exit status."""
    stack = make_stack("killed")
    stack.start()
    for role in ROLES:
        _kill_and_see_another(stack, role)
    for role in ROLES:
        url = f"http://127.0.0.1:{stack.ports['metrics'][role]}/readyz"
        wait_until_sync(functools.partial(_ready, url), what=f"a ready {role}")
    assert _ready(f"{stack.base_url}/readyz")


def _kill_and_see_another(stack: Stack, role: str) -> None:
    pid = stack.kill_role(role)
    wait_until_sync(lambda: stack.pid_of(role) not in {None, pid}, what=f"a new {role}")
    line = f"{role} (pid {pid}) died: killed by SIGKILL; restarting it"
    wait_until_sync(lambda: line in stack.output, what=line)


def _name(process: Process) -> str | None:
    try:
        return str(process.name())
    except NoSuchProcess:  # Postgres's helpers start and end.
        return None


async def test_killed_stores_are_started_again_and_deliveries_go_on(make_stack: MakeStack, receiver: Receiver) -> None:
    """Accepted events are still there."""
    stack = make_stack("stores", processes="one")
    stack.start()
    subscription = _subscribe(stack, receiver.url())
    for program in ("postgres", "valkey-server"):
        # The postmaster is the oldest.
        oldest = min((p for p in stack.processes() if _name(p) == program), key=lambda p: (p.create_time(), p.pid))
        before = stack.output.count("runs again")
        oldest.kill()
        await wait_until(lambda: stack.output.count("runs again") > before, what=f"a new {program}")  # noqa: B023 - now
    await wait_until(lambda: _ready(f"{stack.base_url}/readyz"), what="readiness")
    url = f"{stack.base_url}/api/v1/webhooks/ingest/{subscription}"
    async with httpx.AsyncClient(timeout=60) as client:

        async def accepted() -> bool:
            return (await client.post(url, json={"payload": {}}, timeout=30)).status_code == httpx.codes.ACCEPTED

        await wait_until(accepted, what="an accepted webhook")
    await receiver.wait_for(1)


async def test_a_delivery_survives_the_kill_of_its_worker(make_stack: MakeStack, receiver: Receiver) -> None:
    """The request hangs when the worker dies. After its lease it is sent again."""
    stack = make_stack("lease", environment={"LEASE_SECONDS": "10", "DELIVERY_TIMEOUT_SECONDS": "5"})
    stack.start()
    receiver.script(Reply(hang=True), then=200)
    subscription = _subscribe(stack, receiver.url())
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as client:
        answer = await client.post(f"/api/v1/webhooks/ingest/{subscription}", json={"payload": {"n": 1}})
        assert answer.status_code == httpx.codes.ACCEPTED
        await receiver.wait_for(1)
        stack.kill_role("worker")
        await receiver.wait_for(2)

        async def delivered() -> bool:
            delivery = await client.get(f"/api/v1/webhooks/deliveries/{answer.json()['delivery_id']}")
            return bool(delivery.json()["status"] == "delivered")

        await wait_until(delivered)


def test_stack_ends_after_three_deaths_in_thirty_seconds_and_shows_the_last_lines(make_stack: MakeStack) -> None:
    """No process can start without its certificate."""
    files = ("GRPC_TLS_CERT_FILE", "GRPC_TLS_KEY_FILE", "GRPC_TLS_CA_FILE")
    stack = make_stack("deaths", environment=dict.fromkeys(files, "/nowhere.pem"))
    stack.launch()
    assert stack.process.wait(200) == 1
    assert "3 deaths within 30 s" in stack.output
    # The last lines of the dead one, from its log.
    assert "GRPC_TLS_CERT_FILE: /nowhere.pem cannot be read" in stack.output
    assert not stack.processes()


def test_invalid_settings_of_any_process_are_reported_before_anything_starts(make_stack: MakeStack) -> None:
    """A line each, with exit status 2."""
    stack = make_stack("unset", environment={"LOG_RETENTION_HOURS": "never", "WORKER_CONCURRENCY": "x"})
    stack.launch()
    assert stack.process.wait(120) == 2
    assert [line.split(":")[0] for line in stack.output.splitlines()] == ["LOG_RETENTION_HOURS", "WORKER_CONCURRENCY"]
    assert not stack.data_dir.exists()


async def test_the_terminal_shows_accepted_events_and_failed_attempts(stack: Stack, receiver: Receiver) -> None:
    """It shows what a developer needs to know about each webhook."""
    receiver.script(500, then=200)
    subscription = _subscribe(stack, receiver.url())
    url = f"{stack.base_url}/api/v1/webhooks/ingest/{subscription}"
    async with httpx.AsyncClient(timeout=60) as client:
        answer = (await client.post(url, json={"payload": 1}, headers={"X-Event-Type": "order.paid"})).json()
    accepted = f"accepted order.paid as event {answer['event_id']}: 1 delivery"
    attempt = f"an attempt of delivery {answer['delivery_id']} to 127.0.0.1"
    failed = f"{attempt} failed: http_5xx, the receiver responded with 500; "
    await wait_until(lambda: accepted in stack.output and failed in stack.output, what="both lines")


def test_hints_work_where_keys_are_required(make_stack: MakeStack) -> None:
    """The examples as they are printed, pasted into a shell."""
    keys = {"BOOTSTRAP_ADMIN_KEY": "whk_" + "b" * 40, "SERVICE_KEY": "s" * 40}
    stack = make_stack("keys", environment={"AUTH_REQUIRED": "true", **keys}, processes="one")
    stack.start()
    create, send = re.findall(r"^  curl .*?'$", stack.output, re.MULTILINE | re.DOTALL)
    made = _in_shell(create, keys)
    assert made["target_url"] == "http://127.0.0.1:9000/hook"
    assert _in_shell(send.replace("ID_FROM_ABOVE", made["id"]), keys)["delivery_id"]
    assert keys["BOOTSTRAP_ADMIN_KEY"] not in stack.output


def _in_shell(command: str, environment: dict[str, str]) -> dict[str, str]:
    shell = ["sh", "-c", command]
    result = subprocess.run(shell, check=True, capture_output=True, env={"PATH": os.environ["PATH"], **environment})
    answer: dict[str, str] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_and_leaves_nothing(make_stack: MakeStack, number: signal.Signals) -> None:
    """Within 10 s: no process, no socket folder, no ports.json."""
    stack = make_stack("stopped", processes="one")
    stack.start()
    sockets = Path(stack.ports["database_url"].split("host=")[1].split("&")[0])
    assert sockets.is_dir()
    assert stack.stop(number) == 0
    assert not stack.processes()
    assert not sockets.exists()
    assert not (stack.data_dir / "ports.json").exists()


def test_a_signal_during_the_start_stops_everything(make_stack: MakeStack) -> None:
    """As soon as something is running."""
    stack = make_stack("early", processes="one")
    stack.launch()
    wait_until_sync(lambda: any(_name(process) == "postgres" for process in stack.processes()), what="Postgres")
    assert stack.stop() == 0
    assert not stack.processes()


def test_data_outlives_a_restart(make_stack: MakeStack) -> None:
    """Subscriptions of the first run still exist in the second."""
    stack = make_stack("restarted", processes="one")
    # Under nohup, the tests ignore the signal, and the stack would, too.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        stack.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    subscription = _subscribe(stack, "http://127.0.0.1:9/hook")
    # As a closed terminal does.
    assert stack.stop(signal.SIGHUP) == 0
    stack.start()
    assert subscription in _subscriptions(stack)


def test_a_killed_supervisor_leaves_nothing_and_its_data_to_the_next(make_stack: MakeStack) -> None:
    """The next one waits for the remaining processes, on the same PORT and DATA_DIR."""
    stack = make_stack("orphans", processes="one")
    stack.start()
    subscription = _subscribe(stack, "http://127.0.0.1:9/hook")
    remains = stack.processes()
    assert remains
    stack.kill()
    stack.start()
    assert not any(processes.alive(process) for process in remains)
    assert subscription in _subscriptions(stack)


def test_stacks_run_side_by_side(stack: Stack, make_stack: MakeStack) -> None:
    """Each has its own data and ports, and stops without the other."""
    other = make_stack("beside", processes="one")
    other.start()
    roles = ("ingest", "delivery", "analytics")
    assert not {stack.ports[role] for role in roles} & {other.ports[role] for role in roles}
    subscription = _subscribe(other, "http://127.0.0.1:9/hook")
    assert subscription not in _subscriptions(stack)
    other.stop()
    assert _ready(f"{stack.base_url}/readyz")


def test_named_stores_are_used_in_place_of_our_own(make_stack: MakeStack, database: str, redis_url: str) -> None:
    """By DATABASE_URL and REDIS_URL; no store is started."""
    stack = make_stack("named", environment={"DATABASE_URL": database, "REDIS_URL": redis_url}, processes="one")
    stack.start()
    assert stack.ports["postgres"] is None
    assert stack.ports["redis"] is None
    assert not any(_name(process) in {"postgres", "valkey-server"} for process in stack.processes())
    _subscribe(stack, "http://127.0.0.1:9/hook")


def test_settings_come_from_dotenv_too(make_stack: MakeStack, database: str, redis_url: str) -> None:
    """An .env beside where the stack is started."""
    stack = make_stack("dotenv/data", processes="one")
    stack.data_dir.parent.mkdir(parents=True)
    (stack.data_dir.parent / ".env").write_text(f"DATABASE_URL={database}\nREDIS_URL={redis_url}\n")
    stack.start()
    assert stack.ports["database_url"] == database
    assert stack.ports["redis_url"] == redis_url
