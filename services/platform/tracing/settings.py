"""Settings of tracing. Variables that OpenTelemetry has names for have those, and mean what they mean there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from services.platform.settings import Settings, shaped

# Of gRPC metadata.
_HEADER_NAME = re.compile(r"[a-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")


class TracingSettings(Settings):
    """Where spans go."""

    # http://host:port of a collector that speaks OTLP over gRPC, or https:// for TLS. Empty: tracing is off.
    otel_exporter_otlp_endpoint: Annotated[
        str,
        shaped(
            r"^(https?://([^\s/@:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?)?$",
            "must be http://host:port, or https://host:port for TLS",
        ),
    ] = Field("", repr=False)  # a refused value may hold a password
    # name=value,name=value, sent with each export; values are percent-encoded.
    otel_exporter_otlp_headers: str = Field("", repr=False)
    # A file of authorities, in PEM form, that the collector's certificate is checked against; else the system's are.
    otel_exporter_otlp_certificate: str = ""
    # key=value,key=value: more of what every span says of its process.
    otel_resource_attributes: str = ""

    @field_validator("otel_exporter_otlp_headers")
    @classmethod
    def _headers_can_be_sent(cls, text: str) -> str:
        for name, value in _pairs(text):
            if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
                raise PydanticCustomError("unusable", "must be name=value,name=value with lowercase names")
        return text

    @field_validator("otel_exporter_otlp_certificate")
    @classmethod
    def _holds_certificates(cls, path: str) -> str:
        if path:
            try:
                found = b"-----BEGIN CERTIFICATE-----" in _content(path)
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
            if not found:
                raise ValueError("is not a file of PEM certificates")
        return path

    @field_validator("otel_resource_attributes")
    @classmethod
    def _attributes_are_pairs(cls, text: str) -> str:
        if not all(name and value for name, value in _pairs(text)):
            raise ValueError("must be key=value,key=value")
        return text

    @property
    def traced(self) -> bool:
        """Whether tracing is on."""
        return bool(self.otel_exporter_otlp_endpoint)

    @property
    def export_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of an export."""
        return tuple(_pairs(self.otel_exporter_otlp_headers))

    @property
    def resource_attributes(self) -> dict[str, str]:
        """What spans say of their process, besides what it knows itself."""
        return dict(_pairs(self.otel_resource_attributes))

    @property
    def authorities(self) -> bytes | None:
        """The certificates that the collector's is checked against; None for those of the system."""
        path = self.otel_exporter_otlp_certificate
        return _content(path) if path else None


class TracingDoorSettings(TracingSettings):
    """What is traced of that which comes from outside."""

    # The share of requests that are traced.
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    # Whether a caller's own traceparent says if its request is traced; else it only says which trace it joins.
    tracing_trust_callers: bool = False


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a list as OpenTelemetry writes it; one without "=" has an empty value."""
    for pair in text.split(","):
        if pair.strip():
            name, _, value = pair.partition("=")
            yield name.strip(), unquote(value.strip())
