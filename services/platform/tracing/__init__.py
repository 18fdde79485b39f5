"""Traces, by OpenTelemetry and its W3C contexts. Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set.

Where tracing is off there is no tracer, no span, and the SDK is not imported: sdk.py alone knows it.
"""
