"""What the user of `make run` sees."""

import contextlib
import sys
import time

from dev.harness.plan import Plan, address
from dev.local.settings import LocalSettings


class Output:
    """Print lines on standard output. A closed terminal does not prevent an orderly stop."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        """Print one line, at once."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def step(self, line: str) -> None:
        """Print one line with the seconds since the start."""
        self.say(f"{time.monotonic() - self._started:6.1f} s  {line}")

    def serving(self, plan: Plan, settings: LocalSettings) -> None:
        """Print where everything is and what to try, at the end of the start."""
        url = plan.gateway_url
        grpc = ", ".join(f"{role} {address(plan.reach, port)}" for role, port in plan.grpc_ports.items())
        key = ' \\\n       -H "Authorization: Bearer $BOOTSTRAP_ADMIN_KEY"' if settings.requires_key else ""
        keys = "Callers need a key, here BOOTSTRAP_ADMIN_KEY; see docs/guides/keys.md.\n\n" if key else ""
        shown = "Accepted events and failed attempts are shown here. " if settings.development else ""
        outbox = "\n  Outbox     relayed from OUTBOX_DATABASE_URL" if settings.outbox_database_url else ""
        self.say(f"""
Webhook service is ready.

  Console    {url}
  REST       {url}/api/v1
  Swagger    {url}/docs
  gRPC       {grpc}{outbox}
  Metrics    {plan.metrics_url}
  Logs       {plan.logs}
  All ports  {plan.ports_path}

Try it: subscribe your receiver, then send it something.

  curl -s {url}/api/v1/subscriptions/ -H 'Content-Type: application/json'{key} \\
       -d '{{"target_url": "http://127.0.0.1:9000/hook"}}'
  curl -s {url}/api/v1/webhooks/ingest/ID_FROM_ABOVE -H 'Content-Type: application/json'{key} \\
       -d '{{"payload": {{"hello": "world"}}}}'

{keys}{shown}Ctrl-C stops everything.
""")


def fail(line: str) -> None:
    """Print one line on standard error."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
