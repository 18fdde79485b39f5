"""Settings of the relay."""

import os
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.platform.auth import keys
from services.platform.settings import AuthSettings, GrpcTarget, GrpcTlsSettings, PostgresSettings, shaped
from services.platform.stores import postgres_url
from services.platform.tracing.settings import TracingSettings


class OutboxSettings(TracingSettings):
    """Where the outbox is, which is in a database of the application, and how its rows are claimed."""

    # A URL as DATABASE_URL is one.
    outbox_database_url: str = Field("", repr=False, validate_default=True)
    # The schema of the table webhook_outbox.
    outbox_schema: Annotated[
        str,
        shaped("^[A-Za-z_][A-Za-z0-9_]{0,62}$", "must be 1 to 63 letters, digits and _, and not begin with a digit"),
    ] = "public"
    # "transaction" behind a PgBouncer with pool_mode = transaction.
    outbox_pooler: Literal["none", "transaction"] = "none"
    # How long the rows of a relay that died are left alone. A call takes 10 s at most.
    outbox_lease_seconds: Annotated[int, Field(ge=15, le=3_600)] = 60
    # Between two looks of a relay that found nothing, at most.
    outbox_poll_seconds: Annotated[float, Field(ge=0.05, le=60, allow_inf_nan=False)] = 1.0

    @field_validator("outbox_database_url")
    @classmethod
    def _outbox_database_url_is_usable(cls, url: str) -> str:
        if not url:
            raise PydanticCustomError("required", "is required: the URL of the database with the table webhook_outbox")
        try:
            postgres_url.parse(url, os.environ)
        except ValueError as error:
            raise PydanticCustomError("unusable", "{why}", {"why": str(error)}) from None
        return url

    @property
    def outbox_postgres(self) -> PostgresSettings:
        """Return how to connect to the database."""
        return PostgresSettings(
            database_url=self.outbox_database_url, postgres_pool_size=POOL_SIZE, postgres_pooler=self.outbox_pooler
        )


# For what is claimed and settled at the same time, the gauges, and the look whether the database answers.
POOL_SIZE = 4


class RelaySettings(OutboxSettings, AuthSettings, GrpcTlsSettings):
    """What the relay reads from the environment."""

    own_service_keys: ClassVar[tuple[str, ...]] = ("ingest_service_key",)

    # host:port of ingest, or dns:///host:port.
    ingest_addr: GrpcTarget = "127.0.0.1:50051"
    # The service key of ingest, with which rows may name any tenant; unset: service_key.
    ingest_service_key: str = Field("", repr=False)
    # In its place an API key with role ingest, with which rows belong to the tenant of the key.
    outbox_api_key: str = Field("", repr=False)
    # The tenant of rows that name none; unset: that of the key, and with a service key the tenant default.
    outbox_tenant: Annotated[
        str,
        shaped("^([a-z0-9][a-z0-9_-]{0,62})?$", "must be 1 to 63 of a-z 0-9 _ - and start with a-z or 0-9"),
    ] = ""

    @field_validator("outbox_api_key")
    @classmethod
    def _api_key_is_usable(cls, key: str) -> str:
        why = keys.why_not(key) if key else None
        if why:
            raise PydanticCustomError("unusable", "{why}", {"why": why})
        return key

    @model_validator(mode="before")
    @classmethod
    def _api_key_comes_first(cls, values: dict[str, Any]) -> dict[str, Any]:
        """With an API key no service key is required, and none is used."""
        given = values.get("outbox_api_key")
        return {**values, "ingest_service_key": given} if given and keys.why_not(str(given)) is None else values

    @property
    def key(self) -> str:
        """Return what ingest is shown; empty where it asks for nothing."""
        return self.outbox_api_key or self.ingest_service_key
