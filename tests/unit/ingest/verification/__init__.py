"""Unit tests of services/ingest/verification."""
