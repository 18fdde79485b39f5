"""Unit tests of services/platform and services/domain."""
