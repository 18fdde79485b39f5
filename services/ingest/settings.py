"""Settings of the ingest service."""

from pydantic import PositiveInt

from services.common.encryption_keys import EncryptionSettings
from services.common.retry_policy import RetrySettings
from services.common.settings import GrpcServerSettings, PostgresSettings, RedisSettings


class IngestSettings(PostgresSettings, RedisSettings, GrpcServerSettings, RetrySettings, EncryptionSettings):
    """What the ingest service reads from the environment."""

    # How long an Idempotency-Key is remembered.
    idempotency_key_hours: PositiveInt = 24
    # Events that wait to be committed; beyond this bound ingest answers RESOURCE_EXHAUSTED.
    ingest_queue_events: PositiveInt = 5_000
    ingest_queue_bytes: PositiveInt = 128 << 20
    # Subscriptions that are kept in the process.
    cached_subscriptions: PositiveInt = 50_000
