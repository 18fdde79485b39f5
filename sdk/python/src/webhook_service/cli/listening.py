"""listen: forwards deliveries to a server on this machine. No relay is needed: this pulls them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer
from msgspec import UNSET

from webhook_service import pulling
from webhook_service.cli import session, subscriptions
from webhook_service.cli.output import Output
from webhook_service.cli.session import Session
from webhook_service.errors import NotFound, WebhookServiceError
from webhook_service.models import CreatedSubscription

# The service deletes the subscription after this time without a pull, if the command was killed.
IDLE_SECONDS = 3600
# Short, so that an interrupted command ends soon.
WAIT_SECONDS = 10.0
LEASE_SECONDS = 60.0
FORWARD_SECONDS = 30.0
_SUCCESS = range(200, 300)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(listen)


def listen(
    context: typer.Context,
    forward_to: Annotated[str, typer.Option(help="A server, such as localhost:3000 or localhost:3000/hook.")],
    events: Annotated[list[str] | None, typer.Option(help="Types, such as order.*. Repeatable. Default: all.")] = None,
    condition: Annotated[str | None, typer.Option("--filter", help="Condition in CEL on events.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Listen to what this subscription gets: id or name.")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="File with the signing secret. Default: a new one.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many deliveries.")] = None,
) -> None:
    """Forward deliveries to a server on this machine, with their exact bytes and headers, until interrupted.

    A temporary subscription gets them; what the server responds is the result of the attempt. Press r to send the last
    delivery to the server again.
    """
    asked = session.of(context)
    if (events or condition) and subscription:
        option = "--events: the types are those" if events else "--filter: it is that"
        raise ValueError(f"--subscription cannot be combined with {option} of the subscription")
    wanted = _Wanted(event_types=events or [], filter=condition) if subscription is None else _of(asked, subscription)
    listener = _Listener(asked, target(forward_to), wanted, _secret(secret_file))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            listener.run(count)
    finally:
        listener.end()


def target(text: str) -> str:
    """Return the URL of a server that was given as host and port, or a port."""
    if text.isdecimal():
        text = f"localhost:{text}"
    url = text if "://" in text else f"http://{text}"
    if not urlsplit(url).hostname:
        raise ValueError(f"--forward-to must be a server such as localhost:3000, not {text}")
    return url


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Which events to listen to, and what is made of them."""

    event_types: list[str]
    filter: str | None
    filter_on_error: str = "deliver"
    template: dict[str, Any] | None = None
    template_secrets: dict[str, str] | None = None


def _of(asked: Session, subscription: str) -> _Wanted:
    """Return what a subscription gets. Secrets cannot be read back: its template gets *** for each."""
    found = asked.client.subscriptions.get(subscriptions.found(asked, subscription))
    template = found.template
    return _Wanted(
        event_types=found.event_types,
        filter=found.filter,
        filter_on_error=found.filter_on_error,
        template=None
        if template is None
        else {name: value for name, value in template.to_dict().items() if value is not None},
        template_secrets=dict.fromkeys(found.template_secret_names, "***"),
    )


def _secret(file: Path | None) -> str | None:
    if file is None:
        return None
    found = file.read_text().strip()
    if not found:
        raise ValueError(f"{file} is empty: it must have a signing secret")
    return found


class _Listener:
    """Pulls deliveries, and forwards each."""

    def __init__(self, asked: Session, url: str, wanted: _Wanted, secret: str | None) -> None:
        self._asked = asked
        self._url = url
        self._wanted = wanted
        self._secret = secret
        self._http = httpx.Client(timeout=FORWARD_SECONDS, trust_env=False, follow_redirects=False)
        self._last: pulling.Pulled | None = None
        self._subscription: CreatedSubscription | None = None

    @property
    def _output(self) -> Output:
        return self._asked.output

    def run(self, count: int | None) -> None:
        """Forward deliveries until interrupted, or so many."""
        forwarded = 0
        with _keys(self._pressed):
            while count is None or forwarded < count:
                created = self._subscription or self._subscribe()
                try:
                    wanted = 1 if count is None else min(10, count - forwarded)
                    found = self._pull(created.id, wanted)
                    for delivery in found:
                        self._forward(delivery)
                        forwarded += 1
                except NotFound:
                    self._output.say("the subscription has ended; making another", "yellow")
                    self._subscription = None

    def end(self) -> None:
        """Delete the subscription."""
        if self._subscription is not None:
            with contextlib.suppress(WebhookServiceError):
                self._asked.client.subscriptions.delete(self._subscription.id)
        self._http.close()

    def _subscribe(self) -> CreatedSubscription:
        created = self._asked.client.subscriptions.create(
            destination="pull",
            event_types=self._wanted.event_types,
            filter=self._wanted.filter,
            filter_on_error=self._wanted.filter_on_error,
            description="webhookctl listen",
            expires_after_idle_seconds=IDLE_SECONDS,
            secret_key=self._secret or UNSET,
            template=self._wanted.template,
            template_secrets=self._wanted.template_secrets,
        )
        self._subscription = created
        kinds = ", ".join(self._wanted.event_types) or "all events"
        if self._wanted.filter is not None:
            kinds += f" with {self._wanted.filter}"
        if created.secret_key:
            self._output.say(f"signing secret: {created.secret_key}")
        self._output.say(f"listening for {kinds}, forwarding to {self._url}; press Ctrl+C to end")
        return created

    def _pull(self, subscription_id: str, most: int) -> Iterator[pulling.Pulled]:
        """Yield what is there now, or soon. While the service is away, as after a sleep of this machine, try again."""
        failures = 0
        while True:
            try:
                pulled = self._asked.client.subscriptions.pull(
                    subscription_id, max_deliveries=most, wait_seconds=WAIT_SECONDS, lease_seconds=LEASE_SECONDS
                )
                break
            except WebhookServiceError as error:
                if not pulling.is_passing(error):
                    raise
                failures += 1
                if failures == 1:
                    self._output.say(f"the service cannot be reached, trying again: {error}", "yellow")
                time.sleep(pulling.pause(failures))
        if failures:
            self._output.say("the service can be reached again", "green")
        for delivery in pulled.deliveries:
            yield pulling.Pulled(
                subscription_id=subscription_id, delivery=delivery, subscriptions=self._asked.client.subscriptions
            )

    def _forward(self, delivery: pulling.Pulled) -> None:
        status, said = self._send(delivery)
        self._last = delivery
        try:
            if status in _SUCCESS:
                delivery.succeed(status_code=status)
            else:
                delivery.fail(said, status_code=status or None)
        except pulling.LeaseExpired:
            said = f"{said}; too late, it is sent again"
        self._print(delivery, status, said)

    def _send(self, delivery: pulling.Pulled) -> tuple[int, str]:
        """Return what the server responded; 0 without a response."""
        # Not by the client's post(), which would add headers of its own.
        request = httpx.Request("POST", self._url, headers=delivery.headers, content=delivery.payload)
        request.extensions = {"timeout": self._http.timeout.as_dict()}
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            return 0, f"no response from {self._url}: {error}"
        return response.status_code, f"the server responded {response.status_code}"

    def _print(self, delivery: pulling.Pulled, status: int, said: str, note: str = "") -> None:
        if self._output.is_json:
            self._output.json(
                {
                    "delivery_id": delivery.id,
                    "event_type": delivery.event_type,
                    "attempt": delivery.attempt,
                    "status_code": status or None,
                    "message": said,
                }
            )
            return
        style = "green" if status in _SUCCESS else "red"
        when = f"{datetime.now(UTC):%H:%M:%S}"
        outcome = str(status) if status else said
        attempt = f"  attempt {delivery.attempt}" if delivery.attempt > 1 else ""
        self._output.line(
            f"{when}  {delivery.event_type or '-'}  ", (outcome, style), f"{attempt}  {delivery.id}{note}"
        )

    def _pressed(self, key: str) -> None:
        if key == "r" and self._last is not None:
            status, said = self._send(self._last)
            self._print(self._last, status, said, "  sent again")


@contextlib.contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tell of each key that is pressed, if there is a keyboard."""
    if not sys.stdin.isatty():  # in a script
        yield
        return
    import termios
    import tty

    saved = termios.tcgetattr(sys.stdin)

    def read() -> None:
        while key := sys.stdin.read(1):
            pressed(key)

    tty.setcbreak(sys.stdin)
    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
