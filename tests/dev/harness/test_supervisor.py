"""When a process of a stack counts as started."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dev.harness import supervisor


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that BaseHTTPRequestHandler requires
            status, body = self.server.answer  # type: ignore[attr-defined]  # set by each test
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, {"status": "ready"}, True),
        (200, {"status": "ready", "degraded": {"redis": "away"}}, True),
        (200, {"status": "ready", "degraded": {"delivery": "NotServing: UNAVAILABLE"}}, False),
        (503, {"status": "not ready", "failures": {"postgres": "away"}}, False),
        (200, "no JSON object", False),
    ],
)
def test_a_process_is_started_once_it_is_ready_and_reaches_the_services_behind_it(
    server: Any,
    status: int,
    body: Any,
    ready: bool,  # noqa: FBT001 - a parameter
) -> None:
    server.answer = (status, b"<html>" if isinstance(body, str) else json.dumps(body).encode())
    assert supervisor.all_ready([f"http://127.0.0.1:{server.server_port}/readyz"]) is ready


def test_process_that_does_not_listen_is_not_started(free_port: int) -> None:
    assert not supervisor.all_ready([f"http://127.0.0.1:{free_port}/readyz"])
