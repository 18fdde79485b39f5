"""The acceptance of events."""
