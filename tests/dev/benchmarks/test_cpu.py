import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from dev.benchmarks.measuring import cpu

Run = Callable[[str], int]

# A tree like that of Postgres: the root forks children one after the other, each burns 20 ms, ends, and is waited for.
SHORT_LIVED = """
import os, sys, time
for _ in range(25):
    if not (child := os.fork()):
        until = time.process_time() + 0.02
        while time.process_time() < until: pass
        os._exit(0)
    os.waitpid(child, 0)
print("done", flush=True)
sys.stdin.read()
"""
# One that stays alive, and burns as well.
LIVING = """
import os, sys, time
if not os.fork():
    until = time.process_time() + 0.3
    while time.process_time() < until: pass
    print("done", flush=True)
    time.sleep(30)
sys.stdin.read()
"""


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        return process.pid

    yield start
    for process in started:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
        process.communicate()


def test_children_that_ended_and_were_waited_for_are_not_lost(run: Run) -> None:
    pid = run(SHORT_LIVED)

    # 25 times 20 ms; the system's clock ticks every 10 ms.
    assert cpu.seconds({"tree": [pid]})["tree"] >= 0.45


def test_living_children_count(run: Run) -> None:
    pid = run(LIVING)

    assert cpu.seconds({"tree": [pid]})["tree"] >= 0.28


def test_processes_under_one_name_are_added_up(run: Run) -> None:
    one, other = run(LIVING), run(SHORT_LIVED)

    both = cpu.seconds({"both": [one, other]})["both"]
    assert both == pytest.approx(sum(cpu.seconds({"one": [one], "other": [other]}).values()), abs=0.05)


def test_a_process_that_sleeps_takes_nothing(run: Run) -> None:
    pid = run("print('done', flush=True); import sys; sys.stdin.read()")

    before = cpu.seconds({"idle": [pid]})
    time.sleep(0.1)
    assert cpu.difference(cpu.seconds({"idle": [pid]}), before)["idle"] <= 0.01


def test_memory_is_reported_for_the_whole_process_tree(run: Run) -> None:
    memory = cpu.memory({"tree": [run(LIVING)]})["tree"]

    assert 1 < memory.pss_mb <= memory.rss_mb + 1
