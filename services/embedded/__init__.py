"""Postgres and Valkey from wheels, as child processes that their owner starts, kills, stops and starts again.

    with Guard() as guard, EmbeddedPostgres(folder / "postgres", guard=guard) as postgres:
        postgres.ensure_database("webhook")
        connect(postgres.url("webhook"))

`services.local` runs the stack on them, and tests, benchmarks and fault injection use them the same way.
Imports nothing else of this project.
"""

from services.embedded.child import Child, describe_exit, last_lines
from services.embedded.errors import EmbeddedError
from services.embedded.guard import Guard
from services.embedded.postgres import EmbeddedPostgres
from services.embedded.stop_mode import StopMode
from services.embedded.valkey import EmbeddedValkey

__all__ = [
    "Child",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "Guard",
    "StopMode",
    "describe_exit",
    "last_lines",
]
