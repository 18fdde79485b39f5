"""The process in which sources are rendered: python -m services.domain.templates.child.

MiniJinja counts instructions, but one of them can take any time and memory, and what Rust cannot allocate ends the
process. So the process that answers is a fork of one that only waits: when it ends, another takes its place within
about a millisecond, and the request that ended it is answered with the signal. It reads requests from standard input,
one at a time, and knows no environment, no store and no key.
"""

import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from services.domain.templates import presets
from services.domain.templates.event import Event
from services.domain.templates.sources import Sources
from services.domain.templates.template import Template, TemplateFailed

# Processor time of rendering, and of compiling, and memory on top of what the process has with the decoded event. The
# system looks at the time only every few milliseconds, so a process may get some more: all in all less than 20 ms.
CPU_SECONDS, COMPILING_SECONDS = 0.004, 0.008
MEMORY_BYTES = 32 << 20
# To read a request, and to make a preset of it: both take as long as the payload is large.
READING_SECONDS = 0.25
READING_BYTES = 256 << 20
# A process that has grown by this much is replaced.
GROWN_BYTES = 64 << 20
LENGTH = struct.Struct("<I")
# What both processes see: processor time and memory of the answering one as the bounds began.
_BEGUN = struct.Struct("<dq")
ENDED, REPLACED = 0, 3
TOO_LONG, TOO_LARGE = "too long", "too large"
_FIRST = '{"a": {{ event.data.a }}, "b": "{% for x in [1] %}{{ x }}{% endfor %}"}'


class Request(msgspec.Struct, kw_only=True):
    """What is asked for. Without an event, only whether the template is one."""

    template: Template
    event: Event | None = None
    secrets: Mapping[str, str] = {}


class Reply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The body, or why there is none."""

    body: bytes | None = None
    content_type: str = ""
    headers: Mapping[str, str] = {}
    # Of a check.
    secrets: list[str] = []
    error: str | None = None
    line: int | None = None
    near: str = ""
    # TOO_LONG or TOO_LARGE: the process had to end.
    ended: str | None = None
    # What compiling or rendering took, whichever took more: processor time, and growth of the process.
    cpu_seconds: float = 0.0
    grown_bytes: int = 0


_REQUESTS = msgspec.msgpack.Decoder(Request)


def answer(sources: Sources, request: Request, limit: "Limit") -> Reply:
    """Check or render a template."""
    template = request.template
    try:
        source, content_type = template.source or "", template.content_type or ""
        if request.event is None:
            limit.begin(COMPILING_SECONDS, MEMORY_BYTES)
            return Reply(secrets=sources.check(source, content_type))
        if template.preset is not None:
            made = presets.render(template.preset, request.event, request.secrets)
        else:
            variables = request.event.variables(request.secrets)
            limit.begin(COMPILING_SECONDS, MEMORY_BYTES)
            compiled = sources.compiled(source, content_type)
            limit.begin(CPU_SECONDS, MEMORY_BYTES)
            made = sources.render(compiled, content_type, variables, len(request.event.payload))
    except TemplateFailed as failed:
        return Reply(error=failed.message, line=failed.line, near=failed.near)
    except MemoryError:
        return Reply(ended=TOO_LARGE)
    return Reply(body=made.body, content_type=made.content_type, headers=made.headers)


class Limit:
    """Bounds of this process's time and memory."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared
        self._statm = Path("/proc/self/statm")
        self._first, _ = self._sizes()
        # The most that one stage took.
        self.cpu_seconds = 0.0

    @property
    def grown(self) -> bool:
        """Whether the process has grown too much."""
        return self._sizes()[0] - self._first > GROWN_BYTES

    def begin(self, seconds: float, more_bytes: int) -> None:
        """End the process when it takes more from now on: SIGPROF, MemoryError, or an abort."""
        self._note()
        size, resident = self._sizes()
        if size:
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (size + more_bytes, hard))
        _BEGUN.pack_into(self._shared, 0, time.process_time(), resident)
        signal.setitimer(signal.ITIMER_PROF, seconds)

    def end(self) -> None:
        """Lift the bounds."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._note()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

    def reset(self) -> None:
        """Begin another request."""
        self.cpu_seconds = 0.0
        _BEGUN.pack_into(self._shared, 0, time.process_time(), self._sizes()[1])

    def _note(self) -> None:
        self.cpu_seconds = max(self.cpu_seconds, time.process_time() - _BEGUN.unpack_from(self._shared)[0])

    def _sizes(self) -> tuple[int, int]:
        """Return the size of the address space, and what of it is in memory; 0 where the system does not say."""
        try:
            size, resident = self._statm.read_text().split()[:2]
        except OSError:
            return 0, 0
        return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def _took(shared: mmap.mmap, usage: resource.struct_rusage) -> tuple[float, int]:
    """Return the processor time of a process since its bounds began, and how much memory it got."""
    began, resident = _BEGUN.unpack_from(shared)
    most = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(0.0, usage.ru_utime + usage.ru_stime - began), max(0, most - resident) if resident else 0


def warmed() -> None:
    """Render once without bounds: the first time takes 40 times as long, and no tenant's template should pay for it."""
    sources = Sources()
    event = Event(id="", type="", time="", content_type="application/json", payload=b'{"a": 1}')
    for content_type in ("application/json", "text/plain"):
        sources.check(_FIRST, content_type)
        sources.render(sources.compiled(_FIRST, content_type), content_type, event.variables({}), len(event.payload))


def serve(shared: mmap.mmap) -> int:
    """Answer requests until there are no more, or until this process is to be replaced."""
    warmed()
    sources, limit = Sources(), Limit(shared)
    while True:
        head = _read(LENGTH.size)
        if head is None:
            return ENDED
        body = _read(*LENGTH.unpack(head))
        if body is None:
            return ENDED
        limit.reset()
        limit.begin(READING_SECONDS, READING_BYTES)
        made = answer(sources, _REQUESTS.decode(body), limit)
        limit.end()
        made.cpu_seconds = limit.cpu_seconds
        made.grown_bytes = _took(shared, resource.getrusage(resource.RUSAGE_SELF))[1]
        _write(made)
        if made.ended or limit.grown:
            return REPLACED


def main() -> None:
    """Fork a process that answers, and another one when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shared = mmap.mmap(-1, _BEGUN.size)
    warmed()
    while True:
        child = os.fork()
        if not child:
            code = 1
            try:
                code = serve(shared)
            finally:
                os._exit(code)
        _, status, usage = os.wait4(child, 0)
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) == ENDED:
            return
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) == REPLACED:
            continue
        is_late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
        cpu_seconds, grown_bytes = _took(shared, usage)
        reply = Reply(ended=TOO_LONG if is_late else TOO_LARGE, cpu_seconds=cpu_seconds, grown_bytes=grown_bytes)
        _write(reply)


def _read(size: int) -> bytes | None:
    """Read so many bytes, which may be a few pieces of a pipe; None at its end."""
    pieces = []
    while size:
        piece = os.read(0, min(size, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _write(reply: Any) -> None:
    body = msgspec.msgpack.encode(reply)
    whole = memoryview(LENGTH.pack(len(body)) + body)
    while whole:
        whole = whole[os.write(1, whole) :]


if __name__ == "__main__":
    main()
