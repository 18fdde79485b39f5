"""The stores of a stack: our own ones, or those that were named."""

from collections.abc import Callable
from dataclasses import dataclass

from dev.embedded import EmbeddedPostgres, EmbeddedValkey, Guard
from dev.local.plan import Plan
from dev.local.settings import LocalSettings

DATABASE = "webhook"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where the processes find their data, and the stores that are ours to run."""

    database_url: str
    redis_url: str
    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    def close(self) -> None:
        """Stops those that are ours, and removes the folder of the socket."""
        for store in (self.valkey, self.postgres):
            if store:
                store.close()


def prepare(settings: LocalSettings, plan: Plan, guard: Guard, say: Callable[[str], None]) -> Stores:
    """Prepares our own stores without starting them. Raises EmbeddedError."""
    postgres = valkey = None
    if plan.postgres_port is not None:
        folder, log_path = plan.data_dir / "postgres", plan.logs / "postgres.log"
        postgres = EmbeddedPostgres(folder, port=plan.postgres_port, guard=guard, log_path=log_path, say=say)
        postgres.prepare()
    if plan.redis_port is not None:
        folder, log_path = plan.data_dir / "valkey", plan.logs / "valkey.log"
        valkey = EmbeddedValkey(folder, port=plan.redis_port, guard=guard, log_path=log_path)
    return Stores(
        database_url=postgres.url(DATABASE) if postgres else settings.postgres_dsn,
        redis_url=valkey.url() if valkey else settings.redis_dsn,
        postgres=postgres,
        valkey=valkey,
    )
