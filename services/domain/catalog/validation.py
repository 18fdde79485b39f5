"""What becomes of events whose payload does not match the schema of their type."""

import enum


class Validation(enum.StrEnum):
    """Of an event type, or of a tenant for the event types that do not say."""

    # Payloads are not validated.
    OFF = "off"
    # They are accepted and counted.
    WARN = "warn"
    # They are refused.
    ENFORCE = "enforce"
