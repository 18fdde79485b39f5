# ruff: noqa: INP001 - mounted into a pod, and run there by its path
"""What `helm test` runs: publishes an event to a receiver of its own, waits for its delivery, and says what is away.

An installation that cannot reach Redis delivers all the same, so that only asking shows it.
"""

import http.server
import os
import socket
import sys
import threading
import time
import uuid
from typing import Any

import httpx

GATEWAY, RECEIVER = os.environ["GATEWAY_URL"], os.environ["RECEIVER_URL"]
PORT = int(os.environ.get("RECEIVER_PORT", "8080"))
TIMEOUT_SECONDS = 90.0
POLL_SECONDS = 0.5
received: list[bytes] = []


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 200 and remembers what it got."""

    def do_POST(self) -> None:
        """Record a delivery."""
        received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the lines of the test are enough."""


class Server(http.server.ThreadingHTTPServer):
    """Listens by IPv4 and IPv6, where the pod has both."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Accept IPv4 as well."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def asked(http_client: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    """Return a JSON response; retry refusals that say so, because pods may have just been replaced."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            answer = http_client.request(method, path, **arguments)
            if answer.status_code not in {429, 502, 503, 504}:
                answer.raise_for_status()
                return answer.json() if answer.content else None
            problem = f"{answer.status_code} {answer.text[:200]}"
        except httpx.TransportError as error:
            problem = repr(error)
        if time.monotonic() > deadline:
            sys.exit(f"{method} {path}: {problem}")
        say(f"{method} {path}: {problem}; again")
        time.sleep(POLL_SECONDS)


def degraded() -> list[str]:
    """Return what processes report as degraded in their readiness."""
    found = []
    for url in os.environ.get("READINESS_URLS", "").split():
        answer = httpx.get(url, timeout=5, trust_env=False)
        found += [f"{url}: {name}: {why}" for name, why in answer.json().get("degraded", {}).items()]
    return found


def main() -> None:
    """Exit with status 0 only when the event was delivered, byte for byte."""
    server = Server(("", PORT), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    headers = {"Authorization": f"Bearer {os.environ['ADMIN_KEY']}"}
    kind, payload = f"helm.test.{uuid.uuid4().hex}", {"number": uuid.uuid4().hex}
    with httpx.Client(base_url=GATEWAY, headers=headers, timeout=10, trust_env=False) as client:
        fields = {"target_url": RECEIVER, "event_types": [kind]}
        subscription = asked(client, "POST", "/api/v1/subscriptions/", json=fields)["id"]
        say(f"subscription {subscription} to {RECEIVER}")
        try:
            event = {"event_type": kind, "payload": payload}
            published = asked(client, "POST", "/api/v1/events", json=event)
            say(f"event {published}")
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while True:
                found = asked(client, "GET", f"/api/v1/subscriptions/{subscription}/deliveries")["items"]
                state = found[0]["status"] if found else "not there yet"
                if state == "delivered":
                    break
                if time.monotonic() > deadline or state in {"failed", "cancelled"}:
                    sys.exit(f"the delivery is {state}: {found}")
                time.sleep(POLL_SECONDS)
        finally:
            asked(client, "DELETE", f"/api/v1/subscriptions/{subscription}")
    if not any(payload["number"].encode() in body for body in received):
        sys.exit(f"delivered, but not to this receiver, which got {received}")
    say("delivered")
    if found := degraded():
        sys.exit(f"delivered, but degraded: {'; '.join(found)}")


if __name__ == "__main__":
    main()
