"""A server that plays the exchanges of sdk/conformance/scenarios.json."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Exchanges:
    """Responds as the exchanges say, and keeps what was sent."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self.url = ""
        self.received: list[dict[str, Any]] = []
        self._exchanges = exchanges
        self._lock = threading.Lock()

    def take(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what to respond to a request."""
        with self._lock:
            self.received.append(request)
            place = len(self.received) - 1
        extra: dict[str, Any] = {"status": 500, "text": "there is no such request in the scenario"}
        return self._exchanges[place]["response"] if place < len(self._exchanges) else extra

    def check(self) -> None:
        """Compare what was sent with what was expected."""
        expected = [exchange["request"] for exchange in self._exchanges]
        assert len(self.received) == len(expected), self.received
        before = ""
        for request, wanted in zip(self.received, expected, strict=True):
            assert request["method"] == wanted["method"]
            assert parts(request["path"]) == parts(wanted["path"])
            key = request["headers"].get("idempotency-key", "")
            if "body" in wanted:
                assert json.loads(request["body"]) == wanted["body"]
            for name, value in wanted.get("headers", {}).items():
                assert request["headers"][name.lower()] == value
            if "has_idempotency_key" in wanted:
                assert bool(key) == wanted["has_idempotency_key"]
            if wanted.get("same_idempotency_key"):
                assert key == before
            before = key


def parts(path: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a path and its parameters, whose order has no meaning."""
    split = urlsplit(path)
    return split.path, sorted(parse_qsl(split.query))


@contextlib.contextmanager
def playing(exchanges: list[dict[str, Any]]) -> Iterator[Exchanges]:
    """Serve exchanges."""
    played = Exchanges(exchanges)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = played.take({"method": self.command, "path": self.path, "headers": headers, "body": body})
            self.close_connection = True
            if response.get("cut"):
                return
            content = json.dumps(response["body"]).encode() if "body" in response else response.get("text", "").encode()
            self.send_response(response["status"])
            for name, value in {"Content-Type": "application/json", **response.get("headers", {})}.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            if response["status"] != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - http.server names them

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        played.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield played
        finally:
            server.shutdown()
            thread.join()
