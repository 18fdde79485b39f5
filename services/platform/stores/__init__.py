"""Connections to Postgres and Redis."""
