"""Traces, by OpenTelemetry and its W3C contexts. Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set.

If tracing is off, there is no tracer and no span. Only sdk.py imports the SDK.
"""
