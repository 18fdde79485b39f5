"""What a command has: its options, its client, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import typer

from webhook_service.cli import profiles
from webhook_service.cli.output import Format, Output
from webhook_service.client import Client

# Somebody is waiting.
ATTEMPTS = 3


@dataclass
class Session:
    """The options before the command."""

    output: Output = field(default_factory=lambda: Output(Format.TABLE))
    profile_name: str | None = None
    tenant: str | None = None

    @cached_property
    def profile(self) -> profiles.Profile:
        """Where to connect to."""
        return profiles.current(self.profile_name)

    @cached_property
    def client(self) -> Client:
        """The client."""
        found = self.profile
        # An empty key, so that the variable of programs is not used: webhookctl has its own.
        return Client(found.url, api_key=found.api_key or "", tenant=self.tenant or found.tenant, attempts=ATTEMPTS)

    def close(self) -> None:
        """Close the connections of the client, if there is one."""
        if "client" in self.__dict__:
            self.client.close()


def of(context: typer.Context) -> Session:
    """Return the session of a command."""
    session = context.find_object(Session)
    if session is None:
        raise RuntimeError("a command ran without the options before it")
    return session
