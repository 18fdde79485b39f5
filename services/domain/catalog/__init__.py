"""Schemas of the event catalog: compiled within bounds, and what payloads are validated against."""
