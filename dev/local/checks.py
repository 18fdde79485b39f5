"""Check the settings of every process before anything starts, so that a wrong one stops no half-started stack."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from dev.local.settings import LocalSettings
from services.analytics.settings import AnalyticsSettings
from services.delivery.settings import DeliverySettings, WorkerSettings
from services.domain.egress.policy import Policy
from services.gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings
from services.platform.settings import Settings, problems
from services.relay.settings import RelaySettings

ROLES: Sequence[type[Settings]] = (
    GatewaySettings,
    IngestSettings,
    DeliverySettings,
    AnalyticsSettings,
    WorkerSettings,
)


def checked() -> LocalSettings:
    """Return the supervisor's settings, or end the process with one line per wrong variable of any process."""
    found: dict[str, None] = {}  # each once, in the order in which they were found
    local: LocalSettings | None = None
    try:
        local = LocalSettings()
    except ValidationError as error:
        found |= dict.fromkeys(problems(error))
    if local is not None and local.own_postgres:
        _forget_other_postgres()
    # As the supervisor passes it on; the values that it chooses itself are correct.
    passed: dict[str, Any] = {"lease_seconds": local.lease_seconds} if local else {}
    relay: list[type[Settings]] = [RelaySettings] if local and local.outbox_database_url else []
    for role in (*ROLES, *relay):
        try:
            settings = role(**passed)
        except ValidationError as error:
            found |= dict.fromkeys(problems(error))
        else:
            found |= dict.fromkeys(_wrong_egress(settings))
    if local is None or found:
        sys.stderr.writelines(f"{line}\n" for line in found)
        sys.exit(2)
    return local


def _forget_other_postgres() -> None:
    """Remove libpq's variables, such as PGSSLMODE and PGSERVICE: they do not describe the embedded server."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _wrong_egress(settings: Settings) -> list[str]:
    if isinstance(settings, WorkerSettings):
        try:
            Policy.parse(settings.egress_allowed, settings.egress_deny_ports)
        except ValueError as error:
            return [str(error)]
    return []
