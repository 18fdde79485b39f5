"""What the supervisor reads from the environment and .env; the processes read the rest themselves."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from services.domain.secrets.encryption import EncryptionSettings
from services.platform.settings import BootstrapSettings, PostgresSettings, RedisSettings, ServiceKeysSettings, shaped

ROOT = Path(__file__).resolve().parents[2]


class LocalSettings(PostgresSettings, RedisSettings, BootstrapSettings, ServiceKeysSettings, EncryptionSettings):
    """Which stores to use, the fixed port, and whether the processes will find the keys that they need."""

    bootstrap_required: ClassVar[bool] = True
    # The gateway's port.
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    # How many processes the five roles share.
    processes: Annotated[str, shaped("^(one|two|five)$", "must be one, two or five")] = "one"
    # Of an application, with an outbox: a relay runs if it is set.
    outbox_database_url: str = Field("", repr=False)
    # Shorter than in production: on one machine, people notice when a worker dies.
    lease_seconds: Annotated[int, Field(ge=1, le=31_622_400)] = 30

    def check_postgres(self) -> None:
        """Check Postgres's variables, unless it is the embedded one, which libpq's variables do not describe."""
        if not self.own_postgres:
            super().check_postgres()

    @property
    def own_postgres(self) -> bool:
        """Return whether we run Postgres, because no other is configured."""
        return not self.model_fields_set & {"database_url", "postgres_host"}

    @property
    def own_redis(self) -> bool:
        """Return whether we run Redis, because no other is configured."""
        return not self.model_fields_set & {"redis_url", "redis_addr"}

    @property
    def reach(self) -> str:
        """Return the address by which processes on this machine reach those that bind `host`."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
