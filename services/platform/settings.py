"""Settings from the environment and .env; read once in each __main__ and passed down.

Every variable is named like its field, in capitals. A wrong value ends the start with one line that names it.
"""

import ipaddress
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.platform.auth import keys
from services.platform.stores import postgres_url, redis_url

# What a text must be, in words, by the pattern that it must match.
_IN_WORDS: dict[str, str] = {}


def shaped(pattern: str, words: str) -> Any:
    """Return a field of this pattern; an error says `words` in its place."""
    _IN_WORDS[pattern] = words
    return Field(pattern=pattern)


def constant(default: Any) -> Any:
    """Return a field that is not a variable: only code can set it, as an argument of the constructor."""
    return Field(default, json_schema_extra={"constant": True})


class _Variables(PydanticBaseSettingsSource):
    """The values of another source, without those of constants."""

    def __init__(self, settings: type["Settings"], source: PydanticBaseSettingsSource) -> None:
        super().__init__(settings)
        self._source = source
        self._constants = settings.model_fields.keys() - settings.variables().keys()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in self._source().items() if name not in self._constants}


MAX_PORT = 65_535
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
# Every number has bounds, so that what passes here breaks nothing later: intervals of Postgres, timers, allocations.
Seconds = Annotated[float, Field(ge=0.001, le=31_622_400, allow_inf_nan=False)]
# Of a call that somebody waits for.
CallSeconds = Annotated[float, Field(ge=0.1, le=300, allow_inf_nan=False)]
Hours = Annotated[int, Field(ge=1, le=876_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1, le=64 << 30)]
# Of a payload; at most half of what http/protocol.py lets a request have.
PayloadBytes = Annotated[int, Field(ge=1, le=32 << 20)]
# A name, an address, or the folder of a socket; several are separated by commas.
PostgresHost = Annotated[
    str,
    shaped(
        r"^(/[^\s?#]*|[^\s/@?#]+)$",
        "must be a host name, an address, or a socket folder; for a URL use DATABASE_URL",
    ),
]
# What their names end in is not repeated in an error.
_SECRET = ("URL", "ENDPOINT", "PASSWORD", "PROXY", "_KEY", "KEYS", "HEADERS", "_SECRET")

DEVELOPMENT = "development"


def _host_and_port(text: str) -> str:
    """Return the same, with an IPv6 address always in brackets."""
    host, _, port = text.rpartition(":")
    literal = host.removeprefix("[").removesuffix("]")
    if not 0 < int(port) <= MAX_PORT:
        raise PydanticCustomError("unusable", f"must have a port from 1 to {MAX_PORT}")
    if ":" not in literal and literal == host:
        return text
    try:
        ipaddress.IPv6Address(literal.partition("%")[0])
    except ValueError:
        raise PydanticCustomError("unusable", "must be host:port, with an IPv6 address as [address]:port") from None
    return f"[{literal}]:{port}"


def _grpc_target(text: str) -> str:
    if text.startswith(("ipv4:", "ipv6:")):
        return text
    resolver = "dns:///" if text.startswith("dns:///") else ""
    return resolver + _host_and_port(text.removeprefix(resolver))


HostAndPort = Annotated[
    str,
    shaped(r"^[^\s/@]+:[0-9]{1,5}$", "must be host:port, such as localhost:6379"),
    AfterValidator(_host_and_port),
]

# What gRPC connects to: host:port, as it is or after a resolver's name; or its own way to write several addresses.
GrpcTarget = Annotated[
    str,
    shaped(r"^(dns:///)?[^\s/@]+:[0-9]{1,5}$", "must be host:port, such as localhost:50051"),
    AfterValidator(_grpc_target),
]


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=False)

    # "development" binds loopback and lets deliveries go there; anything else is taken for production.
    env: str = DEVELOPMENT
    log_level: Annotated[
        str,
        shaped("^(debug|info|warning|error)$", "must be debug, info, warning or error"),
        BeforeValidator(_lower),
    ] = "info"
    # Address to bind; loopback in development, all interfaces of both IP families elsewhere.
    bind_host: Annotated[str, shaped(r"^[^\s/@]*$", "must be an address of this machine")] = ""
    # /metrics, /healthz and /readyz; 0 takes a free port.
    metrics_port: Port = 9090
    # From the order to stop to the last hand-back.
    shutdown_grace_seconds: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] = 8.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - this class
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are no such files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first before the others: arguments, the environment, .env."""
        return init_settings, _Variables(cls, env_settings), _Variables(cls, dotenv_settings)

    @classmethod
    def variables(cls) -> Mapping[str, FieldInfo]:
        """Return the fields that a variable sets; the others are constants."""
        fields = cls.model_fields.items()
        return {name: field for name, field in fields if field.json_schema_extra != {"constant": True}}

    @model_validator(mode="before")
    @classmethod
    def _empty_means_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Compose files and charts pass empty strings for what is not set. Only EGRESS_ALLOW has a meaning when empty.
        return {name: value for name, value in values.items() if value != "" or name.lower() == "egress_allow"}

    @property
    def development(self) -> bool:
        """Whether this is somebody's own machine."""
        return self.env == DEVELOPMENT

    @property
    def host(self) -> str:
        """The address that servers bind."""
        if self.bind_host:
            return self.bind_host.removeprefix("[").removesuffix("]")
        if self.development:
            return "127.0.0.1"
        # A container is reached from outside. "::" takes IPv4 as well, where the kernel knows IPv6.
        return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104


class PostgresSettings(Settings):
    """Where Postgres is: DATABASE_URL, or its parts."""

    # Empty: made of the parts. postgres_url.py has the parameters.
    database_url: str = Field("", repr=False)
    postgres_host: PostgresHost = "localhost"
    postgres_port: Port = 5432
    postgres_user: str = "postgres"
    postgres_password: str = ""
    postgres_db: str = "webhook"
    # Connections per process.
    postgres_pool_size: Annotated[int, Field(ge=1, le=1_000)] = 8
    # "transaction" behind one that may change the server after each transaction: PgBouncer's pool_mode of that name.
    postgres_pooler: Literal["none", "transaction"] = "none"

    @field_validator("database_url")
    @classmethod
    def _database_url_is_usable(cls, url: str) -> str:
        try:
            if url:
                postgres_url.parse(url, os.environ)
        except ValueError as error:
            raise PydanticCustomError("unusable", "{why}", {"why": str(error)}) from None
        return url

    @model_validator(mode="after")
    def _parts_are_usable(self) -> Self:
        self.check_postgres()
        return self

    def check_postgres(self) -> None:
        """Raise PydanticCustomError unless the parts, with libpq's variables, say where Postgres is."""
        try:
            _ = self.postgres_target
        except ValueError as error:
            raise PydanticCustomError("unusable", "POSTGRES_*, PGSSL*: {why}", {"why": str(error)}) from None

    @property
    def postgres_dsn(self) -> str:
        """The libpq URL to connect to."""
        if self.database_url:
            return self.database_url
        password = f":{quote(self.postgres_password, safe='')}" if self.postgres_password else ""
        user, name = quote(self.postgres_user, safe=""), quote(self.postgres_db, safe="")
        if self.postgres_host.startswith("/"):
            folder = quote(self.postgres_host, safe="/")
            return f"postgresql://{user}{password}@/{name}?host={folder}&port={self.postgres_port}"
        single = self.postgres_host.count(":") > 1 and "[" not in self.postgres_host
        hosts = [f"[{self.postgres_host}]"] if single else self.postgres_host.split(",")
        places = ",".join(f"{host}:{self.postgres_port}" for host in hosts)
        return f"postgresql://{user}{password}@{places}/{name}"

    @property
    def postgres_target(self) -> postgres_url.Target:
        """The same, read."""
        return postgres_url.parse(self.postgres_dsn, os.environ)


class RedisSettings(Settings):
    """Where Redis is: REDIS_URL, or its parts."""

    # Of one server, of sentinels, or of a cluster: redis_url.py has the spellings.
    redis_url: str = Field("", repr=False)
    # Authorities in PEM form that the certificates of Redis are checked against, unless the URL names others.
    redis_ca_file: str = ""
    # As host:port.
    redis_addr: HostAndPort = "localhost:6379"
    redis_password: str = ""
    redis_db: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_usable(cls, url: str) -> str:
        try:
            if url:
                redis_url.parse(url)
        except ValueError as error:
            raise PydanticCustomError("unusable", "{why}", {"why": str(error)}) from None
        return url

    @model_validator(mode="after")
    def _redis_ca_is_used(self) -> Self:
        try:
            if self.redis_ca_file:
                redis_url.check_authority(self.redis_url, self.redis_ca_file)
        except ValueError as error:
            raise PydanticCustomError("unusable", "REDIS_CA_FILE {why}", {"why": str(error)}) from None
        return self

    @property
    def redis_dsn(self) -> str:
        """Return the URL to connect to."""
        if self.redis_url:
            return redis_url.with_authority(self.redis_url, self.redis_ca_file)
        password = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        return f"redis://{password}{self.redis_addr}/{self.redis_db}"


class AuthSettings(Settings):
    """Whether callers need a key, and what a gateway shows to the processes that it calls."""

    # The fields that replace service_key, each for one process that a gateway calls.
    own_service_keys: ClassVar[Sequence[str]] = ()

    # Whether callers need an API key. Unset: everywhere but in development.
    auth_required: bool | None = None
    # What a gateway shows to the processes that it calls, where they have no key of their own.
    service_key: str = Field("", repr=False)

    @model_validator(mode="before")
    @classmethod
    def _own_service_keys_come_first(cls, values: dict[str, Any]) -> dict[str, Any]:
        shared = values.get("service_key")
        own = {name: values.get(name) or shared for name in cls.own_service_keys}
        for name in own:
            why = keys.why_not(str(values[name]), prefix="") if values.get(name) else None
            if why:
                raise PydanticCustomError("unusable", "{name}: {why}", {"name": name.upper(), "why": why})
        missing = [name for name, key in own.items() if not key]
        # Where each has a key of its own, nothing is left for the shared one.
        if own and not missing and (len(own) == 1 or not shared):
            shared = next(iter(own.values()))
        return {
            **values,
            **{name: key for name, key in own.items() if key},
            **({"service_key": shared} if shared else {}),
        }

    @field_validator("service_key")
    @classmethod
    def _service_key_is_usable(cls, key: str, others: ValidationInfo) -> str:
        return _usable_key(key, others, prefix="", required=True)

    @property
    def requires_key(self) -> bool:
        """Whether a caller without a key is refused."""
        return not self.development if self.auth_required is None else self.auth_required


class ServiceKeysSettings(AuthSettings):
    """The keys of all processes that a gateway calls. With one for each, nobody who gets into one can call another."""

    own_service_keys: ClassVar[Sequence[str]] = ("ingest_service_key", "delivery_service_key", "analytics_service_key")

    # What each of them is shown; unset: service_key.
    ingest_service_key: str = Field("", repr=False)
    delivery_service_key: str = Field("", repr=False)
    analytics_service_key: str = Field("", repr=False)


class BootstrapSettings(AuthSettings):
    """The key that comes before all others."""

    # Whether a process of this kind cannot do without it, where keys are required.
    bootstrap_required: ClassVar[bool] = False
    # A key of role admin that exists without being made: with it the first ones are.
    bootstrap_admin_key: str = Field("", repr=False)

    @field_validator("bootstrap_admin_key")
    @classmethod
    def _bootstrap_key_is_usable(cls, key: str, others: ValidationInfo) -> str:
        if key and key == others.data.get("service_key"):
            raise PydanticCustomError("same", "must differ from SERVICE_KEY")
        return _usable_key(key, others, prefix=keys.PREFIX, required=cls.bootstrap_required)


class GrpcTlsSettings(Settings):
    """Mutual TLS between the processes of this service: three files of PEM, or none and plain text."""

    # The certificate of this process, followed by those between it and its authority.
    grpc_tls_cert_file: str = ""
    # The certificate's key.
    grpc_tls_key_file: str = ""
    # The authorities that sign the certificates of the other processes.
    grpc_tls_ca_file: str = ""

    @model_validator(mode="after")
    def _all_files_or_none(self) -> Self:
        files = {
            "GRPC_TLS_CERT_FILE": self.grpc_tls_cert_file,
            "GRPC_TLS_KEY_FILE": self.grpc_tls_key_file,
            "GRPC_TLS_CA_FILE": self.grpc_tls_ca_file,
        }
        missing = [name for name, path in files.items() if not path]
        if 0 < len(missing) < len(files):
            raise PydanticCustomError(
                "incomplete", "{missing}: required if one of the others is set", {"missing": ", ".join(missing)}
            )
        return self

    @property
    def grpc_tls(self) -> bool:
        """Whether calls between the processes go by TLS."""
        return bool(self.grpc_tls_cert_file)


class DrainSettings(Settings):
    """How a server that others find by DNS or a load balancer stops."""

    # From the order to stop to the end of serving: not ready any more, but answering, so that callers can follow.
    drain_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.0


class GrpcServerSettings(BootstrapSettings, GrpcTlsSettings, DrainSettings):
    """Where a gRPC server listens; 0 takes a free port."""

    grpc_port: Port = 50051
    # A client's connection is ended in good order after so long, more or less a tenth.
    grpc_max_connection_age_seconds: float = constant(60.0)
    # The largest payload that is accepted.
    max_payload_bytes: PayloadBytes = 1 << 20


def _usable_key(key: str, others: ValidationInfo, *, prefix: str, required: bool) -> str:
    """Return the key if it is valid and present where required. Errors never contain it."""
    if not key and required:
        asked, env = others.data.get("auth_required"), others.data.get("env")
        if asked or (asked is None and env != DEVELOPMENT):
            raise PydanticCustomError("required", "is required, unless ENV=development or AUTH_REQUIRED=false")
    why = keys.why_not(key, prefix=prefix) if key else None
    if why:
        raise PydanticCustomError("unusable", "{why}", {"why": why})
    return key


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(cls: type[AnySettings]) -> AnySettings:
    """Return the settings, or end the process with one line per wrong variable."""
    return load_all(cls)[0]


def load_all(*classes: type[AnySettings]) -> list[AnySettings]:
    """Return the settings of each class, or end the process with one line per variable that is wrong for any."""
    loaded: list[AnySettings] = []
    wrong: dict[str, None] = {}  # each once, in the order in which they were found
    for cls in classes:
        try:
            loaded.append(cls())
        except ValidationError as error:
            wrong |= dict.fromkeys(problems(error))
    if wrong:
        sys.stderr.writelines(f"{line}\n" for line in wrong)
        sys.exit(2)
    return loaded


def problems(error: ValidationError) -> list[str]:
    """Return one line per wrong variable."""
    lines = []
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"]).upper()
        # A rule between variables has no name of its own, and all the settings for its input.
        got = f", got {problem['input']!r:.100}" if name and not name.endswith(_SECRET) else ""
        message = _IN_WORDS.get(problem.get("ctx", {}).get("pattern", ""), problem["msg"])
        message = message.removeprefix("Value error, ")
        if not message[1:2].isupper():  # it does not begin with the name of a variable
            message = message[:1].lower() + message[1:]
        lines.append(f"{name or 'configuration'}: {message}{got}")
    return lines
