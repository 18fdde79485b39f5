"""Profiles: login and status."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from webhook_service.cli import profiles, session
from webhook_service.client import DEFAULT_URL, Client


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.command()(status)


def login(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Address of the service.")] = DEFAULT_URL,
    name: Annotated[str, typer.Option("--name", help="Name of the profile.")] = profiles.DEFAULT,
    no_key: Annotated[bool, typer.Option("--no-key", help="The service requires no key, as with `make run`.")] = False,
) -> None:
    """Store the address of a service and an API key as a profile.

    The key is asked for, or read from standard input, so that it is in no list of processes and no history.
    """
    asked = session.of(context)
    key = None if no_key else _key()
    with Client(url, api_key=key or "", tenant=asked.tenant) as client:
        client.stats.get(window="1h")  # whether the service can be reached and accepts the key
    in_keyring = profiles.save(profiles.Profile(name=name, url=url, tenant=asked.tenant, api_key=key))
    where = "in the keyring" if in_keyring else f"in {profiles.path()}, which only you can read"
    asked.output.say(f"logged in to {url} as profile {name}" + (f"; the key is {where}" if key else ""))


def _key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True)).strip()
    return sys.stdin.readline().strip()


def status(context: typer.Context) -> None:
    """Show which service is used, and what it did in the last hour."""
    asked = session.of(context)
    began = time.monotonic()
    stats = asked.client.stats.get(window="1h")
    milliseconds = round((time.monotonic() - began) * 1000)
    where = asked.profile
    asked.output.say(f"{where.url} (profile {where.name}) responded in {milliseconds} ms")
    asked.output.fields(stats, ("events", "attempts", "delivered", "failed", "cancelled", "delivery_success_rate"))
