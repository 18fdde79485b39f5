"""Logs as a process writes them."""

import json
import os
import subprocess
import sys

# A process's use of its logs; the settings come from the environment.
PROGRAM = """
import logging
import uuid
import structlog
from services.platform.process import logs
from services.platform.settings import Settings, load

logs.configure("ingest", load(Settings))
log = structlog.get_logger("services.example")
secret_key = "hunter2-s3cret"
log.debug("nothing to see")
log.info("delivered", event_id=str(uuid.UUID(int=7)), delivery_id=uuid.UUID(int=8), note="two\\nlines ☃")
try:
    raise ValueError("it broke\\nin two")
except ValueError:
    log.exception("an event cannot be stored", event_id="e1")
logging.getLogger("somebody.else").warning("a library %s", "says")
logging.getLogger("taskiq.receiver").info("one of a million")
"""


def _lines(program: str = PROGRAM, **environment: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8", **environment},
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


def test_lines_in_production_are_json_objects_with_their_ids() -> None:
    delivered, failed, foreign = (json.loads(line) for line in _lines(ENV="production"))
    assert delivered["event"] == "delivered"
    assert delivered["event_id"] == "00000000-0000-0000-0000-000000000007"
    assert delivered["delivery_id"] == "00000000-0000-0000-0000-000000000008"
    assert delivered["note"] == "two\nlines ☃"
    assert (delivered["level"], delivered["logger"], delivered["role"]) == ("info", "services.example", "ingest")
    assert delivered["timestamp"].endswith("Z")
    assert (failed["level"], failed["event_id"]) == ("error", "e1")
    assert "ValueError: it broke\nin two" in failed["exception"]
    assert (foreign["event"], foreign["logger"], foreign["role"]) == ("a library says", "somebody.else", "ingest")


def test_lines_in_development_are_readable() -> None:
    output = "\n".join(_lines(ENV="development"))
    assert "delivered" in output
    assert "delivery_id=" in output
    assert "ValueError: it broke" in output
    assert not output.startswith("{")


def test_a_trace_shows_no_local_variables_for_there_are_secrets_among_them() -> None:
    for env in ("production", "development"):
        shown = [line for line in _lines(ENV=env) if "hunter2" in line]
        assert shown == [], env


def test_the_level_is_a_setting() -> None:
    assert len(_lines(ENV="production", LOG_LEVEL="debug")) == 4
    assert len(_lines(ENV="production", LOG_LEVEL="error")) == 1


def test_lines_that_are_written_in_a_span_name_it_and_no_others() -> None:
    program = """
import logging
import structlog
from services.platform.process import logs
from services.platform.settings import Settings, load
from services.platform.tracing import spans
from tests.platform.tracing.recording import Kept
from services.platform.tracing.spans import Parent

logs.configure("ingest", load(Settings))
structlog.get_logger("own").info("before")
spans.CURRENT.set(Kept(Parent(7, 8, sampled=True)))
structlog.get_logger("own").info("in it")
logging.getLogger("somebody.else").warning("in it")
"""
    before, own, foreign = (json.loads(line) for line in _lines(program, ENV="production"))
    assert "trace_id" not in before
    assert own["trace_id"] == foreign["trace_id"] == f"{7:032x}"
    assert len(own["span_id"]) == 16


def test_control_characters_are_escaped_in_development() -> None:
    program = PROGRAM + (
        'log.warning("it said\\x1b[2J", said="\\x9b31m\\r\\n2026-01-01 [info] forged ☃")\n'
        'logging.getLogger("taskiq.receiver").warning("task %s\\n is not found", "\\x1b]0;title\\x07")\n'
    )
    ours, library = _lines(program, ENV="development")[-2:]
    assert (ours + library).isprintable()
    assert "it said\\x1b[2J" in ours
    assert "31m" in ours
    assert "[info] forged ☃" in ours
    assert "task \\x1b]0;title\\x07\\n is not found" in library
