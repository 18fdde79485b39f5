"""A helper process that reads commands as JSON lines from its standard input, and answers on its standard output.

It ends when its input ends, so helpers never outlive the benchmark.
"""

import asyncio
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from dev.benchmarks.bench import BenchmarkError
from dev.harness.load.messages import Message

ROOT = Path(__file__).resolve().parents[3]
TICK_SECONDS = 0.1
STOP_SECONDS = 3.0
# Maximum size of a command or an answer: a byte or two for each request of a long run.
LINE_BYTES = 256 << 20


class Helper:
    """The benchmark's side of a helper. `name` is its name in the tables."""

    def __init__(self, name: str, module: str, arguments: Sequence[str] = ()) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._read = bytearray()

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # Ctrl-C in the terminal is for the benchmark, which then ends its helpers.
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it by closing its input, or by SIGKILL if it does not react."""
        process = self._running
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._running.pid

    def tell(self, command: msgspec.Struct) -> None:
        """Send a command without waiting. Raise BenchmarkError if the helper has ended."""
        try:
            assert self._running.stdin is not None
            self._running.stdin.write(msgspec.json.encode(command) + b"\n")
            self._running.stdin.flush()
        except OSError as error:
            raise BenchmarkError(f"the {self.name} has ended") from error

    def hear(
        self, answer: type[Message], timeout_seconds: float, *, on_tick: Callable[[], None] = lambda: None
    ) -> Message:
        """Wait for the next answer; `on_tick` runs ten times a second. BenchmarkError if no answer arrives."""
        deadline = time.monotonic() + timeout_seconds
        assert self._running.stdout is not None
        number = self._running.stdout.fileno()
        while (end := self._read.find(b"\n")) < 0:
            if not select.select([number], [], [], TICK_SECONDS)[0]:
                on_tick()
                if time.monotonic() > deadline:
                    raise BenchmarkError(f"the {self.name} does not answer within {timeout_seconds:g} s")
                continue
            read = os.read(number, 1 << 20)
            if not read:
                raise BenchmarkError(f"the {self.name} has ended")
            self._read += read
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return msgspec.json.decode(line, type=answer)

    def ask(self, command: msgspec.Struct, answer: type[Message], timeout_seconds: float = 30.0) -> Message:
        """Send a command and wait for its answer."""
        self.tell(command)
        return self.hear(answer, timeout_seconds)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BenchmarkError(f"the {self.name} was not started")
        return self._process


def answer(message: msgspec.Struct) -> None:
    """Send an answer; used in the helper."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


async def commands() -> asyncio.StreamReader:
    """Yield the commands, a line each, while the event loop keeps running; used in the helper."""
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
