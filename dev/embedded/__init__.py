"""Postgres and Valkey from wheels, as child processes that their owner can start, kill, and stop.

    with Guard() as guard, EmbeddedPostgres(folder / "postgres", guard=guard) as postgres:
        postgres.ensure_database("webhook")
        connect(postgres.url("webhook"))

`dev.local` runs the stack on them. Tests, benchmarks, and fault injection use them in the same way. Imports nothing
else from this project.
"""

from dev.embedded.child import Child, describe_exit, last_lines
from dev.embedded.cluster import StopMode
from dev.embedded.guard import Guard
from dev.embedded.postgres import EmbeddedPostgres
from dev.embedded.processes import EmbeddedError
from dev.embedded.valkey import EmbeddedValkey

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
