"""The event catalog: the official JSON Schema Test Suite, hostile schemas, and no network.

The suite comes with the source distribution of the package jsonschema, which pip downloads.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dev.shape import hostile_schemas
from services.domain.catalog.schemas import Schema
from services.platform import errors

SUITE = "jsonschema==4.25.1 --hash=sha256:e4a9655ce0da0c0b67a085847e00a3a51449e1157f4f75e9fb5aa545e122eb85"
TESTS = "json/tests/draft2020-12"
SCHEMAS = 1_000
BOUND_SECONDS = 0.020
# What another process interrupts is measured again.
TRIES = 3
SEED = 22


def run() -> bool:
    """Count everything, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        results, wrong = suite(_download(Path(folder)))
    _say(
        f"JSON Schema Test Suite, draft 2020-12: {results['passed']} passed, {results['failed']} failed, "
        f"{results['refused']} of schemas that are refused (unevaluated…, $dynamicRef, other documents)"
    )
    for name in wrong:
        _say(f"  failed: {name}")
    longest, refused, over = hostile(SEED, SCHEMAS)
    _say(
        f"{SCHEMAS} hostile schemas: {refused} refused, {SCHEMAS - refused} each with "
        f"{len(hostile_schemas.payloads(0))} payloads of up to 1 MiB; the longest took {longest * 1000:.1f} ms "
        f"of CPU time; {len(over)} took more than {BOUND_SECONDS * 1000:.0f} ms"
    )
    for name in over:
        _say(f"  {name}")
    asked = fetched()
    _say(f"connections that schemas caused: {asked}")
    return not (results["failed"] or over or asked)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _download(folder: Path) -> Path:
    """Return the folder with the tests of the suite."""
    wanted = folder / "wanted.txt"
    wanted.write_text(SUITE)
    command = (*(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "jsonschema"),)
    subprocess.run((*command, "--dest", str(folder), "-r", str(wanted)), check=True)  # noqa: S603
    (archive,) = folder.glob("jsonschema-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (found,) = folder.glob(f"jsonschema-*/{TESTS}")
    return found


def suite(folder: Path) -> tuple[Counter[str], list[str]]:
    """Count the tests of a folder of the suite: passed, failed, and those whose schema is refused; name the failed."""
    results: Counter[str] = Counter()
    wrong = []
    for path in sorted(folder.glob("*.json")):
        for case in json.loads(path.read_text()):
            schema = _compiled(case["schema"])
            if schema is None:
                results["refused"] += len(case["tests"])
                continue
            for test in case["tests"]:
                is_valid = not schema.violations(json.dumps(test["data"]).encode())
                results["passed" if is_valid == test["valid"] else "failed"] += 1
                if is_valid != test["valid"]:
                    wrong.append(f"{path.stem}: {case['description']}: {test['description']}")
    return results, wrong


def hostile(seed: int, number: int, bound_seconds: float = BOUND_SECONDS) -> tuple[float, int, list[str]]:
    """Compile schemas and validate with them; return the longest time, how many are refused, and what took too long."""
    longest, refused, over = 0.0, 0, []
    for count, schema in enumerate(hostile_schemas.schemas(seed, number)):
        text = json.dumps(schema).encode()
        took, compiled = _timed(lambda: _compiled(None, text), bound_seconds)  # noqa: B023 - called at once
        longest = max(longest, took)
        if took > bound_seconds:
            over.append(f"schema {count}, compiled in {took * 1000:.1f} ms: {text[:200]!r}")
        if compiled is None:
            refused += 1
            continue
        for place, payload in enumerate(hostile_schemas.payloads(seed + count)):
            took, _ = _timed(lambda: compiled.violations(payload), bound_seconds)  # noqa: B023 - called at once
            longest = max(longest, took)
            if took > bound_seconds:
                over.append(f"schema {count}, payload {place}, {took * 1000:.1f} ms: {text[:200]!r}")
    return longest, refused, over


def _timed(call: Callable[[], Any], bound_seconds: float) -> tuple[float, Any]:
    """Return the CPU time of a call of this thread, and what it returned."""
    best = float("inf")
    for _ in range(TRIES):
        began_at = time.thread_time()
        returned = call()
        best = min(best, time.thread_time() - began_at)
        if best <= bound_seconds:
            break
    return best, returned


def _compiled(schema: Any, text: bytes = b"") -> Schema | None:
    with contextlib.suppress(errors.InvalidArgument):
        return Schema(text or json.dumps(schema).encode())
    return None


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, Callable[[], int]]]:
    """Yield the port of a server, and what counts the connections to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)

        def count() -> int:
            number = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    number += 1
            return number

        yield server.getsockname()[1], count


def fetched() -> int:
    """Return how many connections a schema makes that refers to a server, in every way there is."""
    with listener() as (port, count):
        url = f"http://127.0.0.1:{port}/s.json"
        for schema in (
            {"$ref": url},
            {"$ref": f"{url}#/$defs/a"},
            {"$id": url, "$ref": "other.json"},
            {"$id": url, "properties": {"a": {"$ref": "#/$defs/b"}}},
            {"$schema": url},
            {"$dynamicRef": url},
            {"$vocabulary": {url: True}},
            {"properties": {"a": {"$id": url, "$ref": "b"}}},
            {"allOf": [{"$ref": f"//127.0.0.1:{port}/x"}]},
        ):
            found = _compiled(schema)
            if found is not None:
                found.violations(b'{"a": 1}')
        return count()
