"""Settings from the environment and .env; read once in each __main__ and passed down.

Every variable is named like its field, in capitals. A wrong value ends the start with one line that names it.
"""

import sys
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
# Empty means: made of the parts.
PostgresUrl = Annotated[str, Field(pattern="^(postgres(ql)?://.*)?$")]
RedisUrl = Annotated[str, Field(pattern="^((rediss?|unix)://.*)?$")]
HostAndPort = Annotated[str, Field(pattern=r"^[^\s/@]+:[0-9]{1,5}$")]
# What their names end in is not repeated in an error.
_SECRET = ("URL", "PASSWORD", "KEYS")

DEVELOPMENT = "development"


class Settings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=False)

    # "development" binds loopback and lets deliveries go there; anything else is taken for production.
    env: str = DEVELOPMENT
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    # Address to bind; loopback in development, all interfaces elsewhere.
    bind_host: str = ""
    # /metrics, /healthz and /readyz; 0 takes a free port.
    metrics_port: Port = 9090
    # From the order to stop to the last hand-back.
    shutdown_grace_seconds: PositiveFloat = 8.0

    @model_validator(mode="before")
    @classmethod
    def _empty_means_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Compose files and charts pass empty strings for what is not set. EGRESS_ALLOW alone says something when empty.
        return {name: value for name, value in values.items() if value != "" or name.lower() == "egress_allow"}

    @property
    def development(self) -> bool:
        """Whether this is somebody's own machine."""
        return self.env == DEVELOPMENT

    @property
    def host(self) -> str:
        """The address that servers bind."""
        return self.bind_host or ("127.0.0.1" if self.development else "0.0.0.0")  # noqa: S104 - a container is reached from outside


class PostgresSettings(Settings):
    """Where Postgres is: DATABASE_URL, or its parts."""

    database_url: PostgresUrl = ""
    postgres_host: str = "localhost"
    postgres_port: Port = 5432
    postgres_user: str = "postgres"
    postgres_password: str = ""
    postgres_db: str = "webhook"
    # Connections per process.
    postgres_pool_size: PositiveInt = 8

    @property
    def postgres_dsn(self) -> str:
        """The libpq URL to connect to."""
        if self.database_url:
            return self.database_url
        password = f":{quote(self.postgres_password, safe='')}" if self.postgres_password else ""
        host = f"[{self.postgres_host}]" if ":" in self.postgres_host else self.postgres_host
        user, name = quote(self.postgres_user, safe=""), quote(self.postgres_db, safe="")
        return f"postgresql://{user}{password}@{host}:{self.postgres_port}/{name}"


class RedisSettings(Settings):
    """Where Redis is: REDIS_URL, or its parts."""

    redis_url: RedisUrl = ""
    # As host:port.
    redis_addr: HostAndPort = "localhost:6379"
    redis_password: str = ""
    redis_db: NonNegativeInt = 0

    @property
    def redis_dsn(self) -> str:
        """The URL to connect to."""
        if self.redis_url:
            return self.redis_url
        password = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_addr}/{self.redis_db}"


class GrpcServerSettings(Settings):
    """Where a gRPC server listens; 0 takes a free port."""

    grpc_port: Port = 50051
    # The largest payload that is accepted.
    max_payload_bytes: PositiveInt = 1 << 20


class ExpirySettings(Settings):
    """How long a delivery lives."""

    # Past it a delivery that has not ended is failed with reason "expired".
    delivery_expiry_hours: PositiveInt = 168


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(cls: type[AnySettings]) -> AnySettings:
    """Reads the settings, or ends the process with one line per wrong variable."""
    try:
        return cls()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            # A rule between variables has no name of its own, and all the settings for its input.
            got = f", got {problem['input']!r}" if name and not name.endswith(_SECRET) else ""
            sys.stderr.write(f"{name or 'configuration'}: {problem['msg'].lower()}{got}\n")
        sys.exit(2)
