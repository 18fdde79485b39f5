"""Ingest: subscriptions, and the acceptance of events."""
