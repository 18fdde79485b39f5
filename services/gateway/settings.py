"""Settings of the gateway."""

from typing import Annotated

from pydantic import Field

from services.platform.settings import (
    DrainSettings,
    GrpcTarget,
    GrpcTlsSettings,
    PayloadBytes,
    Port,
    ServiceKeysSettings,
    constant,
    shaped,
)
from services.platform.tracing.settings import TracingDoorSettings


class GatewaySettings(ServiceKeysSettings, GrpcTlsSettings, DrainSettings, TracingDoorSettings):
    """What the gateway reads from the environment."""

    # HTTP; 0 takes a free port.
    port: Port = 8080
    # host:port of the gRPC services, or dns:///host:port.
    ingest_addr: GrpcTarget = "127.0.0.1:50051"
    delivery_addr: GrpcTarget = "127.0.0.1:50052"
    analytics_addr: GrpcTarget = "127.0.0.1:50053"

    # Where the console leads from a trace: a URL with {trace_id} in it.
    trace_url: Annotated[
        str,
        shaped(
            r"^(https?://[^\s{}]+\{trace_id\}[^\s{}]*)?$",
            "must be an http:// or https:// URL that contains {trace_id} once",
        ),
    ] = ""

    # Bytes of the largest payload that is accepted.
    max_payload_bytes: PayloadBytes = 1 << 20

    # Requests a second that a key may make at this process, where it has no limit of its own; 0 means any number.
    api_key_requests_per_second: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0

    # Events of one call to ingest, which takes at most 1,000.
    ingest_batch_items: int = constant(256)
    # Bytes of one call to ingest; a larger event is sent separately.
    ingest_batch_bytes: int = constant(1 << 20)
    # Calls to ingest at the same time.
    ingest_batches_in_flight: int = constant(2)
    # Events, and their bytes, that wait for a call; beyond either the answer is 429.
    ingest_waiting_items: int = constant(4096)
    ingest_waiting_bytes: int = constant(64 << 20)
    # Seconds from a whole request to its answer, and more for large payloads; an event that is not known to be
    # committed by then is answered 503. Also what the look-up of an API key may take.
    accept_timeout_seconds: float = constant(3.0)
    # Seconds that any other call to a service may take.
    rpc_timeout_seconds: float = constant(5.0)
